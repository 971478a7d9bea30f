//! The request path, read top to bottom: [`Proxy::handle`] never fails, `serve` turns a head and a body into a call
//! or a refusal, `attempt::forward` sends it until an answer may go to the client.

mod admit;
mod attempt;
mod call;
mod chain;
mod claim;
mod commit;
mod exchange;
mod head;
mod kept;
mod limits;
mod pass;
mod refusal;
mod relay;
mod replay;
mod route;
mod session;
pub mod table;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{EXPECT, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use self::call::{Asking, Call};
use self::exchange::Exchange;
use self::refusal::{Reason, Refusal};
pub use self::relay::{Body, BoxError};
pub use self::replay::{BodyMemory, discard};
use self::table::Table;
use crate::balancer::Balancer;
use crate::clock::Clock;
use crate::core::dialect::Dialect;
use crate::core::dialect::endpoint::path_fault;
use crate::core::dialect::read::request::RequestReader;
use crate::records::Records;
use crate::tasks::Tasks;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-authpool-request-id");

/// What the request path of one data thread is made of, and shares with the others.
#[derive(Debug)]
pub struct Share {
    /// Swapped whole at reload.
    pub table: Arc<ArcSwap<Table>>,
    /// Shared by all data threads.
    pub balancer: Balancer,
    /// Shared by all.
    pub clock: Clock,
    /// This thread's ring.
    pub records: Records,
    /// Shared by all data threads.
    pub memory: BodyMemory,
    /// This thread's tasks.
    pub tasks: Tasks,
    /// Cancelled when drain's deadline has come: streams then end with an error event.
    pub deadline: CancellationToken,
}

/// The request path of one data thread. Clones share it.
#[derive(Clone, Debug)]
pub struct Proxy(Arc<Share>);

impl Proxy {
    /// Over its parts.
    pub fn new(parts: Share) -> Self {
        Self(Arc::new(parts))
    }

    /// Answers one request. Dropping the future drops what it holds: the lease settles, the upstream is closed.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let mut exchange = Exchange::begin(self.0.clock, self.0.records.clone(), &head);
        let id = exchange.id;
        let expects_continue = head.headers.contains_key(EXPECT);
        let mut response = match self.serve(&mut exchange, head, &mut body).await {
            Ok(response) => response,
            Err(refusal) => {
                discard(body, expects_continue, &self.0.tasks);
                let response = refusal.into_response(&mut exchange);
                exchange.whole();
                response
            }
        };
        let mut buffer = uuid::Uuid::encode_buffer();
        if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer)) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }

    async fn serve(
        &self,
        exchange: &mut Exchange,
        head: Parts,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let table = self.0.table.load_full();
        let routing = &table.routing;
        let worded = |reason: Reason| reason.in_words_of(route::dialect_of(routing, &head));
        check_head(&head).map_err(worded)?;
        if head.method == Method::HEAD && head.uri.path() == "/" {
            return Ok(alive(exchange));
        }
        let caller = admit::caller(routing, &head).map_err(worded)?;
        let client = caller.client.as_deref();
        exchange.note(|record| record.client = client.map(|client| Arc::clone(&client.id)));
        if let Some(permit) = caller.permit {
            exchange.hold(permit);
        }
        let candidates = route::candidates(routing, &head, client)?;
        let words = candidates
            .first()
            .map_or(Dialect::OpenAi, |candidate| candidate.pool.config.dialect);
        let wishes = admit::wishes(&head.headers, client)
            .and_then(|wishes| wishes.lead_somewhere(&candidates))
            .map_err(|reason| reason.in_words_of(words))?;
        let mut reader = RequestReader::new();
        let held = replay::hold(body, routing.body_limit, &self.0.memory, &mut reader)
            .await
            .map_err(|reason| reason.in_words_of(words))?;
        exchange.note(|record| record.bytes_in = held.bytes());
        let facts = reader.finish();
        let chosen = route::choose(&candidates, facts.model.as_deref(), client)?.owned();
        let asking = Asking {
            client,
            facts: &facts,
            wishes: &wishes,
        };
        let call = Call::new(
            exchange,
            &self.0.balancer,
            Arc::clone(&table),
            chosen,
            head,
            &asking,
            held,
        )?;
        let claim = admit::demand(client, &call.demand, call.dialect);
        exchange.settles(claim.map_err(|reason| reason.in_words_of(call.dialect))?);
        self.forward(exchange, call).await
    }
}

/// Faults of a head that no route could mend (F6, K7).
fn check_head(head: &Parts) -> Result<(), Reason> {
    if head::is_too_large(&head.headers) {
        return Err(Reason::HeadTooLarge);
    }
    if head.version < Version::HTTP_2 && head.uri.scheme().is_some() {
        return Err(Reason::Invalid(
            "the request's target must be a path, not a URL".into(),
        ));
    }
    if head.method == Method::CONNECT {
        return Err(Reason::MethodNotAllowed);
    }
    match path_fault(head.uri.path()) {
        None => Ok(()),
        Some(fault) => Err(Reason::Invalid(
            format!("the request's path is refused: {fault}").into(),
        )),
    }
}

/// `HEAD /`: some clients ask for it before anything else, without a key.
fn alive(exchange: &mut Exchange) -> Response<Body> {
    exchange.head(200);
    exchange.take().whole();
    Response::new(Body::Empty)
}
