//! D1: the corpus, graded. Every case of every provider counts; `alt` counts as right. The table of scores is
//! printed with `--nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod documented;

use std::collections::BTreeMap;
use std::io::Write;

use authpool::core::dialect::answer::{self, Answer};
use authpool::core::dialect::endpoint::Endpoint;
use authpool::core::dialect::flavour::Flavour;
use authpool::core::ledger::usage::Usage;
use authpool::core::limit::verdict::{Class, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;

const CORPUS: &str = include_str!("../corpus/responses.jsonl");

/// The providers whose dialects are built: class and wait have no exception there.
const BUILT: [&str; 7] = [
    "anthropic",
    "claude-subscription",
    "openai",
    "generic",
    "nginx",
    "envoy",
    "cloudflare",
];

/// One recorded answer and what should be concluded from it.
struct Case {
    id: String,
    provider: String,
    received_at: String,
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    stream: bool,
    expect: Value,
}

fn cases() -> Vec<Case> {
    CORPUS
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let mut headers = HeaderMap::new();
            for pair in value["headers"].as_array().unwrap() {
                let name = HeaderName::from_bytes(pair[0].as_str().unwrap().as_bytes()).unwrap();
                headers.append(
                    name,
                    HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap(),
                );
            }
            let body = text("body").into_bytes();
            Case {
                id: text("id"),
                provider: text("provider"),
                received_at: text("received_at"),
                status: u16::try_from(value["status"].as_u64().unwrap()).unwrap(),
                headers,
                body: match value.get("body_encoding") {
                    Some(_) => answer::decode_base64(&body).unwrap(),
                    None => body,
                },
                stream: value["stream"].as_bool().unwrap(),
                expect: value["expect"].clone(),
            }
        })
        .collect()
}

impl Case {
    fn answer(&self, flavour: Flavour) -> Answer<'_> {
        Answer {
            flavour,
            endpoint: Endpoint::ChatCompletions,
            status: self.status,
            headers: &self.headers,
            body: &self.body,
            received_at: answer::instant(&self.received_at).unwrap(),
        }
    }

    fn flavour(&self) -> Flavour {
        Flavour::parse(&self.provider).unwrap()
    }

    fn verdict(&self, flavour: Flavour) -> Verdict {
        let verdict = answer::verdict(&self.answer(flavour));
        let is_cut = || answer::breaks_off(&answer::decode(&self.headers, &self.body));
        if self.stream && verdict == Verdict::OK && is_cut() {
            return Verdict::of(Class::UpstreamError);
        }
        verdict
    }
}

/// Whether an aspect is right, and whether only by `alt`.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Right,
    ByAlt,
    Wrong,
}

/// `retry_after_s` and `reset_s` agree within one second or 1 %.
fn is_near(expected: Option<f64>, got: Option<f64>) -> bool {
    match (expected, got) {
        (None, None) => true,
        (Some(expected), Some(got)) => (expected - got).abs() <= f64::max(1.0, expected * 0.01),
        _ => false,
    }
}

fn mark_class(case: &Case, verdict: Verdict) -> Mark {
    let name = verdict.class.name();
    if case.expect["class"] == name {
        return Mark::Right;
    }
    let alt = case.expect["alt"]["class"].as_array();
    if alt.is_some_and(|alt| alt.iter().any(|class| class == name)) {
        Mark::ByAlt
    } else {
        Mark::Wrong
    }
}

fn mark_wait(case: &Case, verdict: Verdict) -> Mark {
    let got = verdict.wait.map(|wait| wait.as_secs_f64());
    if is_near(case.expect["retry_after_s"].as_f64(), got) {
        return Mark::Right;
    }
    let alt = case.expect["alt"]["retry_after_s"].as_array();
    if alt.is_some_and(|alt| alt.iter().any(|wait| is_near(wait.as_f64(), got))) {
        Mark::ByAlt
    } else {
        Mark::Wrong
    }
}

fn mark_scope(case: &Case, verdict: Verdict) -> Mark {
    let sorted = |words: &Value| {
        let mut words: Vec<String> = words
            .as_array()
            .into_iter()
            .flatten()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect();
        words.sort();
        words
    };
    let mut got: Vec<_> = verdict.scope.words().map(str::to_owned).collect();
    got.sort();
    if sorted(&case.expect["scope"]) == got {
        Mark::Right
    } else if case.expect["alt"].get("scope").map(sorted) == Some(got) {
        Mark::ByAlt
    } else {
        Mark::Wrong
    }
}

