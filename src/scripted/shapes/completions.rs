//! OpenAI's legacy completions, as JSON and as events.

use std::fmt::{self, Display};

use super::chat::{Usage, finish_reason};
use super::{CREATED, Quoted, Text, words};
use crate::scripted::answer::{Answer, Events};
use crate::scripted::ask::Ask;

/// A completion, as JSON or as a stream.
pub(crate) fn completion(ask: &Ask, id: u64) -> Answer {
    let mut answer = if ask.stream {
        Answer::events(stream(ask, id))
    } else {
        Answer::json(200, Part::new(ask, id, &Text(ask), true, true).to_string())
    };
    answer.input_tokens = ask.input_tokens();
    answer.output_tokens = ask.output_tokens;
    answer
}

fn stream(ask: &Ask, id: u64) -> Events {
    let mut events = Events::with_capacity(ask.output_tokens);
    events.content_begins();
    for word in words(ask) {
        let part = Part::new(ask, id, &word, false, false);
        events.event("", format_args!("{part}"));
    }
    events.content_ends();
    let last = Part::new(ask, id, &"", true, ask.include_usage);
    events.event("", format_args!("{last}"));
    events.event("", format_args!("[DONE]"));
    events
}

/// A completion or a piece of one: both have the same shape.
struct Part<'a> {
    ask: &'a Ask,
    id: u64,
    text: &'a dyn Display,
    finish: bool,
    usage: bool,
}

impl<'a> Part<'a> {
    fn new(ask: &'a Ask, id: u64, text: &'a dyn Display, finish: bool, usage: bool) -> Self {
        Self {
            ask,
            id,
            text,
            finish,
            usage,
        }
    }
}

impl Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, text) = (self.id, self.text);
        write!(
            f,
            "{{\"id\":\"cmpl-{id:016x}\",\"object\":\"text_completion\",\"created\":{CREATED},\"model\":{},\
             \"choices\":[{{\"text\":\"{text}\",\"index\":0,\"logprobs\":null,\"finish_reason\":",
            Quoted::new(self.ask.model_name()),
        )?;
        if self.finish {
            write!(f, "\"{}\"}}]", finish_reason(self.ask))?;
        } else {
            f.write_str("null}]")?;
        }
        if self.usage {
            write!(f, ",\"usage\":{}", Usage(self.ask))?;
        }
        f.write_str("}")
    }
}
