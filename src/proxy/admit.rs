//! Who may ask: the client by his key, his limits, and our own request headers (F9, K1, K2). Decided before the
//! body is polled, so that a refused client never uploads; but for his tokens per minute, which the body tells.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use http::request::Parts;

use super::claim::Claim;
use super::refusal::Reason;
use super::route::Candidate;
use super::table::{Pool, Routing};
use crate::clients::{Client, ClientLimited, Permit};
use crate::config::{duration, is_id};
use crate::core::dialect::Dialect;
use crate::core::id::SubscriptionIndex;
use crate::core::pools::{Demand, Priority};

const SESSION: HeaderName = HeaderName::from_static("x-authpool-session");
const PRIORITY: HeaderName = HeaderName::from_static("x-authpool-priority");
const ESTIMATED_TOKENS: HeaderName = HeaderName::from_static("x-authpool-estimated-tokens");
const SUBSCRIPTION: HeaderName = HeaderName::from_static("x-authpool-subscription");
const MAX_WAIT: HeaderName = HeaderName::from_static("x-authpool-max-wait");
const KEYS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Of `x-authpool-estimated-tokens`.
const MOST_TOKENS: u64 = 10_000_000;

/// Who calls, and his slot.
#[derive(Debug)]
pub struct Caller {
    /// `None`: the listener asks for no key.
    pub client: Option<Arc<Client>>,
    /// Gives the slot back when dropped.
    pub permit: Option<Permit>,
}

/// What the client asks of us in headers of our own.
#[derive(Debug, Default)]
pub struct Wishes {
    /// `x-authpool-session`.
    pub session: Option<String>,
    /// `x-authpool-max-wait`: may only lower the pool's.
    pub max_wait: Option<Duration>,
    /// The client's own, or a lower one that `x-authpool-priority` names.
    pub priority: Priority,
    /// `x-authpool-estimated-tokens`, 1..10,000,000.
    pub estimated_tokens: Option<u64>,
    /// `x-authpool-subscription`: an id, of a client that may name one.
    subscription: Option<String>,
}

impl Wishes {
    /// Whom the request names of a pool; `None`: it names nobody.
    ///
    /// # Errors
    /// The named one is not of the pool.
    pub fn pinned(&self, pool: &Pool) -> Result<Option<SubscriptionIndex>, Reason> {
        let Some(id) = &self.subscription else {
            return Ok(None);
        };
        let member = pool.member(id);
        member.map(Some).ok_or_else(|| {
            let message = format!(
                "the header `{SUBSCRIPTION}` names `{id}`, which is not of the route's pool"
            );
            Reason::Invalid(message.into())
        })
    }

    /// Held against every route that the head matches, so that a body is not asked for in vain.
    ///
    /// # Errors
    /// The named subscription is of none of their pools.
    pub fn lead_somewhere(self, candidates: &[Candidate<'_>]) -> Result<Self, Reason> {
        let mut last = Ok(None);
        for candidate in candidates {
            last = self.pinned(candidate.pool);
            if last.is_ok() {
                break;
            }
        }
        last.map(|_| self)
    }
}

/// Finds the client by the key, wherever his SDK puts it, and takes his slot.
///
/// # Errors
/// No valid key, or the client's own limit.
pub fn caller(routing: &Routing, head: &Parts) -> Result<Caller, Reason> {
    if routing.clients.is_open() {
        return Ok(Caller {
            client: None,
            permit: None,
        });
    }
    let client = bearer(&head.headers)
        .into_iter()
        .chain(
            KEYS.iter()
                .filter_map(|name| head.headers.get(name))
                .map(|value| value.as_bytes()),
        )
        .find_map(|key| routing.clients.find(key))
        .ok_or(Reason::Unauthorised)?;
    let permit = client.admit().map_err(|limited| match limited {
        ClientLimited::Requests { wait } => Reason::ClientLimited {
            wait,
            what: "requests per minute",
        },
        ClientLimited::Concurrency => Reason::ClientLimited {
            wait: Duration::from_secs(1),
            what: "requests at once",
        },
    })?;
    Ok(Caller {
        client: Some(client),
        permit: Some(permit),
    })
}

/// Reads our own headers. `client`: `None` where no key is asked for; such requests have normal priority and may not
/// name their subscription.
///
/// # Errors
/// The first malformed one, by name; a subscription that the client may not name.
pub fn wishes(headers: &HeaderMap, client: Option<&Client>) -> Result<Wishes, Reason> {
    let session = match one(headers, &SESSION)? {
        None => None,
        Some(value)
            if (1..=256).contains(&value.len())
                && value.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Some(value.to_owned())
        }
        Some(_) => return Err(malformed(&SESSION, "1 to 256 visible ASCII characters")),
    };
    let max_wait = match one(headers, &MAX_WAIT)? {
        None => None,
        Some(value) => Some(
            duration(value)
                .ok_or_else(|| malformed(&MAX_WAIT, "a duration such as `1500ms` or `2s`"))?,
        ),
    };
    let own = client.map_or(Priority::Normal, |client| client.priority);
    let priority = match one(headers, &PRIORITY)? {
        None => own,
        Some(value) => Priority::parse(value)
            .ok_or_else(|| malformed(&PRIORITY, "`high`, `normal` or `low`"))?
            // It may only lower its own: the later one is served later.
            .max(own),
    };
    let estimated_tokens = match one(headers, &ESTIMATED_TOKENS)? {
        None => None,
        Some(value) => Some(
            whole_number(value)
                .filter(|tokens| (1..=MOST_TOKENS).contains(tokens))
                .ok_or_else(|| malformed(&ESTIMATED_TOKENS, "a whole number from 1 to 10000000"))?,
        ),
    };
    let subscription = match one(headers, &SUBSCRIPTION)? {
        None => None,
        Some(value) if is_id(value) => Some(value),
        Some(_) => return Err(malformed(&SUBSCRIPTION, "the id of a subscription")),
    };
    if subscription.is_some() && !client.is_some_and(|client| client.may_pin) {
        let message = format!("the header `{SUBSCRIPTION}` is not open to you; leave it out");
        return Err(Reason::Forbidden(message.into()));
    }
    Ok(Wishes {
        session,
        max_wait,
        priority,
        estimated_tokens,
        subscription: subscription.map(str::to_owned),
    })
}