fn mark_usage(case: &Case) -> Mark {
    let got = answer::usage(case.flavour(), &case.body, case.stream);
    let expected = &case.expect["usage"];
    let count = |name: &str| expected[name].as_u64();
    // A reader that gives 0 where nothing was reported is fine (corpus, Usage).
    let is_cache = |expected: Option<u64>, got: Option<u64>| {
        expected == got || (expected.is_none() && got == Some(0))
    };
    let is_right = got.input == count("input_tokens")
        && got.output == count("output_tokens")
        && is_cache(count("cache_read_tokens"), got.cache_read)
        && is_cache(count("cache_write_tokens"), got.cache_write)
        && (expected.is_null() == (got == Usage::default()));
    if is_right { Mark::Right } else { Mark::Wrong }
}

fn mark_headroom(case: &Case) -> Mark {
    let received_at = answer::instant(&case.received_at).unwrap();
    let got = answer::headroom(case.flavour(), &case.headers, received_at);
    let expected = case.expect["headroom"].as_array().unwrap();
    let all = expected.iter().all(|reading| {
        got.iter().any(|got| {
            let limit = reading["limit"].as_f64();
            let is_same = |a: f64, b: f64| (a - b).abs() < 1e-9 * f64::max(1.0, a.abs());
            reading["dimension"] == *got.dimension
                && limit.is_some() == got.limit.is_some()
                && limit.zip(got.limit).is_none_or(|(a, b)| is_same(a, b))
                && is_same(reading["remaining"].as_f64().unwrap(), got.remaining)
                && is_near(
                    reading["reset_s"].as_f64(),
                    got.reset.map(|reset| reset.as_secs_f64()),
                )
        })
    });
    if all && expected.len() == got.len() {
        Mark::Right
    } else {
        Mark::Wrong
    }
}

const ASPECTS: [&str; 5] = ["class", "scope", "wait", "usage", "headroom"];

fn marks(case: &Case) -> [Mark; 5] {
    let verdict = case.verdict(case.flavour());
    [
        mark_class(case, verdict),
        mark_scope(case, verdict),
        mark_wait(case, verdict),
        mark_usage(case),
        mark_headroom(case),
    ]
}

/// Cases whose label is believed to be wrong, with the reason. None so far.
const DISPUTED: [(&str, &str, &str); 0] = [];

