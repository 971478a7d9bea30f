//! Scope and wait of an error whose class is known, and the limits that are another class after all: a day that
//! does not roll, a subscription's window, an allowance of nothing. The class itself is `judge`'s.

use std::time::Duration;

use super::judge::Case;
use super::labels::Sign;
use super::readings::headroom;
use super::wording::Wording;
use super::{times, wait, windows};
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::headroom::Headroom;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Verdict};

/// A daily quota whose answer states a wait under this is a rolling bucket.
const ROLLING: Duration = Duration::from_secs(3_600);

const LONG_WINDOWS: Scope = Scope::WEEK.with(Scope::MONTH).with(Scope::FIVE_HOUR);
const COUNTED: Scope = Scope::REQUESTS
    .with(Scope::TOKENS)
    .with(Scope::INPUT_TOKENS)
    .with(Scope::OUTPUT_TOKENS)
    .with(Scope::CONCURRENCY);

impl Case<'_> {
    /// One request larger than the whole allowance: no wait helps.
    pub(super) fn too_large(&self, wording: &Wording, signs: &[Sign]) -> Verdict {
        let is_limit = signs.iter().any(|sign| sign.class == Class::RateLimited);
        let scope = if is_limit {
            wording.scope()
        } else {
            Scope::NONE
        };
        Verdict {
            class: Class::ClientError,
            scope: scope.only(COUNTED | Scope::PER_MODEL),
            wait: None,
        }
    }

    pub(super) fn refused(&self, wording: &Wording, labelled: Scope) -> Verdict {
        let is_one_model = self.status == Some(403) && wording.scope().contains(Scope::PER_MODEL);
        let said = if is_one_model {
            Scope::PER_MODEL
        } else {
            Scope::NONE
        };
        Verdict {
            class: Class::CredentialInvalid,
            scope: (labelled | said).only(Scope::PER_MODEL),
            wait: None,
        }
    }

    /// Nobody's fault here: only a wait that is spelt out counts, not the resets of limits that were not met.
    pub(super) fn failed(&self, class: Class, wording: &Wording, labelled: Scope) -> Verdict {
        let scope = if class == Class::Overloaded {
            (labelled | self.said(wording)).only(Scope::CONCURRENCY | Scope::PER_MODEL)
        } else {
            Scope::NONE
        };
        let wait = wait::retry_after(self.headers, self.now)
            .or_else(|| wait::retry_after(&self.fault.headers, self.now))
            .or_else(|| wait::by_body(self.flavour, self.fault, wording, self.now));
        Verdict { class, scope, wait }
    }

    /// A quota that the answer itself calls spent.
    pub(super) fn exhausted(&self, wording: &Wording, labelled: Scope) -> Verdict {
        if let Some(spent) = self.spent_window() {
            return spent;
        }
        let is_money = self.is_money(wording)
            || self.status == Some(402)
            || labelled.contains(Scope::SPEND)
            || (wording.is_plan_limit() && self.flavour.is_anthropic());
        let mut scope = labelled | self.said(wording);
        if is_money {
            scope = scope.without(COUNTED) | Scope::SPEND;
        }
        let mut verdict = Verdict {
            class: Class::QuotaExhausted,
            scope,
            wait: self.wait(wording),
        };
        if self.is_day_of_google(scope) {
            verdict.wait = Some(self.google_day(verdict.wait));
        }
        verdict
    }

    /// A rate, unless a window of it is so long that waiting is no answer.
    pub(super) fn limited(&self, wording: &Wording, labelled: Scope) -> Verdict {
        if let Some(spent) = self.spent_window() {
            return spent;
        }
        if self.is_nothing_allowed(wording) {
            return Verdict {
                class: Class::QuotaExhausted,
                scope: self.said(wording).only(Scope::PER_MODEL),
                wait: None,
            };
        }
        let readings = self.readings();
        let scope = labelled
            | self.said(wording)
            | self.spent_scope(&readings)
            | self.habit(wording, &readings)
            | self.own_endpoint();
        let mut verdict = Verdict {
            class: Class::RateLimited,
            scope,
            wait: self.wait(wording).or_else(|| self.github_reset(&readings)),
        };
        if scope.contains(Scope::DAY) {
            self.decide_day(&mut verdict, &readings);
        }
        if scope.intersects(LONG_WINDOWS) {
            verdict.class = Class::QuotaExhausted;
        }
        verdict
    }

    /// A daily bucket that frees up within the hour is rolling; some providers' days are not.
    fn decide_day(&self, verdict: &mut Verdict, readings: &[Headroom]) {
        let is_short = verdict.wait.is_some_and(|wait| wait < ROLLING);
        if self.is_day_of_google(verdict.scope) {
            verdict.class = Class::QuotaExhausted;
            verdict.wait = Some(self.google_day(verdict.wait));
        } else if matches!(
            self.flavour,
            Flavour::Bedrock | Flavour::OpenRouter | Flavour::Cerebras
        ) {
            verdict.class = Class::QuotaExhausted;
            if is_short {
                verdict.wait = wait::spent_reset(readings);
            }
        } else if !is_short {
            verdict.class = Class::QuotaExhausted;
        }
    }

    fn is_day_of_google(&self, scope: Scope) -> bool {
        scope.contains(Scope::DAY) && self.is_google()
    }

    /// Days end at midnight Pacific, whatever short delay is stated beside.
    fn google_day(&self, stated: Option<Duration>) -> Duration {
        let midnight = self.now.until(times::pacific_midnight(self.now));
        stated.filter(|wait| *wait >= ROLLING).unwrap_or(midnight)
    }

    /// Whether this key has no allowance at all: the delay beside it is meaningless.
    fn is_nothing_allowed(&self, wording: &Wording) -> bool {
        let zero = wording.text().match_indices("limit: 0").any(|(at, found)| {
            let rest = wording.text().get(at + found.len()..).unwrap_or_default();
            !rest.starts_with(|c: char| c == '.' || c.is_ascii_digit())
        });
        self.is_google() && (zero || self.fault.violations.iter().any(|quota| quota.is_zero))
    }

    /// A subscription's window that headers call spent outranks what else is said; the later instant counts.
    fn spent_window(&self) -> Option<Verdict> {
        let spent = windows::spent(self.headers, self.now)
            .or_else(|| windows::spent(&self.fault.headers, self.now))?;
        let stated = wait::retry_after(self.headers, self.now)
            .or_else(|| wait::retry_after(&self.fault.headers, self.now));
        let body = || {
            wait::by_body(
                self.flavour,
                self.fault,
                &Wording::of(&self.fault.message),
                self.now,
            )
        };
        Some(Verdict {
            class: Class::QuotaExhausted,
            scope: spent.scope,
            wait: stated.max(spent.wait).or_else(body),
        })
    }

    fn wait(&self, wording: &Wording) -> Option<Duration> {
        wait::by_headers(self.flavour, self.headers, self.fault, self.now)
            .or_else(|| wait::by_body(self.flavour, self.fault, wording, self.now))
    }

    fn readings(&self) -> Vec<Headroom> {
        let mut readings = headroom(self.flavour, self.headers, self.now);
        readings.extend(headroom(self.flavour, &self.fault.headers, self.now));
        readings
    }

    /// What sentence and quota names say of the limit.
    fn said(&self, wording: &Wording) -> Scope {
        let mut scope = wording.scope();
        for quota in &self.fault.violations {
            scope = scope | Wording::of(&quota.name).scope();
            if quota.per_model {
                scope = scope | Scope::PER_MODEL;
            }
        }
        if self.fault.names_model {
            scope = scope | Scope::PER_MODEL;
        }
        scope
    }

    /// A limit met by counting tokens or listing models says nothing of inference.
    fn own_endpoint(&self) -> Scope {
        match self.endpoint {
            Endpoint::CountTokens | Endpoint::Models | Endpoint::StoredResponse => Scope::PER_MODEL,
            _ => Scope::NONE,
        }
    }
}
