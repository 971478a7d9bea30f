//! What happened, by the provider's ledger and the clients' statuses.

use authpool::core::limit::reading::Dimension;
use authpool::scripted::{Entry, Provider};

use super::{Sent, credential, limits};
use crate::bucket::Bucket;
use crate::chooser::Fault;
use crate::load::{MODELS, SECOND};
use crate::provider::cost;
use crate::setting::Setting;
use crate::tally::{Fate, Span, Tally};

/// What the provider's ledger and the clients' statuses come to.
pub(super) fn judge(setting: &Setting, sent: &[Sent], provider: &Provider, span: Span) -> Tally {
    let mut tally = Tally {
        taken: vec![0.0; setting.clients.shares().len()],
        span,
        ..Tally::default()
    };
    for sent in sent {
        tally.fates.push(Fate {
            arrival: sent.arrival,
            client: sent.load.client,
            units: cost(setting.bound, &sent.load),
            wait: None,
            fault: fault(sent.status),
        });
    }
    let entries = provider.ledger().entries();
    tally.supply = supply(setting, &entries, &span);
    for entry in entries {
        let at = entry.at.as_micros();
        let measured = (span.from..span.to).contains(&at);
        let Some(number) = number(&entry.body).filter(|number| *number < sent.len()) else {
            if entry.status == 200 && measured {
                // Another consumer's.
                tally.supply -= match setting.bound {
                    Dimension::Requests => 1.0,
                    _ => entry.input_tokens as f64,
                };
            }
            continue;
        };
        tally.attempts += 1;
        tally.upstream += u64::from(entry.status == 429);
        if entry.status != 200 {
            continue;
        }
        let fate = &mut tally.fates[number];
        if sent[number].status == 200 {
            fate.wait = Some(at.saturating_sub(fate.arrival));
        }
        tally.drained = tally.drained.max(at);
        if measured {
            tally.taken[fate.client] += fate.units;
        }
    }
    tally
}

fn fault(status: u16) -> Option<Fault> {
    match status {
        200 => None,
        429 => Some(Fault::Limited),
        529 => Some(Fault::Overloaded),
        _ => Some(Fault::Unavailable),
    }
}

/// The number that a body begins with.
fn number(body: &[u8]) -> Option<usize> {
    let digits = body.strip_prefix(br#"{"n":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Prints the provider's first 429s.
pub(super) fn trace(provider: &Provider, span: &Span) {
    const MOST: usize = 50;
    let entries = provider.ledger().entries();
    let refused = entries.iter().filter(|entry| entry.status == 429);
    for entry in refused.take(MOST) {
        let at = entry.at.as_micros().saturating_sub(span.from) as f64 / SECOND as f64;
        let model = entry.model.as_deref().unwrap_or("-");
        let (key, bytes) = (&entry.credential, entry.body_len);
        println!("  429 at {at:9.3} s  {key}  {model:5}  a body of {bytes} bytes");
    }
}

/// What there was to take in the time: what the buckets held at first and gained, less what is left at the end, which
/// is saved up rather than lost in so short a time. Each bucket is gone through again by what it served.
fn supply(setting: &Setting, entries: &[Entry], span: &Span) -> f64 {
    let mut supply = 0.0;
    for limit in limits(setting) {
        let own = entries.iter().filter(|entry| {
            entry.credential == credential(limit.key)
                && entry.model.as_deref() == Some(MODELS[limit.model])
                && entry.at.as_micros() < span.to
        });
        let own: Vec<&Entry> = own.collect();
        let first = own.first().map_or(span.to, |entry| entry.at.as_micros());
        let window = limit.window.map(|seconds| (seconds * SECOND, first));
        let full = Bucket::new(setting.bound, limit.held, first, window);
        let mut bucket = full.begun_at(setting.start);
        supply += bucket.level() + bucket.gains(first, span.to);
        for entry in own.into_iter().filter(|entry| entry.status == 200) {
            bucket.fill(entry.at.as_micros());
            bucket.take(match setting.bound {
                Dimension::Requests => 1,
                _ => entry.input_tokens,
            });
        }
        bucket.fill(span.to);
        supply -= bucket.level().max(0.0);
    }
    supply
}
