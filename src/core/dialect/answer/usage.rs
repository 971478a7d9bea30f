//! The tokens that a whole body reports, in every shape that providers write them. The shapes share no member
//! with different meanings, so that one reader serves all. Streams while they pass are read by `read`.

use std::collections::HashMap;
use std::fmt;

use http::HeaderMap;
use memchr::memmem;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::base64;
use super::body::{decode, pieces};
use crate::core::dialect::flavour::Flavour;
use crate::core::ledger::usage::Usage;

/// How deep members that wrap the report are followed.
const MAX_DEPTH: usize = 3;

/// Members that wrap the member with the report.
const WRAPPERS: [&str; 5] = ["message", "response", "delta", "x_groq", "result"];
/// Members that are the report.
const REPORTS: [&str; 5] = [
    "usage",
    "usageMetadata",
    "meta",
    "metrics",
    "amazon-bedrock-invocationMetrics",
];

/// What a body reports: of a stream, and of an array in pieces, the last report wins field by field. The whole
/// body is given; a compressed one is decoded by its magic.
pub fn usage(_flavour: Flavour, body: &[u8], stream: bool) -> Usage {
    let body = decode(&HeaderMap::new(), body);
    let mut usage = Usage::default();
    for piece in pieces(&body) {
        if reports(&piece.data) {
            usage.update(within(&piece.data, 0));
        }
        if !stream && !usage.is_unknown() {
            break;
        }
    }
    usage
}

/// What a head reports: Bedrock states the counts of a whole answer there too.
pub fn head_usage(headers: &HeaderMap) -> Usage {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    Usage {
        input: count("x-amzn-bedrock-input-token-count"),
        output: count("x-amzn-bedrock-output-token-count"),
        cache_read: count("x-amzn-bedrock-cache-read-input-token-count"),
        cache_write: count("x-amzn-bedrock-cache-write-input-token-count"),
        reasoning: None,
    }
}

/// Whether a report may be in there; most events of a stream have none.
fn reports(data: &[u8]) -> bool {
    [
        b"sage".as_slice(),
        b"\"tokens\"",
        b"eval_count",
        b"token_count",
        b"Metrics",
        b"\"bytes\"",
    ]
    .iter()
    .any(|word| memmem::find(data, word).is_some())
}

/// The report of one JSON object, of which only the members that may hold it are parsed.
fn within(data: &[u8], depth: usize) -> Usage {
    let mut usage = Usage::default();
    let Ok(members) = serde_json::from_slice::<HashMap<String, &RawValue>>(data) else {
        return usage;
    };
    let member = |name: &str| members.get(name).map(|raw| raw.get());
    if depth < MAX_DEPTH {
        for name in WRAPPERS {
            if let Some(inner) = member(name).filter(|inner| inner.starts_with('{')) {
                usage.update(within(inner.as_bytes(), depth + 1));
            }
        }
        if let Some(chunk) =
            member("bytes").and_then(|text| base64::decode(text.trim_matches('"').as_bytes()))
        {
            usage.update(within(&chunk, depth + 1));
        }
    }
    for name in REPORTS {
        if let Some(report) = member(name) {
            usage.update(report_of(report.as_bytes()));
        }
    }
    // Ollama's own API reports at the top.
    let count = |name: &str| member(name).and_then(|text| text.parse().ok());
    usage.update(Usage {
        input: count("prompt_eval_count"),
        output: count("eval_count"),
        ..Usage::default()
    });
    usage
}

/// Reads what lies under `usage` or its like; nothing where it is no JSON object.
pub(in crate::core::dialect) fn report_of(json: &[u8]) -> Usage {
    let Ok(counts) = serde_json::from_slice::<Counts<'_>>(json) else {
        return Usage::default();
    };
    let leaves = counts.leaves.get(..counts.len).unwrap_or_default();
    // Cohere: what was processed, not what is billed.
    let processed = leaves.iter().any(|leaf| leaf.holder == "tokens");
    let mut words = Words::default();
    for leaf in leaves {
        words.take(leaf, processed);
    }
    words.usage()
}

/// Each figure by the best of the words for it that a report has.
#[derive(Default)]
struct Words {
    input: Best,
    output: Best,
    candidates: Best,
    thoughts: Best,
    reasoning: Best,
    cache_read: Best,
    cache_write: Best,
    total: Best,
}

/// The count under the word of the lowest rank; of equal words the last.
#[derive(Clone, Copy, Default)]
struct Best(Option<(u8, u64)>);

