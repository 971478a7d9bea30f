//! What becomes of a request: the answer, and how and how far it is delivered. Decides; writes nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::Shared;
use super::answer::{Answer, Events, Payload};
use super::ask::{Ask, Dialect, Operation, digest};
use super::corpus;
use super::head::{Head, path};
use super::limits::{Admission, Need, Shown, Slots};
use super::rule::{Action, ErrorKind, Fault, Raw};
use super::shapes::{
    anthropic, chat, completions, embeddings, failure, models, refusal, responses,
};

/// A request as it was read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) credential: String,
    pub(super) operation: Operation,
    pub(super) dialect: Dialect,
    pub(super) body: Bytes,
    /// `Err`: the body is not what the operation takes.
    pub(super) ask: Result<Ask, String>,
}

impl Request {
    /// As far as its head tells.
    pub(super) fn begun(head: &Head) -> Self {
        let operation = Operation::of(&head.method, path(&head.target));
        let anthropic = head.headers.contains_key("anthropic-version");
        Self {
            method: head.method.clone(),
            target: head.target.clone(),
            credential: head.credential().unwrap_or_default().to_owned(),
            dialect: operation.dialect(anthropic),
            operation,
            body: Bytes::new(),
            ask: Ok(Ask::default()),
        }
    }
}

/// What is done.
#[derive(Debug)]
pub(super) enum Plan {
    Deliver(Box<Answer>, Delivery),
    Raw(Raw),
    /// Silence until the client leaves.
    Hang,
    /// The connection is reset without an answer.
    Reset,
}

/// How an answer is written.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Before the head.
    pub(super) delay: Duration,
    /// Between two events of a stream.
    pub(super) gap: Duration,
    /// Between two bytes of the head.
    pub(super) trickle: Option<Duration>,
    pub(super) end: End,
    /// Freed when the request has ended.
    pub(super) slots: Slots,
}

/// How far it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Whole,
    /// So many bytes of the head (`None`: half), then a reset.
    WithinHead(Option<usize>),
    /// The head and so many events, then a reset.
    ResetAfter(usize),
    /// The head and so many events, then the end, `clean` or not.
    Cut { events: usize, clean: bool },
}

impl Shared {
    /// What is done with a request that met this action, and what that is called in the ledger.
    pub(super) fn plan(&self, request: &Request, action: &Action) -> (Cow<'static, str>, Plan) {
        match action {
            Action::Serve => self.serve(request, |_| {}, |_, _| {}),
            Action::Corpus { id, headers } => {
                (format!("corpus:{id}").into(), recorded(id, headers))
            }
            Action::Answer {
                status,
                headers,
                body,
            } => {
                let payload = Payload::Whole(Bytes::from(body.clone()));
                let mut answer = Answer::bare(*status, payload);
                if !body.is_empty() && !headers.keys().any(|name| is(name, "content-type")) {
                    answer.line("content-type", guess(body));
                }
                put(&mut answer, &[], headers);
                ("answer".into(), deliver(answer))
            }
            Action::Raw(raw) => ("raw".into(), Plan::Raw(raw.clone())),
            Action::Fault(fault) => {
                let name = Cow::Owned(format!("fault:{}", fault.name()));
                let (served, plan) = self.fail(request, fault);
                // A request that the limits refused met the limits, not the fault.
                (if served == "serve" { name } else { served }, plan)
            }
        }
    }

