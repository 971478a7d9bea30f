//! The windows of subscriptions: which are spent, and until when. Claude's say so by a status, ChatGPT's by a
//! percentage. Readings of the same headers for show are `readings`'; that a spent window outranks the rest of
//! an answer is `judge`'s rule.

use std::time::Duration;

use http::HeaderMap;

use super::times;
use crate::core::limit::scope::Scope;
use crate::core::time::WallTime;

/// A subscription's refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    /// Whose the window is and how long; with `per_model` one model's only.
    pub(super) scope: Scope,
    /// Until the latest reset of what is spent; `None`: not stated.
    pub(super) wait: Option<Duration>,
}

impl Spent {
    fn also(&mut self, scope: Scope, wait: Option<Duration>) {
        self.scope = self.scope | scope;
        self.wait = self.wait.max(wait);
    }
}

/// What the headers of a refusal say is spent; `None`: no window of a subscription.
pub(super) fn spent(headers: &HeaderMap, now: WallTime) -> Option<Spent> {
    claude(headers, now).or_else(|| codex(headers, now))
}

const UNIFIED: &str = "anthropic-ratelimit-unified-";

/// A window of all models rejected benches the account until the latest such reset; a window of one model
/// rejected alone benches that model. `overage-status` means nothing: it rides on served requests.
fn claude(headers: &HeaderMap, now: WallTime) -> Option<Spent> {
    let value = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let unified = |name: &str| value(&format!("{UNIFIED}{name}"));
    let reset = |name: &str| times::reset(unified(name)?, now);

    let (mut account, mut model) = (None::<Spent>, None::<Spent>);
    let mut states_any = false;
    for (name, value) in headers {
        let Some(window) = name
            .as_str()
            .strip_prefix(UNIFIED)
            .and_then(|rest| rest.strip_suffix("-status"))
        else {
            continue;
        };
        if window == "overage" {
            continue;
        }
        states_any = true;
        if !value.as_bytes().eq_ignore_ascii_case(b"rejected") {
            continue;
        }
        let until = reset(&format!("{window}-reset"));
        let spent = if matches!(window, "5h" | "7d") {
            account.get_or_insert_default()
        } else {
            model.get_or_insert_default()
        };
        spent.also(length(window), until);
    }
    if let Some(mut spent) = account {
        spent.scope = spent.scope | Scope::PER_CREDENTIAL;
        spent.wait = spent.wait.or_else(|| reset("reset"));
        return Some(spent);
    }
    if let Some(mut spent) = model {
        spent.scope = spent.scope | Scope::PER_MODEL;
        spent.wait = spent.wait.or_else(|| reset("reset"));
        return Some(spent);
    }
    let overall = unified("status");
    if overall.is_some_and(|status| status.eq_ignore_ascii_case("rejected")) {
        return Some(Spent {
            scope: claim(unified("representative-claim").unwrap_or_default()),
            wait: reset("reset"),
        });
    }
    // Without any status, credits that are out are the only thing said.
    let out_of_credits = unified("overage-disabled-reason") == Some("out_of_credits");
    (out_of_credits && !states_any && overall.is_none()).then_some(Spent {
        scope: Scope::SPEND | Scope::PER_CREDENTIAL,
        wait: None,
    })
}

/// `five_hour`, `seven_day`; `seven_day_opus` and other longer names are one model's.
fn claim(claim: &str) -> Scope {
    match claim {
        "five_hour" => Scope::PER_CREDENTIAL | Scope::FIVE_HOUR,
        "seven_day" => Scope::PER_CREDENTIAL | Scope::WEEK,
        _ if claim.starts_with("seven_day_") => Scope::PER_MODEL | Scope::WEEK,
        _ if claim.starts_with("five_hour_") => Scope::PER_MODEL | Scope::FIVE_HOUR,
        _ => Scope::PER_CREDENTIAL,
    }
}

fn length(window: &str) -> Scope {
    if window.starts_with("5h") {
        Scope::FIVE_HOUR
    } else if window.starts_with("7d") {
        Scope::WEEK
    } else {
        Scope::NONE
    }
}

