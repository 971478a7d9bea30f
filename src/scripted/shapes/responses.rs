//! OpenAI's Responses, as JSON and as events, and the table of those that were made: one answers again only for the
//! credential that made it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::{CREATED, Quoted, Text, words};
use crate::scripted::answer::{Answer, Events};
use crate::scripted::ask::Ask;

/// How many made responses are remembered; the oldest goes first.
const REMEMBERED: usize = 65_536;

/// A response, as JSON or as a stream.
pub(crate) fn response(ask: &Ask, id: u64) -> Answer {
    let mut answer = if ask.stream {
        Answer::events(stream(ask, id))
    } else {
        Answer::json(200, whole(ask, id).to_string())
    };
    answer.input_tokens = ask.input_tokens();
    answer.output_tokens = ask.output_tokens;
    answer
}

/// How far a response has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InProgress,
    Ended,
}

struct Response<'a> {
    ask: &'a Ask,
    id: u64,
    state: State,
}

fn whole(ask: &Ask, id: u64) -> Response<'_> {
    Response {
        ask,
        id,
        state: State::Ended,
    }
}

impl Response<'_> {
    fn status(&self) -> &'static str {
        match (self.state, self.ask.cut_short) {
            (State::InProgress, _) => "in_progress",
            (State::Ended, false) => "completed",
            (State::Ended, true) => "incomplete",
        }
    }
}

impl fmt::Display for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ask = self.ask;
        let previous = ask
            .previous_response
            .as_deref()
            .map_or_else(|| "null".to_owned(), |id| Quoted::new(id).to_string());
        let incomplete = match (self.state, ask.cut_short) {
            (State::Ended, true) => "{\"reason\":\"max_output_tokens\"}",
            _ => "null",
        };
        write!(
            f,
            "{{\"id\":\"resp_{:016x}\",\"object\":\"response\",\"created_at\":{CREATED},\"status\":\"{}\",\
             \"background\":false,\"error\":null,\"incomplete_details\":{incomplete},\"instructions\":null,\
             \"max_output_tokens\":null,\"metadata\":{{}},\"model\":{},\"parallel_tool_calls\":true,\
             \"previous_response_id\":{previous},\"reasoning\":{{\"effort\":null,\"summary\":null}},\
             \"store\":{},\"temperature\":1.0,\"text\":{{\"format\":{{\"type\":\"text\"}}}},\
             \"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,\"truncation\":\"disabled\",\"user\":null,",
            self.id,
            self.status(),
            Quoted::new(ask.model_name()),
            ask.store,
        )?;
        if self.state == State::InProgress {
            return f.write_str("\"output\":[],\"usage\":null}");
        }
        let (input, output) = (ask.input_tokens(), ask.output_tokens);
        write!(
            f,
            "\"output\":[{}],\"usage\":{{\"input_tokens\":{input},\
             \"input_tokens_details\":{{\"cached_tokens\":0}},\"output_tokens\":{output},\
             \"output_tokens_details\":{{\"reasoning_tokens\":0}},\"total_tokens\":{}}}}}",
            Item(self),
            input + output,
        )
    }
}

/// The message within a response.
struct Item<'a>(&'a Response<'a>);

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Response { ask, id, state } = self.0;
        write!(
            f,
            "{{\"id\":\"msg_{id:016x}\",\"type\":\"message\",\"status\":\"{}\",\"role\":\"assistant\",\"content\":[",
            self.0.status()
        )?;
        if *state == State::Ended {
            write!(f, "{}", Part(&Text(ask)))?;
        }
        f.write_str("]}")
    }
}

/// A part of a message's content.
struct Part<'a>(&'a dyn fmt::Display);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"{}\"}}",
            self.0
        )
    }
}

/// Events under their running number.
struct Numbered {
    events: Events,
    next: u64,
}

impl Numbered {
    fn push(&mut self, kind: &str, members: fmt::Arguments<'_>) {
        let number = self.next;
        self.next += 1;
        self.events.event(
            kind,
            format_args!("{{\"type\":\"{kind}\",\"sequence_number\":{number},{members}}}"),
        );
    }

