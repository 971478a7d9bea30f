//! Readings of real heads, provider by provider, and the laws that hold on any bytes.

use std::fmt::Write;
use std::sync::LazyLock;

use http::HeaderName;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::core::dialect::answer::headroom;
use crate::core::limit::headroom::Headroom;
use crate::core::limit::reading::Reading;

const LINES: &str = include_str!("../../../../../tests/corpus/responses.jsonl");

struct Case {
    id: String,
    flavour: Flavour,
    headers: HeaderMap,
    received_at: WallTime,
}

static CORPUS: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let case = |line| {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap();
        let pairs = value["headers"].as_array().unwrap().iter();
        let headers = pairs.map(|pair| {
            let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
            (name, pair[1].as_str().unwrap().parse().unwrap())
        });
        Case {
            id: text("id").to_owned(),
            flavour: Flavour::parse(text("provider")).unwrap_or(Flavour::Generic),
            headers: lines(headers),
            received_at: times::instant(text("received_at")).unwrap(),
        }
    };
    LINES.lines().map(case).collect()
});

fn lines(lines: impl Iterator<Item = (HeaderName, HeaderValue)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value);
    }
    headers
}

fn now() -> WallTime {
    times::instant("2026-10-01T00:00:00Z").unwrap()
}

fn read(flavour: Flavour, fields: &[(&'static str, &'static str)]) -> Readings {
    let fields = fields.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    readings(flavour, &lines(fields), now())
}

/// `requests 49/50 +1 per 60s, full in 2s; 5h 0.58 for 11612s`.
fn shown(readings: &Readings) -> String {
    let mut text = String::new();
    let mut part = |piece: String| {
        let gap = if text.is_empty() { "" } else { "; " };
        write!(text, "{gap}{piece}").unwrap();
    };
    for (dimension, reading) in Dimension::ALL.into_iter().zip(readings.dimensions) {
        let Some(reading) = reading else { continue };
        let (name, limit, remaining) = (dimension.name(), reading.limit, reading.remaining);
        let mut piece = format!("{name} {remaining}/{limit}");
        for (sign, by) in [("-", reading.below), ("+", reading.above)] {
            if by != 0.0 {
                write!(piece, " {sign}{by}").unwrap();
            }
        }
        write!(piece, " per {}s", reading.period.as_secs_f64()).unwrap();
        let word = match reading.refill {
            Refill::Continuous => "full",
            Refill::AtReset => "anew",
        };
        if let Some(reset) = reading.reset {
            write!(piece, ", {word} in {}s", reset.as_secs_f64()).unwrap();
        } else if reading.refill == Refill::AtReset {
            piece.push_str(", anew");
        }
        part(piece);
    }
    for (name, window) in ["5h", "7d"].into_iter().zip(readings.windows) {
        let Some(window) = window else { continue };
        let left = (window.remaining * 1e4).round() / 1e4;
        let reset = window.reset.map_or(String::new(), |reset| {
            format!(" for {}s", reset.as_secs_f64())
        });
        part(format!("{name} {left}{reset}"));
    }
    text
}

#[track_caller]
fn check(flavour: Flavour, fields: &[(&'static str, &'static str)], expected: &str) {
    assert_eq!(shown(&read(flavour, fields)), expected);
}

