//! Whether a recorded stream lacks its end: corpus rule 8 makes such an answer `upstream_error`. Only for bodies
//! that are known to be all that came; streams while they pass are watched by `read`.

use std::borrow::Cow;

use serde_json::Value;

use super::body::{pieces, tree};

/// What was seen of a stream's course.
#[derive(Default)]
struct Course {
    begun: bool,
    ended: bool,
}

/// Whether the stream began in one of the known ways and its terminal event is missing. A body that is no stream,
/// or one of which the beginning is unknown, does not break off.
pub fn breaks_off(body: &[u8]) -> bool {
    let mut course = Course::default();
    for piece in pieces(body) {
        if piece.data.trim_ascii() == b"[DONE]" {
            course.ended = true;
        }
        let value = tree(&piece.data).unwrap_or_default();
        let kind = value.get("type").and_then(Value::as_str);
        course.follow(kind.or(piece.event.as_ref().map(Cow::as_ref)), &value);
    }
    course.begun && !course.ended
}

impl Course {
    fn follow(&mut self, kind: Option<&str>, value: &Value) {
        match kind.unwrap_or_default() {
            "message_start" | "messageStart" | "message-start" => self.begun = true,
            "response.created" | "response.in_progress" => self.begun = true,
            "message_stop" | "messageStop" | "message-end" => self.ended = true,
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled"
            | "error"
            | "exception" => self.ended = true,
            _ => {}
        }
        let is_chunk = value.get("object").and_then(Value::as_str) == Some("chat.completion.chunk");
        self.begun |= is_chunk;
        let choices =
            ["choices", "candidates"].map(|name| value.get(name).and_then(Value::as_array));
        let finished = |choice: &Value| {
            ["finish_reason", "finishReason"]
                .iter()
                .any(|name| choice.get(name).is_some_and(|reason| !reason.is_null()))
        };
        self.begun |= choices[1].is_some_and(|candidates| !candidates.is_empty());
        self.ended |= choices.into_iter().flatten().flatten().any(finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Corpus rule 8: a stream that ends without its terminal event.
    #[test]
    fn a_stream_without_its_terminal_event_breaks_off() {
        let cut = [
            "data: {\"type\":\"message_start\"}\n\ndata: {\"type\":\"content_block_delta\"}\n\n",
            "event: response.created\ndata: {\"type\":\"response.created\"}\n\n",
            "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"finish_reason\":null}]}\n\n",
            "[{\"candidates\":[{\"index\":0}]}\n,",
        ];
        let whole = [
            "data: {\"type\":\"message_start\"}\n\ndata: {\"type\":\"message_stop\"}\n\n",
            "data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"response.incomplete\"}\n\n",
            "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\ndata: [DONE]\n\n",
            "data: {\"type\":\"content_block_delta\"}\n\n",
            "[{\"candidates\":[{\"finishReason\":\"STOP\"}]}]",
            "{}",
            "",
        ];
        for body in cut {
            assert!(breaks_off(body.as_bytes()), "{body}");
        }
        for body in whole {
            assert!(!breaks_off(body.as_bytes()), "{body}");
        }
    }
}
