//! What every attempt of one request sends, made once: path, headers and body as they may go upstream, and what the
//! request demands of the pool.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use super::admit::{Wishes, query_without_keys};
use super::chain::Chain;
use super::commit::Asked;
use super::exchange::Exchange;
use super::head;
use super::refusal::{Reason, Refusal};
use super::replay::Held;
use super::route::Chosen;
use super::session::{Named, owner_tag};
use super::table::{Pool, Routing, Table, Target};
use crate::balancer::Balancer;
use crate::clients::Client;
use crate::core::dialect::Dialect;
use crate::core::dialect::endpoint::{Endpoint, stored_response_id};
use crate::core::dialect::read::request::RequestFacts;
use crate::core::id::{ClientIndex, SubscriptionIndex};
use crate::core::pools::{Demand, Size, Via};
use crate::upstream::Outgoing;

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// `None`: the listener asks for no key.
    pub client: Option<&'a Client>,
    /// What the body says.
    pub facts: &'a RequestFacts,
    /// What our own headers say.
    pub wishes: &'a Wishes,
}

impl<'a> Asking<'a> {
    fn index(&self) -> ClientIndex {
        let index = self.client.map(|client| client.index);
        index.unwrap_or(ClientIndex::NOBODY)
    }

    fn owner(&self) -> &'a str {
        self.client.map_or("", |client| &client.owner)
    }

    fn named(
        &self,
        chosen: &'a Chosen,
        headers: &'a HeaderMap,
        pin: Option<SubscriptionIndex>,
    ) -> Named<'a> {
        let stored = (chosen.endpoint == Endpoint::StoredResponse)
            .then(|| stored_response_id(&chosen.path))
            .flatten();
        Named {
            owner: self.owner(),
            wish: self.wishes.session.as_deref(),
            headers,
            facts: self.facts,
            stored,
            pin,
        }
    }
}

/// A request, ready to be sent as often as it takes.
#[derive(Debug)]
pub struct Call {
    /// As it was when the request came.
    pub table: Arc<Table>,
    /// What is asked of the pool, and of those that it falls back to.
    pub demand: Demand,
    /// The model as the client names it.
    pub model: Option<Arc<str>>,
    /// The pool's language.
    pub dialect: Dialect,
    /// The operation.
    pub endpoint: Endpoint,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// C8 (e).
    pub resend_unknown: bool,
    /// Whose stored objects its answers make; 0 where they make none.
    pub owner_tag: u64,
    chain: Chain,
    /// Where the body names the model.
    model_at: Option<Range<u64>>,
    method: Method,
    path: String,
    query: Option<String>,
    headers: head::Upstream,
    body: Held,
}

impl Call {
    /// From a request whose route is chosen.
    ///
    /// # Errors
    /// A `connection` line that names what we read, a stored object of nobody's, a subscription that is not of the
    /// pool.
    pub fn new(
        exchange: &mut Exchange,
        balancer: &Balancer,
        table: Arc<Table>,
        chosen: Chosen,
        head: Parts,
        asking: &Asking<'_>,
        body: Held,
    ) -> Result<Self, Refusal> {
        let missing = || Reason::Internal.in_words_of(Dialect::OpenAi);
        let pool = table.routing.pools.get(chosen.pool).ok_or_else(missing)?;
        let dialect = pool.config.dialect;
        let worded = |reason: Reason| reason.in_words_of(dialect);
        let pin = asking.wishes.pinned(pool).map_err(worded)?;
        let named = asking.named(&chosen, &head.headers, pin);
        let affinity = named.affinity(balancer, pool).map_err(worded)?;
        let model: Option<Arc<str>> = asking.facts.model.as_deref().map(Arc::from);
        let chain = Chain::new(
            &table.routing,
            &chosen,
            &head.method,
            asking.client,
            model.as_ref(),
        )
        .ok_or_else(missing)?;
        note(exchange, pool, &chosen, model.as_ref(), asking.facts.stream);
        let (sent, limit_group) = chain.own();
        let demand = Demand {
            model: sent,
            links: chain.links(&table.routing),
            affinity,
            max_wait: asking.wishes.max_wait,
            entropy: exchange.entropy(),
            size: size(chosen.endpoint, asking, &body),
            client: asking.index(),
            priority: asking.wishes.priority,
            ..Demand::new(pool.index, limit_group, exchange.arrival)
        };
        let query = query(&table.routing, &head.uri);
        let headers =
            head::upstream(head.headers, chosen.endpoint, pool.passes_headers).map_err(worded)?;
        Ok(Self {
            demand,
            model,
            dialect,
            endpoint: chosen.endpoint,
            stream: asking.facts.stream,
            resend_unknown: chosen.resend_unknown,
            owner_tag: maker_tag(chosen.endpoint, asking.owner()),
            chain,
            model_at: asking.facts.model_at.clone(),
            method: head.method,
            path: chosen.path,
            query,
            headers,
            body,
            table,
        })
    }