/// Every recorded head that says something, in the corpus's order.
const RECORDED: &[(&str, &str)] = &[
    (
        "anth-429-requests-2024",
        "requests 0/5 +1 per 60s, full in 1s; tokens 16000/25000 -500 +500 per 60s, full in 1s",
    ),
    (
        "anth-ok-2024-headers",
        "requests 4/5 +1 per 60s, full in 41s; tokens 10000/10000 -500 per 60s, full in 41s",
    ),
    (
        "anth-ok-cache-read",
        "requests 9999/10000 +1 per 60s, full in 0s; input_tokens 10000000/10000000 -500 per 60s, full in 0s; output_tokens 2000000/2000000 -500 per 60s, full in 0s",
    ),
    (
        "anth-ok-retry-after-on-200",
        "input_tokens 1999000/2000000 -500 +500 per 60s, full in 0s; output_tokens 400000/400000 -500 per 60s, full in 0s",
    ),
    (
        "anth-sse-delta-repeats-input",
        "requests 9999/10000 +1 per 60s, full in 0s; input_tokens 10000000/10000000 -500 per 60s, full in 0s; output_tokens 2000000/2000000 -500 per 60s, full in 0s",
    ),
    (
        "v-anth-priority-headers",
        "requests 49/50 +1 per 60s, full in 2s",
    ),
    (
        "az-ok-foundry",
        "requests 249/250 +1 per 60s, full in 0s; tokens 249993/250000 +1 per 60s, full in 0s",
    ),
    (
        "az-ok-renewal",
        "requests 119/120 +1 per 60s, full in 0.5s; tokens 119986/120000 +1 per 60s, full in 0.007s",
    ),
    (
        "cer-429-tpm",
        "requests 14011/14400 per 86400s, anew in 51234.5s; tokens 0/30000 per 60s, anew in 55.7s",
    ),
    ("sub-429-5h", "5h 0 for 7999s; 7d 0.59 for 511200s"),
    ("sub-429-7d", "5h 0.72; 7d 0"),
    ("sub-429-overage-model-only", "5h 1; 7d 0.31"),
    (
        "sub-ok-7d-high-claim-5h",
        "5h 0.98 for 10800s; 7d 0.263 for 334800s",
    ),
    (
        "sub-ok-iso-resets",
        "requests 49/50 +1 per 60s; 5h 0.58 for 11612s; 7d 0.7 for 516311s",
    ),
    ("v-sub-allowed-warning", "5h 0.07 for 7200s"),
    ("fw-ok-over-limit", "requests 0/60 +1 per 60s"),
    ("ietf-429-slow-down", "requests 15/100 per 60s, anew in 40s"),
    (
        "ietf-ok-two-policies",
        "requests 100/5000 per 86400s, anew in 36000s",
    ),
    ("v-older-draft-429", "requests 0/100 per 60s, anew in 50s"),
    (
        "gh-403-integration",
        "requests 4931/5000 per 3600s, anew in 3600s",
    ),
    ("gh-403-primary", "requests 0/5000 per 3600s, anew in 1800s"),
    (
        "groq-429-doc-headers",
        "requests 14370/14400 +1 per 86400s, full in 179.56s; tokens 17997/18000 +1 per 60s, full in 7.66s",
    ),
    (
        "groq-ok",
        "requests 14397/14400 +1 per 86400s, full in 17.399999999s; tokens 29987/30000 +1 per 60s, full in 0.026s",
    ),
    (
        "litellm-ok-prefixed",
        "requests 14999/15000 +1 per 60s; tokens 1999994/2000000 +1 per 60s",
    ),
    (
        "mis-ok-10s-month",
        "requests 53/60 +1 per 10s; tokens 1999370/2000000 +1 per 60s",
    ),
    (
        "mis-ok-minute",
        "requests 96/100 +1 per 60s; tokens 99879/100000 +1 per 60s",
    ),
    (
        "oai-400-with-headroom",
        "requests 3499/3500 +1 per 60s, full in 0.017s; tokens 89997/90000 +1 per 60s, full in 0.002s",
    ),
    (
        "oai-ok-doc-headers",
        "requests 59/60 +1 per 60s, full in 1s; tokens 149984/150000 +1 per 60s, full in 360s",
    ),
    (
        "oai-ok-json-headers",
        "requests 9999/10000 +1 per 60s, full in 0.006s; tokens 29998186/30000000 +1 per 60s, full in 0.003s",
    ),
    (
        "oai-ok-usage-based-headers",
        "requests 2999/3000 +1 per 60s, full in 0.02s; tokens 249979/250000 +1 per 60s, full in 0.004s",
    ),
    (
        "oai-responses-json",
        "requests 9999/10000 +1 per 60s, full in 0.006s; tokens 29998466/30000000 +1 per 60s, full in 0.003s",
    ),
    ("xai-ok-images", "requests 300/300 per 60s"),
];

