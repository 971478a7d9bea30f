//! What reading along costs (X4): a stream of 100 tokens, Anthropic's and of chat chunks, by event and by what the
//! socket gives at a time; the scanner alone beside it; a prompt of 64 KiB through the request reader.

use std::hint::black_box;

use authpool::core::dialect::Dialect;
use authpool::core::dialect::endpoint::Endpoint;
use authpool::core::dialect::flavour::Flavour;
use authpool::core::dialect::read::body::BodyReader;
use authpool::core::dialect::read::request::RequestReader;
use authpool::core::sse::{Event, Scanner, Sink};
use authpool::core::time::WallTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};

const EVENTS: usize = 100;

fn anthropic() -> Vec<String> {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"usage\":{\
        \"input_tokens\":76,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\n";
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\
        \"type\":\"text_delta\",\"text\":\" token\"}    }\n\n";
    let end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
        \"usage\":{\"output_tokens\":104}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    framed(start, delta, &[end, stop])
}

fn chat() -> Vec<String> {
    let chunk = |delta: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-77HaPClCxqCQhWCNKcdWAJlHsnAiD\",\"object\":\"chat.completion.chunk\",\
             \"created\":1790000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\
             \"system_fingerprint\":\"fp_0123456789\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
             \"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"a1B2c3D4\"}}\n\n"
        )
    };
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":100}}\n\n";
    framed(
        &chunk("{\"role\":\"assistant\",\"content\":\"\"}"),
        &chunk("{\"content\":\" token\"}"),
        &[usage, "data: [DONE]\n\n"],
    )
}

fn framed(start: &str, delta: &str, end: &[&str]) -> Vec<String> {
    let mut events = vec![start.to_owned()];
    events.resize(EVENTS - end.len(), delta.to_owned());
    events.extend(end.iter().map(|event| (*event).to_owned()));
    events
}

struct Count(usize);

impl Sink for Count {
    fn event(&mut self, event: Event<'_>) {
        self.0 += event.data.len();
    }
}

fn streams(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        HeaderValue::from_static("text/event-stream"),
    );
    let mut group = criterion.benchmark_group("stream of 100 events");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (dialect, endpoint, events) in [
        (Dialect::Anthropic, Endpoint::Messages, anthropic()),
        (Dialect::OpenAi, Endpoint::ChatCompletions, chat()),
    ] {
        let whole = events.concat();
        let by_event: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
        let by_packet: Vec<&[u8]> = whole.as_bytes().chunks(1448).collect();
        for (cut, pieces) in [("by event", by_event), ("by packet", by_packet)] {
            group.bench_function(format!("{} read {cut}", dialect.name()), |bencher| {
                bencher.iter(|| {
                    let flavour = Flavour::of(dialect, "");
                    let mut reader =
                        BodyReader::new(dialect, flavour, endpoint, &headers, WallTime::default());
                    for piece in &pieces {
                        black_box(reader.feed(black_box(piece)));
                    }
                    reader.usage()
                });
            });
        }
        group.bench_function(format!("{} scanned", dialect.name()), |bencher| {
            bencher.iter(|| {
                let (mut scanner, mut count) = (Scanner::new(), Count(0));
                scanner.feed(black_box(whole.as_bytes()), &mut count);
                count.0
            });
        });
    }
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let line =
        "fn main() {\\n    println!(\\\"hello\\\"); // a line of code, as prompts hold them\\n}\\n";
    let message = format!(
        "{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}]}}",
        line.repeat(40)
    );
    let mut messages = vec![message.clone()];
    while messages.iter().map(String::len).sum::<usize>() < 64 * 1024 {
        messages.push(message.clone());
    }
    let body = format!(
        "{{\"messages\":[{}],\"max_tokens\":1024,\"stream\":true,\"model\":\"claude-opus-4-8\"}}",
        messages.join(",")
    );
    let mut group = criterion.benchmark_group("request of 64 KiB");
    // Elements of 1 KiB, so that the figure is the cost of one.
    group.throughput(Throughput::Elements(body.len() as u64 / 1024));
    for (cut, length) in [("whole", body.len()), ("by 8 KiB", 8192)] {
        group.bench_function(cut, |bencher| {
            bencher.iter(|| {
                let mut reader = RequestReader::new();
                for piece in black_box(body.as_bytes()).chunks(length) {
                    reader.feed(piece);
                }
                reader.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, streams, requests);
criterion_main!(benches);
