//! Which subscription a request's conversation wants (S1, S2): the keys that a request names, and the ids of stored
//! objects that answers name.

use http::header::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::refusal::Reason;
use super::table::Pool;
use crate::balancer::{Balancer, HandleOwner};
use crate::core::dialect::Dialect;
use crate::core::dialect::read::request::RequestFacts;
use crate::core::id::{PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::pools::Affinity;

const NAMED_BY_CLIENTS: [HeaderName; 3] = [
    HeaderName::from_static("x-claude-code-session-id"),
    HeaderName::from_static("session-id"),
    HeaderName::from_static("session_id"),
];

/// S1: the first 16 bytes of a SHA-256 over the length-prefixed owner, source and value.
pub fn key(owner: &str, source: &str, value: &str) -> SessionKey {
    let mut hash = Sha256::new();
    for part in [owner, source, value] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    SessionKey(key)
}

/// Whose stored objects are whose: equal for the clients of one tenant.
pub fn owner_tag(owner: &str) -> u64 {
    let SessionKey(bytes) = key(owner, "owner", "");
    u64::from_be_bytes([
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ])
}

/// What names a session in a request, in S1's order.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Client or tenant.
    pub owner: &'a str,
    /// `x-authpool-session`.
    pub wish: Option<&'a str>,
    /// The request's headers as received.
    pub headers: &'a HeaderMap,
    /// What its body says.
    pub facts: &'a RequestFacts,
    /// The id in the path, where it names a stored response.
    pub stored: Option<&'a str>,
    /// Whom `x-authpool-subscription` names.
    pub pin: Option<SubscriptionIndex>,
}

impl Named<'_> {
    /// Where the request has to go, or would rather go.
    ///
    /// # Errors
    /// A stored object that nobody here made, or somebody else, or that another subscription holds than the one
    /// that was named.
    pub fn affinity(&self, balancer: &Balancer, pool: &Pool) -> Result<Affinity, Reason> {
        let session = self.session(pool);
        let Some(handle) = self.stored.or(self.facts.previous_response_id.as_deref()) else {
            return Ok(self.without_handle(session));
        };
        if pool.config.dialect != Dialect::OpenAi {
            return Ok(self.without_handle(session));
        }
        let owner = match balancer.handle_owner(handle_key(handle), owner_tag(self.owner)) {
            HandleOwner::Known(owner) => owner,
            HandleOwner::NotYours => return Err(unknown_handle()),
            HandleOwner::Unknown => pool.default_owner.ok_or_else(unknown_handle)?,
        };
        if self.pin.is_some_and(|pin| pin != owner) {
            return Err(held_by_another());
        }
        Ok(Affinity::Must { owner, session })
    }

    fn without_handle(&self, session: Option<SessionKey>) -> Affinity {
        match self.pin {
            Some(owner) => Affinity::Must { owner, session },
            None => session.map_or(Affinity::None, Affinity::Should),
        }
    }

    fn session(&self, pool: &Pool) -> Option<SessionKey> {
        if pool.config.dialect == Dialect::Generic && self.wish.is_none() {
            return self.by_header(pool);
        }
        if let Some(value) = self.wish {
            return Some(key(self.owner, "x-authpool-session", value));
        }
        if let Some(found) = self.by_header(pool) {
            return Some(found);
        }
        let facts = self.facts;
        let members = [
            ("conversation", &facts.conversation),
            ("previous_response_id", &facts.previous_response_id),
            ("metadata.user_id", &facts.user_id),
            ("prompt_cache_key", &facts.prompt_cache_key),
        ];
        let (source, value) = members
            .into_iter()
            .find_map(|(source, value)| Some((source, value.as_deref()?)))?;
        Some(key(self.owner, source, value))
    }

    fn by_header(&self, pool: &Pool) -> Option<SessionKey> {
        pool.config
            .session_headers
            .iter()
            .chain(&NAMED_BY_CLIENTS)
            .find_map(|name| {
                let value = self
                    .headers
                    .get(name)?
                    .to_str()
                    .ok()
                    .filter(|value| (1..=1024).contains(&value.len()))?;
                Some(key(self.owner, name.as_str(), value))
            })
    }
}

/// Where the ids of an answer are remembered.
#[derive(Debug)]
pub struct Handles {
    /// The table's home.
    pub balancer: Balancer,
    /// Whose they are.
    pub owner_tag: u64,
    /// Who made them.
    pub subscription: SubscriptionIndex,
    /// Through which pool.
    pub pool: PoolIndex,
}

impl Handles {
    /// Remembers one id.
    pub fn remember(&self, id: &str) {
        self.balancer
            .remember_handle(handle_key(id), self.owner_tag, self.subscription, self.pool);
    }
}

/// Handles are keyed apart from their owner, who is compared: another owner's id is told from an unknown one.
fn handle_key(id: &str) -> SessionKey {
    key("", "handle", id)
}

fn held_by_another() -> Reason {
    Reason::Invalid(
        "the header `x-authpool-subscription` names another subscription than the one that holds \
         the stored object"
            .into(),
    )
}

fn unknown_handle() -> Reason {
    Reason::NotFound(
        "no stored object of this id is known to this proxy; start anew without it".into(),
    )
}
