//! Who may ask: the client by his key, his limits, and our own request headers (F9, K1, K2). Decided before the
//! body is polled, so that a refused client never uploads.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use http::request::Parts;

use super::refusal::Reason;
use super::table::Routing;
use crate::clients::{Client, ClientLimited, Permit};
use crate::config::duration;

const SESSION: HeaderName = HeaderName::from_static("x-authpool-session");
const MAX_WAIT: HeaderName = HeaderName::from_static("x-authpool-max-wait");
const KEYS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

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

/// Reads our own headers.
///
/// # Errors
/// The first malformed one, by name.
pub fn wishes(headers: &HeaderMap) -> Result<Wishes, Reason> {
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
    Ok(Wishes { session, max_wait })
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