// D8.
#[test]
fn recorded_heads_read_as_the_providers_count() {
    let said: Vec<_> = CORPUS
        .iter()
        .map(|case| {
            let readings = readings(case.flavour, &case.headers, case.received_at);
            (&*case.id, shown(&readings))
        })
        .filter(|(_, shown)| !shown.is_empty())
        .collect();
    let said: Vec<_> = said.iter().map(|(id, shown)| (*id, &**shown)).collect();
    assert_eq!(said, RECORDED);
}

// Of what both say, people and pacing are told the same.
#[test]
fn a_reading_is_one_of_those_that_are_shown() {
    let mut compared = 0;
    for case in CORPUS.iter() {
        let shown = headroom(case.flavour, &case.headers, case.received_at);
        let readings = readings(case.flavour, &case.headers, case.received_at);
        let is_shown = |wanted: &dyn Fn(&Headroom) -> bool| shown.iter().any(wanted);
        for reading in readings.dimensions.into_iter().flatten() {
            compared += 1;
            assert!(
                is_shown(&|shown| {
                    shown.limit.is_some_and(|limit| {
                        limit == reading.limit && shown.remaining.min(limit) == reading.remaining
                    }) && shown.reset == reading.reset
                }),
                "{}: {reading:?}",
                case.id
            );
        }
        for (name, window) in ["unified_5h", "unified_7d"]
            .into_iter()
            .zip(readings.windows)
        {
            let Some(window) = window else { continue };
            compared += 1;
            assert!(
                is_shown(&|shown| {
                    shown.dimension == name
                        && shown.remaining == window.remaining
                        && shown.reset == window.reset
                }),
                "{}: {window:?}",
                case.id
            );
        }
    }
    assert!(50 < compared, "{compared}");
}

#[test]
fn anthropics_plain_tokens_count_where_no_kind_of_tokens_does() {
    let all = [
        ("anthropic-ratelimit-tokens-limit", "2400000"),
        ("anthropic-ratelimit-tokens-remaining", "2399000"),
        ("anthropic-ratelimit-output-tokens-limit", "400000"),
        ("anthropic-ratelimit-output-tokens-remaining", "400000"),
    ];
    check(
        Flavour::Anthropic,
        &all,
        "output_tokens 400000/400000 -500 per 60s",
    );
    check(
        Flavour::Anthropic,
        &all[..3],
        "tokens 2399000/2400000 -500 +500 per 60s",
    );
    check(Flavour::OpenAi, &all, "");
}

#[test]
fn a_window_that_rejects_is_spent_whatever_its_utilisation() {
    let lines = [
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", "1790812810"),
        ("anthropic-ratelimit-unified-7d-utilization", "1.02"),
        ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-7d_oi-utilization", "0.1"),
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ("anthropic-ratelimit-unified-overage-utilization", "0.5"),
    ];
    check(Flavour::ClaudeSubscription, &lines, "5h 0 for 10s; 7d 0");
}

#[test]
fn chatgpts_windows_are_known_by_their_length() {
    let lines = [
        ("x-codex-primary-used-percent", "75.5"),
        ("x-codex-primary-window-minutes", "10080"),
        ("x-codex-primary-reset-at", "1790812810"),
        ("x-codex-secondary-used-percent", "120"),
        ("x-codex-secondary-window-minutes", "299"),
        ("x-codex-secondary-reset-after-seconds", "60"),
    ];
    check(Flavour::ChatGpt, &lines, "5h 0 for 60s; 7d 0.245 for 10s");
    check(Flavour::ChatGpt, &lines[3..4], "");
}

/// What a bucket of OpenAI's kind shows of its period.
#[track_caller]
fn check_period(limit: &str, remaining: &str, reset: &str, period: u64) {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-ratelimit-limit-requests", limit),
        ("x-ratelimit-remaining-requests", remaining),
        ("x-ratelimit-reset-requests", reset),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let readings = readings(Flavour::OpenAi, &headers, now());
    let reading = readings.dimensions[Dimension::Requests.at()].unwrap();
    assert_eq!(reading.period, Duration::from_secs(period), "{reset}");
}