impl Best {
    fn take(&mut self, rank: u8, count: u64) {
        if self.0.is_none_or(|(known, _)| rank <= known) {
            self.0 = Some((rank, count));
        }
    }

    fn count(self) -> Option<u64> {
        self.0.map(|(_, count)| count)
    }
}

impl Words {
    fn take(&mut self, leaf: &Leaf<'_>, processed: bool) {
        let count = leaf.count;
        match leaf.holder {
            "tokens" => self.outermost(leaf.name, count),
            "" if processed && leaf.name == "cached_tokens" => self.cache_read.take(20, count),
            _ if processed => {}
            "" => self.outermost(leaf.name, count),
            "prompt_tokens_details" => self.prompt(0, leaf.name, count),
            "input_tokens_details" => self.prompt(1, leaf.name, count),
            "completion_tokens_details" if leaf.name == "reasoning_tokens" => {
                self.reasoning.take(0, count)
            }
            "output_tokens_details" if leaf.name == "reasoning_tokens" => {
                self.reasoning.take(1, count)
            }
            _ => {}
        }
    }

    fn prompt(&mut self, rank: u8, name: &str, count: u64) {
        match name {
            "cached_tokens" => self.cache_read.take(10 + rank, count),
            "cache_write_tokens" => self.cache_write.take(10 + rank, count),
            _ => {}
        }
    }

    fn outermost(&mut self, name: &str, count: u64) {
        match name {
            "input_tokens" => self.input.take(0, count),
            "prompt_tokens" => self.input.take(1, count),
            "promptTokenCount" => self.input.take(2, count),
            "inputTokens" => self.input.take(3, count),
            "inputTokenCount" => self.input.take(4, count),
            "input_token_count" => self.input.take(5, count),
            "output_tokens" => self.output.take(0, count),
            "completion_tokens" => self.output.take(1, count),
            "outputTokens" => self.output.take(2, count),
            "outputTokenCount" => self.output.take(3, count),
            "output_token_count" => self.output.take(4, count),
            "candidatesTokenCount" => self.candidates.take(0, count),
            "thoughtsTokenCount" => self.thoughts.take(0, count),
            "reasoning_tokens" => self.reasoning.take(3, count),
            "total_tokens" => self.total.take(0, count),
            "cache_read_input_tokens" => self.cache_read.take(0, count),
            "cachedContentTokenCount" => self.cache_read.take(1, count),
            "cacheReadInputTokens" => self.cache_read.take(2, count),
            "cacheReadInputTokenCount" => self.cache_read.take(3, count),
            "cached_tokens" => self.cache_read.take(4, count),
            "prompt_cache_hit_tokens" => self.cache_read.take(5, count),
            "cache_creation_input_tokens" => self.cache_write.take(0, count),
            "cacheWriteInputTokens" => self.cache_write.take(1, count),
            "cacheWriteInputTokenCount" => self.cache_write.take(2, count),
            _ => {}
        }
    }

    fn usage(self) -> Usage {
        let input = self.input.count();
        let (candidates, thoughts) = (self.candidates.count(), self.thoughts.count());
        let mut reasoning = self.reasoning;
        if let Some(thoughts) = thoughts {
            reasoning.take(2, thoughts);
        }
        let reasoning = reasoning.count();
        let output = match (self.output.count(), candidates, thoughts) {
            (None, None, None) => None,
            (Some(output), None, None) => {
                Some(with_reasoning(output, input, reasoning, self.total.count()))
            }
            (output, candidates, thoughts) => Some(
                output
                    .or(candidates)
                    .unwrap_or(0)
                    .saturating_add(thoughts.unwrap_or(0)),
            ),
        };
        Usage {
            input,
            output,
            cache_read: self.cache_read.count(),
            cache_write: self.cache_write.count(),
            reasoning,
        }
    }
}

/// xAI counts reasoning beside the completion; the total tells.
fn with_reasoning(
    output: u64,
    input: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
) -> u64 {
    let (Some(input), Some(reasoning), Some(total)) = (input, reasoning, total) else {
        return output;
    };
    let both = output.saturating_add(reasoning);
    if reasoning > 0 && input.checked_add(both) == Some(total) {
        both
    } else {
        output
    }
}

/// The counts of a report and of the objects in it, without a tree: every answer has one.
#[derive(Default)]
struct Counts<'a> {
    leaves: [Leaf<'a>; MAX_LEAVES],
    len: usize,
}

#[derive(Clone, Copy, Default)]
struct Leaf<'a> {
    /// The member that holds it; empty: the report itself.
    holder: &'a str,
    name: &'a str,
    count: u64,
}

