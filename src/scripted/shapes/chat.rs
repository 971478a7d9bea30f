//! OpenAI's chat completions, as JSON and as events.

use std::fmt::{self, Arguments};
use std::io::Write;

use super::{CREATED, Quoted, Text, words};
use crate::scripted::answer::{Answer, Events};
use crate::scripted::ask::Ask;

/// A completion, as JSON or as a stream.
pub(crate) fn completion(ask: &Ask, id: u64) -> Answer {
    let mut answer = if ask.stream {
        Answer::events(stream(ask, id))
    } else {
        Answer::json(200, whole(ask, id))
    };
    answer.input_tokens = ask.input_tokens();
    answer.output_tokens = ask.output_tokens;
    answer
}

pub(super) const fn finish_reason(ask: &Ask) -> &'static str {
    if ask.cut_short { "length" } else { "stop" }
}

/// What both kinds of completions report.
pub(super) struct Usage<'a>(pub(super) &'a Ask);

impl fmt::Display for Usage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (input, output) = (self.0.input_tokens(), self.0.output_tokens);
        write!(
            f,
            "{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"total_tokens\":{},\
             \"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\
             \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0,\
             \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
            input + output
        )
    }
}

fn whole(ask: &Ask, id: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(1_024 + 8 * usize::try_from(ask.output_tokens).unwrap_or(0));
    let _ = write!(
        body,
        "{{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion\",\"created\":{CREATED},\"model\":{},\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\",\"refusal\":null,\
         \"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"{}\"}}],\"usage\":{},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_scripted\"}}",
        Quoted::new(ask.model_name()),
        Text(ask),
        finish_reason(ask),
        Usage(ask),
    );
    body
}

/// Writes chunks that share what stands around their choices.
struct Chunks {
    id: u64,
    model: Quoted,
    /// What each chunk but the last says of usage: null where it was asked for, nothing else.
    usage: &'static str,
}

impl Chunks {
    fn push(&self, events: &mut Events, choices: Arguments<'_>, usage: Arguments<'_>) {
        events.event(
            "",
            format_args!(
                "{{\"id\":\"chatcmpl-{:016x}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\
                 \"model\":{},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_scripted\",\
                 \"choices\":[{choices}]{usage}}}",
                self.id, self.model
            ),
        );
    }

    fn choice(&self, events: &mut Events, delta: Arguments<'_>, finish: &str) {
        self.push(
            events,
            format_args!(
                "{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{finish}}}"
            ),
            format_args!("{}", self.usage),
        );
    }
}

fn stream(ask: &Ask, id: u64) -> Events {
    let mut events = Events::with_capacity(ask.output_tokens);
    let chunks = Chunks {
        id,
        model: Quoted::new(ask.model_name()),
        usage: if ask.include_usage {
            ",\"usage\":null"
        } else {
            ""
        },
    };
    chunks.choice(
        &mut events,
        format_args!("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null"),
        "null",
    );
    events.content_begins();
    for word in words(ask) {
        chunks.choice(&mut events, format_args!("\"content\":\"{word}\""), "null");
    }
    events.content_ends();
    let finish = Quoted::new(finish_reason(ask)).to_string();
    chunks.choice(&mut events, format_args!(""), &finish);
    if ask.include_usage {
        chunks.push(
            &mut events,
            format_args!(""),
            format_args!(",\"usage\":{}", Usage(ask)),
        );
    }
    events.event("", format_args!("[DONE]"));
    events
}