#[test]
fn openais_period_is_a_minute_unless_the_reset_plainly_shows_another() {
    let table = [
        ("200", "199", "7m12s", 86_400),
        ("10000", "9999", "8.64s", 86_400),
        // Rounded down: one and a little are lacking.
        ("200", "198", "7m20s", 86_400),
        ("200", "0", "23h59m59s", 86_400),
        ("500", "499", "120ms", 60),
        ("500", "500", "0s", 60),
        ("500", "498", "0s", 60),
        ("3600", "3590", "10s", 3_600),
        ("100", "0", "1s", 1),
        ("100", "50", "500ms", 1),
        ("100", "99", "10ms", 60),
        ("150000", "149984", "6m0s", 60),
        ("150000", "149984", "a while", 60),
    ];
    for (limit, remaining, reset, period) in table {
        check_period(limit, remaining, reset, period);
    }
}

#[test]
fn a_period_that_is_named_or_stated_is_believed() {
    check(
        Flavour::Azure,
        &[
            ("x-ratelimit-limit-requests", "10"),
            ("x-ratelimit-remaining-requests", "9"),
            ("x-ratelimit-renewalperiod-requests", "10"),
            ("x-ratelimit-reset-requests", "500"),
            ("x-ratelimit-limit-tokens", "-1"),
            ("x-ratelimit-remaining-tokens", "-1"),
        ],
        "requests 9/10 +1 per 10s, full in 0.5s",
    );
    check(
        Flavour::Mistral,
        &[
            ("x-ratelimit-limit-tokens-month", "100"),
            ("x-ratelimit-remaining-tokens-month", "1"),
            ("x-ratelimit-limit-tokens-day", "100"),
            ("x-ratelimit-remaining-tokens-day", "1"),
            ("x-ratelimit-limit-tokens", "100"),
            ("x-ratelimit-remaining-tokens", "1"),
        ],
        "",
    );
    check(
        Flavour::Fireworks,
        &[
            ("x-ratelimit-limit-tokens-prompt", "60000"),
            ("x-ratelimit-remaining-tokens-prompt", "59990"),
            ("x-ratelimit-limit-tokens-generated", "6000"),
            ("x-ratelimit-remaining-tokens-generated", "6000"),
        ],
        "input_tokens 59990/60000 +1 per 60s; output_tokens 6000/6000 per 60s",
    );
}

#[test]
fn of_several_limits_of_one_dimension_the_scarcer_is_read() {
    let lines = [
        ("x-ratelimit-limit-tokens-minute", "30000"),
        ("x-ratelimit-remaining-tokens-minute", "29000"),
        ("x-ratelimit-reset-tokens-minute", "11.3"),
        ("x-ratelimit-limit-tokens-day", "1000000"),
        ("x-ratelimit-remaining-tokens-day", "1000"),
        ("x-ratelimit-reset-tokens-day", "33011.3"),
    ];
    check(
        Flavour::Cerebras,
        &lines,
        "tokens 1000/1000000 per 86400s, anew in 33011.3s",
    );
    // How a day's limit comes back is not known without its reset.
    check(
        Flavour::Cerebras,
        &lines[..5],
        "tokens 29000/30000 per 60s, anew in 11.3s",
    );
}

#[test]
fn what_cannot_be_paced_by_is_no_reading() {
    let bare = [
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "4"),
        ("x-ratelimit-resource", "search"),
    ];
    for flavour in [
        Flavour::Together,
        Flavour::OpenRouter,
        Flavour::DeepSeek,
        Flavour::GitHub,
        Flavour::Generic,
    ] {
        check(flavour, &bare, "");
    }
    for (limit, remaining) in [
        ("0", "0"),
        ("-5", "1"),
        ("many", "1"),
        ("5", "-1"),
        ("5", ""),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-limit-tokens", limit.parse().unwrap());
        headers.insert("x-ratelimit-remaining-tokens", remaining.parse().unwrap());
        assert!(
            readings(Flavour::OpenAi, &headers, now()).is_empty(),
            "{limit}"
        );
    }
    check(
        Flavour::Generic,
        &[
            ("ratelimit-policy", "\"api\";q=10;w=60;qu=\"content-bytes\""),
            ("ratelimit", "\"api\";r=1;t=4"),
        ],
        "",
    );
}