    fn fail(&self, request: &Request, fault: &Fault) -> (Cow<'static, str>, Plan) {
        let end = |end: End| self.serve(request, |_| {}, move |_, delivery| delivery.end = end);
        let millis = Duration::from_millis;
        let done = |plan| (Cow::Borrowed("serve"), plan);
        match *fault {
            Fault::Delay { ms } => {
                self.serve(request, |_| {}, |_, delivery| delivery.delay = millis(ms))
            }
            Fault::SlowStream { gap_ms, events } => self.serve(
                request,
                |ask| {
                    ask.output_tokens = events.unwrap_or(ask.output_tokens).max(1);
                    ask.scripted.gap_ms = gap_ms;
                },
                |_, _| {},
            ),
            Fault::Trickle { gap_ms } => self.serve(
                request,
                |_| {},
                |_, delivery| delivery.trickle = Some(millis(gap_ms)),
            ),
            Fault::ResetWithin { bytes } => end(End::WithinHead(bytes)),
            Fault::ResetAfterHead { events } => end(End::ResetAfter(events)),
            Fault::CutStream { events, clean } => end(End::Cut { events, clean }),
            Fault::ErrorEventFirst { error } => self.break_off(request, error, 0),
            Fault::ErrorEventLater { events, error } => {
                self.break_off(request, error, events.max(1))
            }
            Fault::Early429 { retry_after_ms, .. } => {
                done(deliver(early_429(request.dialect, retry_after_ms)))
            }
            Fault::Html403 => done(deliver(failure::html_403())),
            Fault::Hang => done(Plan::Hang),
            Fault::ResetOnAccept | Fault::ResetBefore | Fault::ResetAfterRequest => {
                done(Plan::Reset)
            }
        }
    }

    fn break_off(
        &self,
        request: &Request,
        error: ErrorKind,
        after: usize,
    ) -> (Cow<'static, str>, Plan) {
        let id = request.ask.as_ref().map_or(0, |ask| ask.digest);
        self.serve(
            request,
            |_| {},
            |answer, _| failure::break_off(answer, &request.operation, error, after, id),
        )
    }

    /// Serves a request within its limits. `tune` changes what it asks, `bend` what an answer within the limits
    /// becomes.
    fn serve(
        &self,
        request: &Request,
        tune: impl FnOnce(&mut Ask),
        bend: impl FnOnce(&mut Answer, &mut Delivery),
    ) -> (Cow<'static, str>, Plan) {
        let dialect = request.dialect;
        if request.credential.is_empty() && request.operation != Operation::Echo {
            return (
                "unauthorized".into(),
                deliver(refusal::unauthorized(dialect)),
            );
        }
        let mut ask = match &request.ask {
            Ok(ask) => ask.clone(),
            Err(reason) => {
                return ("invalid".into(), deliver(refusal::invalid(dialect, reason)));
            }
        };
        tune(&mut ask);
        let now = self.clock.now();
        let org = refusal::organisation(&request.credential);
        let (stands, slots) = match self.admit(request, &ask) {
            Admission::Free => (Shown::Plenty, Slots::default()),
            Admission::Granted(stands, slots) => (stands, slots),
            Admission::Refused(refused, stands) => {
                let shown = match dialect {
                    Dialect::Anthropic => refusal::Org(org).to_string(),
                    Dialect::OpenAi | Dialect::Generic => format!("org-{org:016x}"),
                };
                let mut answer = refusal::limited(dialect, &ask, &shown, refused);
                refusal::describe(&mut answer, dialect, org, &stands, now);
                return ("limit".into(), deliver(answer));
            }
        };
        let mut answer = self.answer(request, &ask);
        refusal::describe(&mut answer, dialect, org, &stands, now);
        identify(&mut answer, dialect, &ask);
        let mut delivery = Delivery {
            delay: Duration::from_millis(ask.scripted.delay_ms),
            gap: Duration::from_millis(ask.scripted.gap_ms),
            slots,
            ..Delivery::default()
        };
        bend(&mut answer, &mut delivery);
        ("serve".into(), Plan::Deliver(Box::new(answer), delivery))
    }

    fn admit(&self, request: &Request, ask: &Ask) -> Admission {
        let output = match request.operation {
            Operation::Messages
            | Operation::Chat
            | Operation::Completions
            | Operation::Responses => ask.output_tokens,
            Operation::Embeddings | Operation::Echo => 0,
            Operation::CountTokens | Operation::Models(_) | Operation::Stored { .. } => {
                return Admission::Free;
            }
        };
        let need = Need {
            input: ask.input_tokens(),
            output,
            most: ask.most.max(output),
        };
        let limits = self.script.limits();
        limits.admit(
            &request.credential,
            ask.model.as_deref(),
            need,
            self.clock.now(),
        )
    }

