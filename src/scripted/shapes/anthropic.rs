//! Anthropic's answers: messages, as JSON and as events, and counted tokens.

use std::io::Write;

use super::{Quoted, Text, words};
use crate::scripted::answer::{Answer, Events};
use crate::scripted::ask::Ask;

/// A message, as JSON or as a stream.
pub(crate) fn message(ask: &Ask, id: u64) -> Answer {
    let mut answer = if ask.stream {
        Answer::events(stream(ask, id))
    } else {
        Answer::json(200, whole(ask, id))
    };
    answer.input_tokens = ask.input_tokens();
    answer.output_tokens = ask.output_tokens;
    answer
}

/// How many tokens the prompt has.
pub(crate) fn count(ask: &Ask) -> Answer {
    Answer::json(200, format!("{{\"input_tokens\":{}}}", ask.input_tokens()))
}

const fn stop_reason(ask: &Ask) -> &'static str {
    if ask.cut_short {
        "max_tokens"
    } else {
        "end_turn"
    }
}

fn whole(ask: &Ask, id: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(512 + 8 * usize::try_from(ask.output_tokens).unwrap_or(0));
    let _ = write!(
        body,
        "{{\"id\":\"msg_01{id:016x}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\
         \"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}],\"stop_reason\":\"{}\",\"stop_sequence\":null,\
         \"usage\":{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\
         \"output_tokens\":{},\"service_tier\":\"standard\"}}}}",
        Quoted::new(ask.model_name()),
        Text(ask),
        stop_reason(ask),
        ask.input_tokens(),
        ask.output_tokens,
    );
    body
}

fn stream(ask: &Ask, id: u64) -> Events {
    let mut events = Events::with_capacity(ask.output_tokens);
    events.event(
        "message_start",
        format_args!(
            "{{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_01{id:016x}\",\"type\":\"message\",\
             \"role\":\"assistant\",\"model\":{},\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
             \"usage\":{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\
             \"output_tokens\":1,\"service_tier\":\"standard\"}}}}}}",
            Quoted::new(ask.model_name()),
            ask.input_tokens(),
        ),
    );
    events.event(
        "content_block_start",
        format_args!(
            "{{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}"
        ),
    );
    events.event("ping", format_args!("{{\"type\": \"ping\"}}"));
    events.content_begins();
    for word in words(ask) {
        events.event(
            "content_block_delta",
            format_args!(
                "{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}}}"
            ),
        );
    }
    events.content_ends();
    events.event(
        "content_block_stop",
        format_args!("{{\"type\":\"content_block_stop\",\"index\":0}}"),
    );
    events.event(
        "message_delta",
        format_args!(
            "{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{}\",\"stop_sequence\":null}},\
             \"usage\":{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\
             \"output_tokens\":{}}}}}",
            stop_reason(ask),
            ask.input_tokens(),
            ask.output_tokens,
        ),
    );
    events.event(
        "message_stop",
        format_args!("{{\"type\":\"message_stop\"}}"),
    );
    events
}