// D1, D2, D3, D4
#[test]
fn every_case_of_the_corpus_is_read_as_it_should_be() {
    let mut table: BTreeMap<String, (u32, [u32; 5], [u32; 5])> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let (count, right, by_alt) = table.entry(case.provider.clone()).or_default();
        *count += 1;
        for (index, mark) in marks(&case).into_iter().enumerate() {
            let aspect = ASPECTS[index];
            match mark {
                Mark::Right => right[index] += 1,
                Mark::ByAlt => {
                    right[index] += 1;
                    by_alt[index] += 1;
                }
                Mark::Wrong
                    if DISPUTED
                        .iter()
                        .any(|(id, of, _)| *id == case.id && *of == aspect) => {}
                Mark::Wrong => {
                    let verdict = case.verdict(case.flavour());
                    wrong.push(format!(
                        "{} {aspect}: expected {}, read {verdict:?}",
                        case.id, case.expect
                    ));
                }
            }
        }
    }
    println!(
        "{:<20} {:>5}  right (of these by alt) per aspect",
        "provider", "cases"
    );
    for (provider, (count, right, by_alt)) in &table {
        let scores: Vec<_> = (0..5)
            .map(|index| format!("{} {}({})", ASPECTS[index], right[index], by_alt[index]))
            .collect();
        println!("{provider:<20} {count:>5}  {}", scores.join("  "));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

// Acceptance 11: class and wait of the built dialects, without exception.
#[test]
fn no_case_of_a_built_dialect_is_disputed() {
    for (id, ..) in DISPUTED {
        let case = cases().into_iter().find(|case| case.id == id).unwrap();
        assert!(!BUILT.contains(&case.provider.as_str()), "{id}");
    }
}

// D1: answers of what stands in between are recognised under every flavour; a subscription is told per answer.
#[test]
fn what_stands_in_between_is_recognised_under_every_flavour() {
    let flavours = |provider: &str| match provider {
        "cloudflare" | "nginx" | "envoy" => vec![
            Flavour::OpenAi,
            Flavour::Anthropic,
            Flavour::Generic,
            Flavour::Gemini,
            Flavour::OpenRouter,
        ],
        "claude-subscription" => vec![Flavour::Anthropic],
        _ => vec![],
    };
    for case in cases() {
        for flavour in flavours(&case.provider) {
            let verdict = case.verdict(flavour);
            for mark in [
                mark_class(&case, verdict),
                mark_scope(&case, verdict),
                mark_wait(&case, verdict),
            ] {
                assert!(
                    mark != Mark::Wrong,
                    "{} as {flavour:?}: {verdict:?}",
                    case.id
                );
            }
        }
    }
}

// The head alone is never more lenient than the whole: an error stays one, a served answer stays ok.
#[test]
fn the_head_alone_tells_errors_from_served_answers() {
    for case in cases().iter().filter(|case| case.status != 0) {
        let received_at = answer::instant(&case.received_at).unwrap();
        let head = answer::head_verdict(
            case.flavour(),
            Endpoint::ChatCompletions,
            case.status,
            &case.headers,
            received_at,
        );
        assert_eq!(head.class == Class::Ok, case.status < 400, "{}", case.id);
    }
}

// Corpus rule 2: a body is read by what it is.
#[test]
fn compression_a_mark_and_an_array_around_an_error_change_nothing() {
    for case in cases() {
        let plain = answer::decode(&case.headers, &case.body);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let mut forms = vec![gzip.finish().unwrap(), [b"\xef\xbb\xbf", &*plain].concat()];
        if case.status >= 400 && plain.starts_with(b"{") {
            forms.push([b"[", &*plain, b"\n]"].concat());
        }
        let is_frames = case
            .headers
            .get("content-type")
            .is_some_and(|kind| kind == "application/vnd.amazon.eventstream");
        for body in forms.iter().filter(|_| !is_frames) {
            let answer = case.answer(case.flavour());
            let read = answer::verdict(&Answer { body, ..answer });
            assert_eq!(read, answer::verdict(&answer), "{}", case.id);
        }
    }
}

/// A case of the corpus, some bytes of its body exchanged, cut or repeated, and its status replaced.
fn mutated() -> impl Strategy<Value = (usize, Vec<(usize, u8)>, usize, u16, usize)> {
    (
        any::<usize>(),
        proptest::collection::vec((any::<usize>(), any::<u8>()), 0..12),
        any::<usize>(),
        prop_oneof![
            Just(0_u16),
            Just(200),
            Just(400),
            Just(403),
            Just(429),
            Just(503),
            any::<u16>()
        ],
        any::<usize>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // D1: never panics; D4: never more than 35 days.
    #[test]
    fn no_answer_however_broken_panics_or_states_more_than_35_days(
        (pick, changes, cut, status, other) in mutated()
    ) {
        let cases = cases();
        let case = &cases[pick % cases.len()];
        let mut body = case.body.clone();
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at % body.len();
                body[at] = byte;
            }
        }
        body.truncate(cut % (body.len() + 1));
        let flavour = cases[other % cases.len()].flavour();
        let received_at = answer::instant(&case.received_at).unwrap();
        let answer = Answer { status, body: &body, flavour, ..case.answer(flavour) };
        let verdict = answer::verdict(&answer);
        prop_assert!(verdict.wait.is_none_or(|wait| wait.as_secs() <= 35 * 86_400));
        if verdict.class == Class::Ok || verdict.class == Class::ClientError {
            prop_assert_eq!(verdict.wait, None);
        }
        answer::usage(flavour, &body, true);
        answer::headroom(flavour, &case.headers, received_at);
        answer::is_intermediary_page(status, &case.headers, &body);
        for event in [None, Some("error"), Some("exception")] {
            answer::stream_error(flavour, Endpoint::Other, &case.headers, &body, event, received_at);
        }
    }

    #[test]
    fn no_header_value_however_strange_panics(
        pick in any::<usize>(),
        values in proptest::collection::vec("[ -~]{0,40}", 1..8),
        micros in any::<i64>(),
    ) {
        let cases = cases();
        let case = &cases[pick % cases.len()];
        let mut headers = case.headers.clone();
        for (index, (_, value)) in headers.iter_mut().enumerate() {
            *value = HeaderValue::from_str(&values[index % values.len()]).unwrap();
        }
        let received_at = authpool::core::time::WallTime::from_micros(micros);
        let answer = Answer { headers: &headers, received_at, ..case.answer(case.flavour()) };
        answer::verdict(&answer);
        answer::headroom(case.flavour(), &headers, received_at);
    }
}
