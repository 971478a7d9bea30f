//! Which pool a request is for. In two steps, because the model stands in the body: candidates by host, prefix,
//! client and path before the body is read, then the first of them whose models take the request's (F6, F7, F11).

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::refusal::{Reason, Refusal};
use super::table::{Pool, Routing};
use crate::clients::Client;
use crate::config::{Glob, RouteConfig};
use crate::core::dialect::Dialect;
use crate::core::dialect::endpoint::{Endpoint, Unlisted};

/// A route that the head matches.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// As configured.
    pub route: &'a RouteConfig,
    /// Where it leads.
    pub pool: &'a Pool,
    /// What is called there.
    pub endpoint: Endpoint,
    /// The path that the route left.
    pub path: &'a str,
}

/// A chosen route, as the call keeps it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The pool's position in the configuration.
    pub pool: usize,
    /// What is called there.
    pub endpoint: Endpoint,
    /// The path that the route left.
    pub path: String,
    /// The route's prefix, for the log.
    pub prefix: Arc<str>,
    /// C8 (e).
    pub resend_unknown: bool,
}

impl Candidate<'_> {
    /// Without the head that it was found by.
    pub fn owned(&self) -> Chosen {
        Chosen {
            pool: self.route.pool,
            endpoint: self.endpoint,
            path: self.path.to_owned(),
            prefix: Arc::clone(&self.route.path_prefix),
            resend_unknown: self.route.resend_unknown,
        }
    }
}

/// The dialect in whose words a head is refused before its route is chosen: of the first route by host and
/// prefix that lists what is called, else the first of them, else the one that F11 gives the path, else OpenAI's.
pub fn dialect_of(routing: &Routing, head: &Parts) -> Dialect {
    let host = host(head);
    let takers = || {
        routing.routes.iter().filter_map(|route| {
            let pool = routing.pools.get(route.pool)?;
            Some((pool, matched(route, pool, head, host)?))
        })
    };
    // Routes may differ by the model alone, which the head does not tell.
    let taken = takers()
        .find(|(pool, path)| listed(pool, &head.method, path).is_ok())
        .or_else(|| takers().next())
        .map(|(pool, _)| pool.config.dialect);
    let by_path = || {
        Dialect::of_path(
            head.uri.path(),
            head.headers.contains_key("anthropic-version"),
        )
    };
    taken.or_else(by_path).unwrap_or(Dialect::OpenAi)
}

/// Every route that takes this head, in file order; never empty.
///
/// # Errors
/// No route by host and prefix, a pool that the client may not use, a path that is not listed, a method that it
/// does not take: the first of these that holds for all.
pub fn candidates<'a>(
    routing: &'a Routing,
    head: &'a Parts,
    client: Option<&Client>,
) -> Result<Vec<Candidate<'a>>, Refusal> {
    let host = host(head);
    let mut found = Vec::with_capacity(1);
    let mut fault: Option<(u8, Refusal)> = None;
    let mut worst = |rank: u8, refusal: Refusal| {
        if fault.as_ref().is_none_or(|(known, _)| rank > *known) {
            fault = Some((rank, refusal));
        }
    };
    for route in &routing.routes {
        let Some(pool) = routing.pools.get(route.pool) else {
            continue;
        };
        let Some(path) = matched(route, pool, head, host) else {
            continue;
        };
        let id = client.map_or("", |client| &client.id);
        if !route.clients.iter().any(|glob| glob.matches(id)) {
            continue;
        }
        let dialect = pool.config.dialect;
        if client.is_some_and(|client| !client.may_use_pool(&pool.config.id)) {
            worst(
                1,
                Reason::Forbidden("this pool is not open to you".into()).in_words_of(dialect),
            );
            continue;
        }
        match listed(pool, &head.method, path) {
            Ok(endpoint) => found.push(Candidate {
                route,
                pool,
                endpoint,
                path,
            }),
            Err(Unlisted::Path) => {
                worst(
                    2,
                    Reason::Forbidden("this path is not open at this proxy".into())
                        .in_words_of(dialect),
                );
            }
            Err(Unlisted::Method) => worst(3, Reason::MethodNotAllowed.in_words_of(dialect)),
        }
    }
    if found.is_empty() {
        let nothing = || {
            Reason::NotFound("no route of this proxy takes this host and path".into())
                .in_words_of(dialect_of(routing, head))
        };
        return Err(fault.map_or_else(nothing, |(_, refusal)| refusal));
    }
    Ok(found)
}