    /// The pool that its route names.
    pub fn pool(&self) -> Option<&Pool> {
        self.pool_of(Via::OWN)
    }

    /// The id of the pool that serves it; `None`: the one that its route names.
    pub fn falls_back_to(&self, via: Via) -> Option<&Arc<str>> {
        let pool = self.pool_of(via).filter(|_| via != Via::OWN)?;
        Some(&pool.config.id)
    }

    fn pool_of(&self, via: Via) -> Option<&Pool> {
        let stop = self.chain.stop(via)?;
        self.table.routing.pools.get(stop.pool)
    }

    /// What reading an answer needs to know, at this provider.
    pub fn asked(&self, target: &Target) -> Asked {
        Asked {
            dialect: self.dialect,
            flavour: target.provider.flavour,
            endpoint: self.endpoint,
            stream: self.stream,
            head_only: self.method == Method::HEAD,
        }
    }

    /// The request for one attempt, with the subscription's credential, and the model's name in the pool that it goes
    /// through; `None` where the path cannot be one.
    pub fn request(&self, target: &Target, via: Via) -> Option<Request<Outgoing>> {
        let mut request = Request::new(self.outgoing(via));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri(target)?;
        let mut headers: HeaderMap = self.headers.headers.clone();
        for name in &target.provider.pass_headers {
            for value in self.headers.withheld.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers.insert(
            target.credential.name.clone(),
            target.credential.value.clone(),
        );
        *request.headers_mut() = headers;
        Some(request)
    }

    fn outgoing(&self, via: Via) -> Outgoing {
        let rename = self.chain.stop(via).and_then(|stop| stop.rename.as_ref());
        match (&self.model_at, rename) {
            (Some(place), Some(name)) => self.body.outgoing_with(place, name),
            _ => self.body.outgoing(),
        }
    }

    fn uri(&self, target: &Target) -> Option<Uri> {
        let mut path = self
            .dialect
            .upstream_path(&target.provider.base_url.path, &self.path);
        if let Some(query) = &self.query {
            path.reserve(query.len() + 1);
            path.push('?');
            path.push_str(query);
        }
        let path = PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?;
        Some(Uri::from(path))
    }
}

/// Of an operation that is not metered nothing is known, whatever its client says.
fn size(endpoint: Endpoint, asking: &Asking<'_>, body: &Held) -> Size {
    if !endpoint.is_metered() {
        return Size::default();
    }
    Size {
        bytes: body.bytes(),
        max_tokens: asking.facts.max_tokens,
        estimated: asking.wishes.estimated_tokens,
    }
}

/// Only this operation's answers name stored objects.
fn maker_tag(endpoint: Endpoint, owner: &str) -> u64 {
    match endpoint {
        Endpoint::Responses => owner_tag(owner),
        _ => 0,
    }
}

/// Without the client's keys; `None`: nothing is left of it.
fn query(routing: &Routing, uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    let query = query_without_keys(routing, query).unwrap_or_else(|| query.to_owned());
    Some(query).filter(|query| !query.is_empty())
}

fn note(
    exchange: &mut Exchange,
    pool: &Pool,
    chosen: &Chosen,
    model: Option<&Arc<str>>,
    stream: bool,
) {
    exchange.note(|record| {
        record.pool = Some(Arc::clone(&pool.config.id));
        record.route = Some(Arc::clone(&chosen.prefix));
        record.model = model.cloned();
        record.stream = stream;
        record.metered = chosen.endpoint.is_metered();
    });
}