#[test]
fn a_remaining_beyond_its_limit_is_the_limit() {
    check(
        Flavour::OpenAi,
        &[
            ("x-ratelimit-limit-tokens", "100"),
            ("x-ratelimit-remaining-tokens", "250"),
            ("x-ratelimit-remaining-tokens", "240"),
        ],
        "tokens 100/100 per 60s",
    );
}

// D8: an answer names whose keys it was given for.
#[test]
fn the_organisation_is_told_apart_by_name_and_project() {
    let openai = |project: &'static str| {
        let lines = [("openai-organization", "acme"), ("openai-project", project)];
        read(Flavour::OpenAi, &lines).organisation
    };
    assert!(openai("proj_1").is_some());
    assert_eq!(openai("proj_1"), openai("proj_1"));
    assert_ne!(openai("proj_1"), openai("proj_2"));
    let anthropic = |name: &'static str| {
        let lines = [("anthropic-organization-id", name)];
        read(Flavour::Anthropic, &lines).organisation
    };
    assert!(anthropic("a").is_some());
    assert_ne!(anthropic("a"), anthropic("b"));
    assert_eq!(anthropic(""), None);
    let unnamed = read(Flavour::OpenAi, &[("openai-project", "proj_1")]);
    assert_eq!(unnamed.organisation, None);
}

const FLAVOURS: [Flavour; 13] = [
    Flavour::Anthropic,
    Flavour::ClaudeSubscription,
    Flavour::OpenAi,
    Flavour::ChatGpt,
    Flavour::Azure,
    Flavour::Groq,
    Flavour::Mistral,
    Flavour::Cerebras,
    Flavour::XAi,
    Flavour::Fireworks,
    Flavour::GitHub,
    Flavour::Generic,
    Flavour::OpenRouter,
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let readable = prop_oneof![
        3 => "[0-9]{1,18}(\\.[0-9]{1,3})?",
        2 => "[0-9]{1,5}(ms|s|m|h)([0-9]{1,3}s)?",
        2 => "(19|20|99)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?Z",
        1 => "\"[a-z]{1,3}\";[rqwt]=[0-9]{1,4};[rqwt]=[0-9]{1,4}",
        1 => "[ -~]{0,45}",
    ]
    .prop_map(String::into_bytes);
    prop_oneof![9 => readable, 1 => proptest::collection::vec(any::<u8>(), 0..30)]
}

fn obeys(readings: &Readings) -> Result<(), TestCaseError> {
    for reading in readings.dimensions.iter().flatten() {
        let Reading {
            limit,
            remaining,
            below,
            above,
            ..
        } = *reading;
        prop_assert!(limit.is_finite() && 0.0 < limit, "{:?}", reading);
        prop_assert!((0.0..=limit).contains(&remaining), "{:?}", reading);
        prop_assert!((0.0..=remaining).contains(&below), "{:?}", reading);
        prop_assert!((0.0..=limit - remaining).contains(&above), "{:?}", reading);
        prop_assert!(!reading.period.is_zero(), "{:?}", reading);
        if reading.refill == Refill::AtReset {
            prop_assert!(reading.reset.is_some(), "{:?}", reading);
        }
    }
    for window in readings.windows.iter().flatten() {
        prop_assert!((0.0..=1.0).contains(&window.remaining), "{:?}", window);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_give_figures_within_their_limits(
        pick in any::<prop::sample::Index>(),
        flavour in prop::sample::select(&FLAVOURS[..]),
        values in proptest::collection::vec(value(), 1..12),
        micros in any::<i64>(),
    ) {
        let speaking: Vec<_> = CORPUS
            .iter()
            .filter(|case| RECORDED.iter().any(|(id, _)| *id == case.id))
            .collect();
        let case = pick.get(&speaking);
        let mut headers = case.headers.clone();
        let mut values = values.iter().cycle();
        for (_, value) in headers.iter_mut() {
            if let Ok(new) = HeaderValue::from_bytes(values.next().unwrap()) {
                *value = new;
            }
        }
        let now = WallTime::from_micros(micros);
        for flavour in [flavour, case.flavour] {
            obeys(&readings(flavour, &headers, now))?;
            obeys(&readings(flavour, &headers, case.received_at))?;
        }
    }
}