/// The first candidate whose models take the request's; a request without a model matches every one.
///
/// # Errors
/// No route takes the model, or the client may not use it.
pub fn choose<'a>(
    candidates: &[Candidate<'a>],
    model: Option<&str>,
    client: Option<&Client>,
) -> Result<Candidate<'a>, Refusal> {
    let takes =
        |globs: &[Glob]| model.is_none_or(|model| globs.iter().any(|glob| glob.matches(model)));
    let words = candidates
        .first()
        .map_or(Dialect::OpenAi, |candidate| candidate.pool.config.dialect);
    let chosen = candidates
        .iter()
        .find(|candidate| takes(&candidate.route.models))
        .copied()
        .ok_or_else(|| no_route_for(model).in_words_of(words))?;
    let Some(client) = client else {
        return Ok(chosen);
    };
    let allowed = match model {
        Some(model) => client.may_use_model(model),
        None => !(client.restricts_models() && chosen.endpoint.is_metered()),
    };
    if allowed {
        return Ok(chosen);
    }
    let message: Cow<'static, str> = match model {
        Some(model) => format!("the model `{model}` is not open to you").into(),
        None => "your models are restricted, so the request has to name one".into(),
    };
    Err(Reason::Forbidden(message).in_words_of(chosen.pool.config.dialect))
}

fn no_route_for(model: Option<&str>) -> Reason {
    let model = model.unwrap_or_default();
    Reason::NotFound(
        format!("no route of this proxy takes the model `{model}`; ask for another").into(),
    )
}

/// The path that the route leaves; `None` where it does not match.
fn matched<'a>(
    route: &RouteConfig,
    pool: &Pool,
    head: &'a Parts,
    host: Option<&str>,
) -> Option<&'a str> {
    if let Some(wanted) = &route.host
        && !host.is_some_and(|host| host.eq_ignore_ascii_case(wanted))
    {
        return None;
    }
    let path = head.uri.path();
    if route.implied {
        let dialect = pool.config.dialect;
        let claimed = Dialect::of_path(path, head.headers.contains_key("anthropic-version"));
        return (dialect == Dialect::Generic || claimed.is_none_or(|claimed| claimed == dialect))
            .then_some(path);
    }
    if &*route.path_prefix == "/" {
        return Some(path);
    }
    let rest = path.strip_prefix(&*route.path_prefix)?;
    match rest.as_bytes().first() {
        None => Some("/"),
        Some(b'/') => Some(rest),
        Some(_) => None,
    }
}

/// What is called at a path of this pool: what its dialect has there, else what the operator opened.
pub(super) fn listed(pool: &Pool, method: &Method, path: &str) -> Result<Endpoint, Unlisted> {
    let unlisted = match pool.config.dialect.endpoint(method, path) {
        Ok(endpoint) => return Ok(endpoint),
        Err(unlisted) => unlisted,
    };
    let opened = pool
        .allowed
        .iter()
        .filter(|allowed| allowed.path.matches(path));
    let mut unlisted = unlisted;
    for allowed in opened {
        if allowed.method == method || (method == Method::HEAD && allowed.method == Method::GET) {
            return Ok(Endpoint::Other);
        }
        unlisted = Unlisted::Method;
    }
    Err(unlisted)
}

/// The host that the request names, without its port.
fn host(head: &Parts) -> Option<&str> {
    let authority = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(http::header::HOST)?.to_str().ok()?,
    };
    if authority.starts_with('[') {
        return Some(authority.split_inclusive(']').next().unwrap_or(authority));
    }
    Some(authority.split(':').next().unwrap_or(authority))
}