/// A window of which 100 percent are used.
fn codex(headers: &HeaderMap, now: WallTime) -> Option<Spent> {
    let mut spent = None::<Spent>;
    for window in ["primary", "secondary"] {
        let value = |name: &str| {
            let name = format!("x-codex-{window}-{name}");
            headers.get(name)?.to_str().ok()
        };
        let used = value("used-percent").and_then(times::number);
        if used.is_none_or(|used| used < 100.0) {
            continue;
        }
        let reset = value("reset-after-seconds")
            .or_else(|| value("reset-at"))
            .and_then(|text| times::reset(text, now));
        let minutes = value("window-minutes").and_then(times::number);
        spent
            .get_or_insert_default()
            .also(Scope::PER_CREDENTIAL | by_minutes(minutes), reset);
    }
    spent
}

fn by_minutes(minutes: Option<f64>) -> Scope {
    match minutes.unwrap_or_default() as u32 {
        299..=300 => Scope::FIVE_HOUR,
        1_439..=1_440 => Scope::DAY,
        10_079..=10_080 => Scope::WEEK,
        40_000..=45_000 => Scope::MONTH,
        _ => Scope::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&str, &str)]) -> Option<(Scope, Option<f64>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let now = times::instant("2026-10-01T00:00:00Z").unwrap();
        spent(&headers, now).map(|spent| (spent.scope, spent.wait.map(|wait| wait.as_secs_f64())))
    }

    // Corpus, Claude subscription: the latest rejected reset rules, the claim's may be the early one.
    #[test]
    fn an_account_is_spent_until_the_latest_reset_of_its_rejected_windows() {
        let lines = [
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-reset", "1790812810"),
            ("anthropic-ratelimit-unified-5h-status", "rejected"),
            ("anthropic-ratelimit-unified-5h-reset", "1790812810"),
            ("anthropic-ratelimit-unified-7d-status", "rejected"),
            (
                "anthropic-ratelimit-unified-7d-reset",
                "2026-10-03T00:00:00Z",
            ),
        ];
        let scope = Scope::PER_CREDENTIAL | Scope::FIVE_HOUR | Scope::WEEK;
        assert_eq!(read(&lines), Some((scope, Some(172_800.0))));
    }

    #[test]
    fn a_window_of_one_model_benches_that_model_alone() {
        let lines = [
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-5h-status", "allowed"),
            ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
            ("anthropic-ratelimit-unified-7d_opus-status", "rejected"),
            ("anthropic-ratelimit-unified-7d_opus-reset", "1790812810"),
        ];
        let scope = Scope::PER_MODEL | Scope::WEEK;
        assert_eq!(read(&lines), Some((scope, Some(10.0))));
        let claimed = [
            ("anthropic-ratelimit-unified-status", "rejected"),
            (
                "anthropic-ratelimit-unified-representative-claim",
                "seven_day_opus",
            ),
        ];
        assert_eq!(read(&claimed), Some((scope, None)));
    }

    #[test]
    fn an_overage_that_is_rejected_is_no_limit() {
        let lines = [
            ("anthropic-ratelimit-unified-status", "allowed"),
            ("anthropic-ratelimit-unified-overage-status", "rejected"),
            (
                "anthropic-ratelimit-unified-overage-disabled-reason",
                "out_of_credits",
            ),
        ];
        assert_eq!(read(&lines), None);
        assert_eq!(read(&lines[1..2]), None);
    }

    #[test]
    fn a_chatgpt_window_is_spent_at_a_hundred_percent() {
        let lines = [
            ("x-codex-primary-used-percent", "100"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-primary-reset-at", "1790812810"),
            ("x-codex-secondary-used-percent", "80"),
            ("x-codex-secondary-window-minutes", "10080"),
            ("x-codex-secondary-reset-after-seconds", "316705"),
        ];
        let scope = Scope::PER_CREDENTIAL | Scope::FIVE_HOUR;
        assert_eq!(read(&lines), Some((scope, Some(10.0))));
        assert_eq!(read(&lines[3..]), None);
    }
}
