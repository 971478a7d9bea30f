//! The recorded answers, embedded, by id. What they mean is for those under test to find out.

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;

use super::base64;

const LINES: &str = include_str!("../../tests/corpus/responses.jsonl");

/// One recorded answer.
#[derive(Debug)]
pub(super) struct Case {
    /// 0 where there was no HTTP answer at all.
    pub(super) status: u16,
    /// As recorded, without those that frame the message.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Whether the body is a stream.
    pub(super) stream: bool,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    #[serde(default)]
    body_encoding: Option<String>,
    stream: bool,
}

/// The case of that id. `None` where the corpus has none.
pub(super) fn case(id: &str) -> Option<&'static Case> {
    static CASES: OnceLock<HashMap<String, Case>> = OnceLock::new();
    CASES.get_or_init(read).get(id)
}

fn read() -> HashMap<String, Case> {
    LINES
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter_map(|line| {
            let body = match line.body_encoding {
                Some(_) => base64::decode(&line.body)?,
                None => line.body.into_bytes(),
            };
            let mut headers = line.headers;
            headers.retain(|(name, _)| !frames(name));
            let case = Case {
                status: line.status,
                headers,
                body: Bytes::from(body),
                stream: line.stream,
            };
            Some((line.id, case))
        })
        .collect()
}

/// Whether a header frames the message: those are made anew.
fn frames(name: &str) -> bool {
    ["content-length", "transfer-encoding", "connection"]
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_corpus_is_a_case() {
        assert_eq!(read().len(), LINES.lines().count());
        assert!(case("no-such-case").is_none());
    }

    #[test]
    fn a_case_has_what_was_recorded() {
        let case = case("anth-429-itpm-devoxx").unwrap();
        assert_eq!(case.status, 429);
        assert!(
            case.headers
                .contains(&("retry-after".to_owned(), "14".to_owned()))
        );
        assert!(case.body.starts_with(b"{\"type\":\"error\""));
    }
}
