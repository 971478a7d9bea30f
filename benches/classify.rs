//! What it costs to read an answer: the head of a served one (every request pays it), a refusal with its body, and
//! a page of something in between. `cargo bench --bench classify`.

use std::hint::black_box;
use std::time::Duration;

use authpool::core::dialect::Dialect;
use authpool::core::dialect::answer::{self, Answer};
use authpool::core::dialect::endpoint::Endpoint;
use authpool::core::dialect::flavour::Flavour;
use authpool::core::dialect::limits::limit_headers;
use authpool::core::limit::reading::{PoolReading, PoolRoom};
use authpool::core::limit::verdict::Verdict;
use authpool::core::time::WallTime;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};

const NOW: WallTime = WallTime::from_micros(1_787_150_053_000_000);

const POOL_READING: PoolReading = PoolReading {
    limit: 10_000_000.0,
    remaining: 9_998_700.0,
    full_in: Duration::from_millis(6_700),
};

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

fn anthropic_head() -> HeaderMap {
    headers(&[
        ("date", "Wed, 19 Aug 2026 14:34:13 GMT"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("anthropic-ratelimit-input-tokens-limit", "10000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "9999000"),
        (
            "anthropic-ratelimit-input-tokens-reset",
            "2026-08-19T14:34:14Z",
        ),
        ("anthropic-ratelimit-output-tokens-limit", "2000000"),
        ("anthropic-ratelimit-output-tokens-remaining", "2000000"),
        (
            "anthropic-ratelimit-output-tokens-reset",
            "2026-08-19T14:34:13Z",
        ),
        ("anthropic-ratelimit-requests-limit", "10000"),
        ("anthropic-ratelimit-requests-remaining", "9999"),
        ("anthropic-ratelimit-requests-reset", "2026-08-19T14:34:13Z"),
        ("anthropic-ratelimit-tokens-limit", "12000000"),
        ("anthropic-ratelimit-tokens-remaining", "11999000"),
        ("anthropic-ratelimit-tokens-reset", "2026-08-19T14:34:14Z"),
        ("request-id", "req_0"),
        ("server", "cloudflare"),
        ("cf-ray", "0-FRA"),
    ])
}

fn read(flavour: Flavour, status: u16, headers: &HeaderMap, body: &[u8]) -> Verdict {
    answer::verdict(&Answer {
        flavour,
        endpoint: Endpoint::ChatCompletions,
        status,
        headers,
        body,
        received_at: NOW,
    })
}

fn classify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    let head = anthropic_head();
    group.bench_function("200, head: verdict", |bencher| {
        bencher.iter(|| {
            let head = black_box(&head);
            answer::head_verdict(Flavour::Anthropic, Endpoint::Messages, 200, head, NOW)
        });
    });
    group.bench_function("200, head: headroom", |bencher| {
        bencher.iter(|| answer::headroom(Flavour::Anthropic, black_box(&head), NOW));
    });
    group.bench_function("200, head: readings", |bencher| {
        bencher.iter(|| answer::readings(Flavour::Anthropic, black_box(&head), NOW));
    });
    let openai = headers(&[
        ("date", "Wed, 19 Aug 2026 14:34:13 GMT"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("openai-organization", "acme"),
        ("openai-processing-ms", "412"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "30000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "29998186"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "3ms"),
        ("x-request-id", "req_0"),
    ]);
    group.bench_function("200, OpenAI's head: readings", |bencher| {
        bencher.iter(|| answer::readings(Flavour::OpenAi, black_box(&openai), NOW));
    });

    let room = PoolRoom {
        dimensions: [Some(POOL_READING); 4],
        ..PoolRoom::NONE
    };
    for (name, dialect) in [
        ("Anthropic", Dialect::Anthropic),
        ("OpenAI", Dialect::OpenAi),
    ] {
        group.bench_function(format!("limit headers for {name}'s clients"), |bencher| {
            bencher.iter(|| {
                let room = black_box(&room);
                limit_headers(dialect, Flavour::Generic, room, NOW)
                    .fold(0, |length, line| length + black_box(line).1.len())
            });
        });
        group.bench_function(format!("the same, into {name}'s head"), |bencher| {
            bencher.iter_batched_ref(
                || headers(&[("content-type", "application/json")]),
                |head| {
                    let room = black_box(&room);
                    for (name, value) in limit_headers(dialect, Flavour::Generic, room, NOW) {
                        head.insert(name, value);
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }

    let refusal = headers(&[
        ("content-type", "application/json"),
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", "63"),
        ("x-ratelimit-reset-tokens", "59.874s"),
    ]);
    let body: &[u8] = br#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29937, Requested 385. Please try again in 644ms. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#;
    group.bench_function("429 with JSON", |bencher| {
        bencher.iter(|| read(Flavour::OpenAi, 429, black_box(&refusal), black_box(body)));
    });

    let page = headers(&[("server", "cloudflare"), ("content-type", "text/html")]);
    let html = format!(
        "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>{}</body></html>",
        "<div class=\"main\">Checking if the site connection is secure</div>".repeat(100)
    );
    group.bench_function("403, a page of 7 KB", |bencher| {
        bencher.iter(|| {
            read(
                Flavour::OpenAi,
                403,
                black_box(&page),
                black_box(html.as_bytes()),
            )
        });
    });
    group.finish();
}

criterion_group!(benches, classify);
criterion_main!(benches);