/// Takes what the request may come to from its client's tokens per minute, once the body is known. `None`: there is
/// nothing to settle.
///
/// # Errors
/// The client's own limit.
pub fn demand(
    client: Option<&Client>,
    demand: &Demand,
    dialect: Dialect,
) -> Result<Option<Claim>, Reason> {
    let rough = demand.size.rough();
    let all = rough.0.saturating_add(rough.1);
    let Some(client) = client.filter(|_| 0 < all) else {
        return Ok(None);
    };
    let taken = client
        .take_tokens(all)
        .map_err(|wait| Reason::ClientLimited {
            wait,
            what: "tokens per minute",
        })?;
    Ok(taken.map(|taken| Claim {
        taken,
        rough,
        cache_apart: dialect == Dialect::Anthropic,
    }))
}

/// Drops from a query the parameters whose value is a client's key: keys in the query never go on (K7).
pub fn query_without_keys(routing: &Routing, query: &str) -> Option<String> {
    if routing.clients.is_open() || !query.split('&').any(|pair| is_key(routing, pair)) {
        return None;
    }
    Some(
        query
            .split('&')
            .filter(|pair| !is_key(routing, pair))
            .collect::<Vec<_>>()
            .join("&"),
    )
}

fn is_key(routing: &Routing, pair: &str) -> bool {
    pair.split_once('=').is_some_and(|(_, value)| {
        value.len() >= 24 && routing.clients.find(value.as_bytes()).is_some()
    })
}

/// Digits and nothing else, and not many of them.
fn whole_number(text: &str) -> Option<u64> {
    let plain = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Reason> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| malformed(name, "visible ASCII")),
        (Some(_), Some(_)) => Err(malformed(name, "given once")),
    }
}

fn malformed(name: &HeaderName, wanted: &str) -> Reason {
    Reason::Invalid(format!("the header `{name}` must be {wanted}").into())
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;
    use crate::clients::Clients;
    use crate::clock::Clock;
    use crate::config::{ClientConfig, ClientKey, Glob};
    use crate::secret::Secret;

    const KEY: &[u8] = b"a-key-long-enough-for-tests";

    fn client(priority: Priority) -> Arc<Client> {
        let config = ClientConfig {
            id: "a".into(),
            key: ClientKey::Plain(Secret::new(KEY.to_vec())),
            tenant: None,
            pools: vec![Glob("*".into())],
            models: vec![Glob("*".into())],
            requests_per_minute: None,
            tokens_per_minute: None,
            max_in_flight: None,
            priority,
            may_pin: false,
        };
        Clients::new(&[config], Clock::new()).find(KEY).unwrap()
    }

    fn asking(name: &HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    // F9: a client may only lower its own; asking for a higher one is no error
    #[test]
    fn a_request_is_of_its_clients_class_or_of_a_lower_one() {
        for own in Priority::ALL {
            let client = client(own);
            let none = wishes(&HeaderMap::new(), Some(&client)).unwrap();
            assert_eq!(none.priority, own);
            for asked in Priority::ALL {
                let headers = asking(&PRIORITY, asked.name());
                let expected = match (own, asked) {
                    (Priority::High, asked) => asked,
                    (Priority::Normal, Priority::Low) => Priority::Low,
                    (own, _) => own,
                };
                let found = wishes(&headers, Some(&client)).unwrap();
                assert_eq!(found.priority, expected, "{asked:?} of {own:?}");
            }
        }
        for (asked, expected) in [("high", Priority::Normal), ("low", Priority::Low)] {
            let found = wishes(&asking(&PRIORITY, asked), None).unwrap();
            assert_eq!(found.priority, expected);
        }
    }

    // F9
    #[test]
    fn an_estimate_is_a_whole_number_within_bounds() {
        let read = |value| wishes(&asking(&ESTIMATED_TOKENS, value), None);
        for (value, expected) in [("1", 1), ("007", 7), ("10000000", MOST_TOKENS)] {
            assert_eq!(read(value).unwrap().estimated_tokens, Some(expected));
        }
        let long = "1".repeat(60_000);
        for wrong in [
            "0",
            "10000001",
            "-1",
            "1.5",
            " 1",
            "18446744073709551617",
            &long,
        ] {
            assert!(
                matches!(read(wrong), Err(Reason::Invalid(_))),
                "{wrong:.30}"
            );
        }
    }
}