    fn answer(&self, request: &Request, ask: &Ask) -> Answer {
        let mut id = ask.digest;
        if ask.scripted.fresh_id {
            let fresh = self.fresh.fetch_add(1, Ordering::Relaxed);
            id = digest(&[id.to_le_bytes(), fresh.to_le_bytes()].concat());
        }
        match &request.operation {
            Operation::Messages => anthropic::message(ask, id),
            Operation::CountTokens => anthropic::count(ask),
            Operation::Chat => chat::completion(ask, id),
            Operation::Completions => completions::completion(ask, id),
            Operation::Responses => self.respond(request, ask, id),
            Operation::Stored { id, delete } => self.stored(request, id, *delete),
            Operation::Embeddings => embeddings::embeddings(ask, &request.body)
                .unwrap_or_else(|reason| refusal::invalid(request.dialect, &reason)),
            Operation::Models(None) => models::list(request.dialect),
            Operation::Models(Some(id)) => models::one(request.dialect, id),
            Operation::Echo => models::echo(&request.method, &request.target, &request.body),
        }
    }

    fn respond(&self, request: &Request, ask: &Ask, id: u64) -> Answer {
        if let Some(previous) = &ask.previous_response
            && self.made.get(previous, &request.credential).is_none()
        {
            return refusal::no_previous_response(previous);
        }
        self.made.remember(ask, id, &request.credential);
        responses::response(ask, id)
    }

    fn stored(&self, request: &Request, id: &str, delete: bool) -> Answer {
        if delete {
            return if self.made.delete(id, &request.credential) {
                let gone = serde_json::json!({"id": id, "object": "response", "deleted": true});
                Answer::json(200, gone.to_string())
            } else {
                refusal::no_such_response(id)
            };
        }
        match self.made.get(id, &request.credential) {
            Some(body) => Answer::json(200, body),
            None => refusal::no_such_response(id),
        }
    }
}

/// 429 with the wait that the script states.
pub(super) fn early_429(dialect: Dialect, retry_after_ms: Option<u64>) -> Answer {
    let mut answer = failure::scripted(dialect, ErrorKind::RateLimit);
    if let Some(millis) = retry_after_ms {
        answer.line("retry-after-ms", millis);
        answer.line("retry-after", millis.div_ceil(1_000));
    }
    answer
}

fn deliver(answer: Answer) -> Plan {
    Plan::Deliver(Box::new(answer), Delivery::default())
}

/// Adds the request's id as the provider names it.
fn identify(answer: &mut Answer, dialect: Dialect, ask: &Ask) {
    match dialect {
        Dialect::Anthropic => answer.line("request-id", format_args!("req_01{:016x}", ask.digest)),
        Dialect::OpenAi | Dialect::Generic => {
            answer.line("x-request-id", format_args!("req_{:016x}", ask.digest));
        }
    }
}

fn recorded(id: &str, headers: &BTreeMap<String, Option<String>>) -> Plan {
    let Some(case) = corpus::case(id).filter(|case| case.status > 0) else {
        // There was no answer.
        return Plan::Reset;
    };
    let payload = if case.stream {
        Payload::Events(Events::recorded(&case.body))
    } else {
        Payload::Whole(case.body.clone())
    };
    let mut answer = Answer::bare(case.status, payload);
    put(&mut answer, &case.headers, headers);
    deliver(answer)
}

/// Writes headers, the later over the earlier.
fn put(
    answer: &mut Answer,
    recorded: &[(String, String)],
    over: &BTreeMap<String, Option<String>>,
) {
    for (name, value) in recorded {
        if !over.keys().any(|other| is(other, name)) {
            answer.put(name, value);
        }
    }
    for (name, value) in over {
        if let Some(value) = value {
            answer.put(name, value);
        }
    }
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn guess(body: &str) -> &'static str {
    match body.trim_start().as_bytes().first() {
        Some(b'{' | b'[') => "application/json",
        Some(b'<') => "text/html",
        _ => "text/plain; charset=utf-8",
    }
}