/// More than any provider reports; what is beyond is not read.
const MAX_LEAVES: usize = 32;

impl<'de> Deserialize<'de> for Counts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut counts = Self::default();
        let holder = Holder {
            counts: &mut counts,
            name: None,
        };
        deserializer.deserialize_any(holder)?;
        Ok(counts)
    }
}

/// Reads one value: `name` is its key, `None` for the report itself.
struct Holder<'c, 'a> {
    counts: &'c mut Counts<'a>,
    name: Option<(&'a str, &'a str)>,
}

impl<'a> Holder<'_, 'a> {
    fn leaf(self, count: u64) {
        if let Some((holder, name)) = self.name
            && let Some(slot) = self.counts.leaves.get_mut(self.counts.len)
        {
            *slot = Leaf {
                holder,
                name,
                count,
            };
            self.counts.len += 1;
        }
    }
}

impl<'de> DeserializeSeed<'de> for Holder<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Holder<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a report of counts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let holder = match self.name {
            None => Some(""),
            Some(("", name)) => Some(name),
            // Deeper than any provider reports.
            Some(_) => None,
        };
        while let Some(Key(key)) = members.next_key()? {
            match (holder, key) {
                (Some(holder), Some(key)) => {
                    let name = Some((holder, key));
                    members.next_value_seed(Holder {
                        counts: &mut *self.counts,
                        name,
                    })?;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_u64<E>(self, count: u64) -> Result<(), E> {
        self.leaf(count);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if number.fract() == 0.0 && (0.0..1e15).contains(&number) {
            self.leaf(number as u64);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// A key as it stands; `None`: written with escapes, as no count's is.
struct Key<'a>(Option<&'a str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Some(key)))
            }

            fn visit_str<E>(self, _: &str) -> Result<Key<'de>, E> {
                Ok(Key(None))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: [Option<u64>; 5]) {
        let read = usage(Flavour::Generic, body.as_bytes(), true);
        let [input, output, cache_read, cache_write, reasoning] = expected;
        let expected = Usage {
            input,
            output,
            cache_read,
            cache_write,
            reasoning,
        };
        assert_eq!(read, expected, "{body}");
    }

    // U1; corpus, Usage.
    #[test]
    fn usage_is_read_in_every_shape() {
        check(
            r#"{"usage":{"prompt_tokens":30,"completion_tokens":5,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":100}}}"#,
            [Some(30), Some(105), None, None, Some(100)],
        );
        check(
            r#"{"usage":{"prompt_tokens":30,"completion_tokens":105,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":100}}}"#,
            [Some(30), Some(105), None, None, Some(100)],
        );
        check(
            r#"{"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":1},"tokens":{"input_tokens":9,"output_tokens":4},"cached_tokens":2}}}"#,
            [Some(9), Some(4), Some(2), None, None],
        );
        check(
            r#"{"done":true,"prompt_eval_count":26,"eval_count":298}"#,
            [Some(26), Some(298), None, None, None],
        );
        // {"amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":3}}
        check(
            r#"{"bytes":"eyJhbWF6b24tYmVkcm9jay1pbnZvY2F0aW9uTWV0cmljcyI6eyJpbnB1dFRva2VuQ291bnQiOjgsIm91dHB1dFRva2VuQ291bnQiOjN9fQ==","p":"ab"}"#,
            [Some(8), Some(3), None, None, None],
        );
        check(r#"{"usage":{"cost_in_usd_ticks":200000000}}"#, [None; 5]);
        check(r#"{"usage":null}"#, [None; 5]);
    }

    #[test]
    fn the_last_report_of_a_stream_wins_field_by_field() {
        check(
            "data: {\"message\":{\"usage\":{\"input_tokens\":7,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n\
             data: {\"usage\":{\"output_tokens\":20}}\n\ndata: [DONE]\n\n",
            [Some(7), Some(20), Some(3), None, None],
        );
    }

    #[test]
    fn a_head_may_report_too() {
        let mut headers = HeaderMap::new();
        assert!(head_usage(&headers).is_unknown());
        headers.insert("x-amzn-bedrock-input-token-count", "8".parse().unwrap());
        headers.insert("x-amzn-bedrock-output-token-count", "-1".parse().unwrap());
        let usage = head_usage(&headers);
        assert_eq!((usage.input, usage.output), (Some(8), None));
    }

    #[test]
    fn words_of_an_answer_are_no_report() {
        check(
            r#"{"choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":1}}"}}]}"#,
            [None; 5],
        );
    }
}
