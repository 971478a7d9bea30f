//! What reading along an answer has found so far, in one place for all its forms. Judging an error is the
//! classifier's; this keeps what it needs for that, and the order of things: what comes after an error is no content
//! of the answer.

use http::HeaderMap;

use crate::core::dialect::answer::stream_error;
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::ledger::usage::Usage;
use crate::core::limit::verdict::Verdict;
use crate::core::time::WallTime;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Something was seen that is more than lifecycle (C9), and no error before it. Of a JSON object: all of it.
    pub content: bool,
    /// The first error seen (D2); before content unless `content` is true.
    pub error: Option<Verdict>,
    /// The end was seen: `message_stop`, `response.completed` or `.incomplete`, `[DONE]`, the end of the JSON value.
    /// An error ends a stream too, without this.
    pub terminal: bool,
}

/// What was found, and what judging needs.
pub(super) struct Report {
    progress: Progress,
    usage: Usage,
    response_id: Option<String>,
    judge: Judge,
}

/// What an error is judged by besides its event.
pub(super) struct Judge {
    pub(super) flavour: Flavour,
    pub(super) endpoint: Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) received_at: WallTime,
}

impl Report {
    pub(super) fn new(judge: Judge) -> Self {
        Self {
            progress: Progress::default(),
            usage: Usage::default(),
            response_id: None,
            judge,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    pub(super) fn usage_so_far(&self) -> Usage {
        self.usage
    }

    pub(super) fn stored_id(&self) -> Option<&str> {
        self.response_id.as_deref()
    }

    /// Whether content or an error was seen: then only usage, errors and the end still matter.
    pub(super) fn has_begun(&self) -> bool {
        self.progress.content || self.progress.error.is_some()
    }

    pub(super) fn content(&mut self) {
        self.progress.content |= self.progress.error.is_none();
    }

    pub(super) fn end(&mut self) {
        self.content();
        self.progress.terminal = true;
    }

    pub(super) fn usage(&mut self, usage: Usage) {
        self.usage.update(usage);
    }

    /// The first id of an answer of `/v1/responses`.
    pub(super) fn response_id(&mut self, id: Option<String>) {
        if self.judge.endpoint == Endpoint::Responses && self.response_id.is_none() {
            self.response_id = id;
        }
    }

    /// Something in the shape of an error; `false`: on judgement it is none.
    pub(super) fn error(&mut self, data: &[u8], name: &[u8]) -> bool {
        let judge = &self.judge;
        // A stored response that failed is served well, and so is a list.
        if matches!(judge.endpoint, Endpoint::StoredResponse | Endpoint::Models) {
            return false;
        }
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty());
        let verdict = stream_error(
            judge.flavour,
            judge.endpoint,
            &judge.headers,
            data,
            name,
            judge.received_at,
        );
        if verdict.is_none() {
            return false;
        }
        self.progress.error = self.progress.error.or(verdict);
        true
    }
}