    fn part(&mut self, kind: &str, id: u64, members: fmt::Arguments<'_>) {
        self.push(
            kind,
            format_args!(
                "\"item_id\":\"msg_{id:016x}\",\"output_index\":0,\"content_index\":0,{members}"
            ),
        );
    }
}

fn stream(ask: &Ask, id: u64) -> Events {
    let begun = Response {
        ask,
        id,
        state: State::InProgress,
    };
    let ended = whole(ask, id);
    let mut numbered = Numbered {
        events: Events::with_capacity(ask.output_tokens),
        next: 0,
    };
    numbered.push("response.created", format_args!("\"response\":{begun}"));
    numbered.push("response.in_progress", format_args!("\"response\":{begun}"));
    numbered.push(
        "response.output_item.added",
        format_args!("\"output_index\":0,\"item\":{}", Item(&begun)),
    );
    numbered.part(
        "response.content_part.added",
        id,
        format_args!("\"part\":{}", Part(&"")),
    );
    numbered.events.content_begins();
    for word in words(ask) {
        numbered.part(
            "response.output_text.delta",
            id,
            format_args!("\"delta\":\"{word}\",\"logprobs\":[]"),
        );
    }
    numbered.events.content_ends();
    let text = Text(ask);
    numbered.part(
        "response.output_text.done",
        id,
        format_args!("\"text\":\"{text}\",\"logprobs\":[]"),
    );
    numbered.part(
        "response.content_part.done",
        id,
        format_args!("\"part\":{}", Part(&text)),
    );
    numbered.push(
        "response.output_item.done",
        format_args!("\"output_index\":0,\"item\":{}", Item(&ended)),
    );
    let last = if ask.cut_short {
        "response.incomplete"
    } else {
        "response.completed"
    };
    numbered.push(last, format_args!("\"response\":{ended}"));
    numbered.events
}

/// Which responses were made, by whom.
#[derive(Debug, Default)]
pub(crate) struct Made(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    made: HashMap<String, Stored>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Stored {
    /// Equal requests make equal ids, so that there may be several.
    owners: Vec<String>,
    body: Bytes,
}

impl Made {
    /// Remembers a response that is stored.
    pub(crate) fn remember(&self, ask: &Ask, id: u64, credential: &str) {
        if !ask.store {
            return;
        }
        let body = Bytes::from(whole(ask, id).to_string());
        let id = format!("resp_{id:016x}");
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = table.made.get_mut(&id) {
            if !stored.owners.iter().any(|owner| owner == credential) {
                stored.owners.push(credential.to_owned());
            }
            return;
        }
        if table.order.len() >= REMEMBERED
            && let Some(oldest) = table.order.pop_front()
        {
            table.made.remove(&oldest);
        }
        table.order.push_back(id.clone());
        let stored = Stored {
            owners: vec![credential.to_owned()],
            body,
        };
        table.made.insert(id, stored);
    }

    /// The response, for the credential that made it. `None` for every other.
    pub(crate) fn get(&self, id: &str, credential: &str) -> Option<Bytes> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = table.made.get(id)?;
        let owned = stored.owners.iter().any(|owner| owner == credential);
        owned.then(|| stored.body.clone())
    }

    /// Forgets the response for the credential that made it. `false` for every other.
    pub(crate) fn delete(&self, id: &str, credential: &str) -> bool {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stored) = table.made.get_mut(id) else {
            return false;
        };
        let before = stored.owners.len();
        stored.owners.retain(|owner| owner != credential);
        stored.owners.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::ask::Operation;

    #[test]
    fn a_response_answers_only_for_the_credential_that_made_it() {
        let made = Made::default();
        let ask = Ask::read(&Operation::Responses, br#"{"model":"m"}"#).unwrap();
        made.remember(&ask, 7, "a");
        let id = "resp_0000000000000007";
        assert!(made.get(id, "a").is_some());
        assert!(made.get(id, "b").is_none());
        assert!(!made.delete(id, "b") && made.delete(id, "a"));
        assert!(made.get(id, "a").is_none());
    }

    #[test]
    fn a_response_that_is_not_stored_is_forgotten() {
        let made = Made::default();
        let ask = Ask::read(&Operation::Responses, br#"{"store":false}"#).unwrap();
        made.remember(&ask, 7, "a");
        assert!(made.get("resp_0000000000000007", "a").is_none());
    }
}
