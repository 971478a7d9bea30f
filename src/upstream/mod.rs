//! Connections to providers, owned: an exchange that is dropped ends its connection, one that is read to its end
//! gives it back. It decides which connection carries a request, and keeps the time limits; what an answer means
//! and whether to try again is the proxy's. The law it keeps: `SendError::sent` is `false` only where no byte of
//! the request can have reached the provider.

mod connect;
mod error;
mod incoming;
mod limits;
mod link;
mod outgoing;
mod pool;
mod quiet;
mod resolve;
mod tls;
mod wire;

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use rustls::ClientConfig;

pub use self::error::{BodyError, BoxError, ConnectError, SendError};
pub use self::incoming::Incoming;
pub use self::outgoing::Outgoing;
pub use self::tls::{TlsError, client_tls};
pub use self::wire::ConnectionCounts;

use self::connect::Connector;
use self::error::ExchangeError;
use self::limits::Deadline;
use self::link::{Failure, Link};
use self::pool::Pool;
use crate::clock::Clock;
use crate::config::ProviderConfig;
use crate::tasks::Tasks;

/// How many pooled connections one request may find dead before it takes a fresh one.
const STALE: usize = 3;

/// One provider as one data runtime reaches it. Clones share the connections. Dropped with its answers, it closes
/// what it keeps.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    provider: Arc<ProviderConfig>,
    host: Option<HeaderValue>,
    connector: Connector,
    pool: Arc<Pool>,
    clock: Clock,
}

impl Endpoint {
    /// Connects to nothing yet. `tls` is what [`client_tls`] made of the same provider: `None` for an `https`
    /// base URL makes every request fail, none goes out unverified.
    pub fn new(
        provider: &Arc<ProviderConfig>,
        clock: Clock,
        tasks: Tasks,
        counts: Arc<ConnectionCounts>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self(Arc::new(Inner {
            provider: Arc::clone(provider),
            host: HeaderValue::from_str(&provider.base_url.authority).ok(),
            connector: Connector::new(provider, clock, counts, tls),
            pool: Pool::new(provider.keep_alive, clock, tasks),
            clock,
        }))
    }

    /// Sends a request and waits for the answer's head. The target goes out in origin-form; `host` and the
    /// framing are set here, everything else is the caller's. Answers that come before the request was read are
    /// handed on at once. Dropping the future ends the connection at once.
    ///
    /// # Errors
    /// There is no connection, or no answer came over it.
    pub async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, SendError> {
        self.send_if(request, || true).await
    }

    /// As [`Endpoint::send`], for whom time may change whether the request is still wanted: `is_wanted` is asked once
    /// there is a connection, before the first byte goes out on it.
    ///
    /// # Errors
    /// As [`Endpoint::send`], and [`SendError::withdrawn`] where it is not wanted; the connection is kept then.
    pub async fn send_if(
        &self,
        request: Request<Outgoing>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Response<Incoming>, SendError> {
        let inner = &*self.0;
        let total = inner.clock.now() + inner.provider.total;
        let mut deadline = Deadline::new(total, inner.clock);
        let mut request = inner.prepare(request);
        for _ in 0..STALE {
            let Some(mut link) = inner.pool.take() else {
                break;
            };
            if !is_wanted() {
                return Err(inner.withdraw(link));
            }
            match inner.exchange(&mut link, request, &mut deadline).await {
                Ok(response) => return inner.answer(response, link, deadline),
                Err(Failure::HandedBack(unsent, _)) => request = *unsent,
                Err(failure) => return Err(failure.into()),
            }
        }
        let mut link = inner.connector.connect().await?;
        if !is_wanted() {
            return Err(inner.withdraw(link));
        }
        match inner.exchange(&mut link, request, &mut deadline).await {
            Ok(response) => inner.answer(response, link, deadline),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Inner {
    fn prepare(&self, mut request: Request<Outgoing>) -> Request<Outgoing> {
        *request.version_mut() = Version::HTTP_11;
        if request.uri().authority().is_some() {
            let target = request.uri().path_and_query().cloned();
            *request.uri_mut() = Uri::from(target.unwrap_or(PathAndQuery::from_static("/")));
        }
        // Framing is made anew on each hop; hyper derives it from the body, but for an empty one says nothing.
        let wants_length = matches!(
            *request.method(),
            Method::POST | Method::PUT | Method::PATCH
        );
        let empty = request.body().is_end_stream();
        let headers = request.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        if empty && wants_length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        match &self.host {
            Some(host) => headers.insert(HOST, host.clone()),
            None => headers.remove(HOST),
        };
        request
    }

    /// Nothing was sent: the connection serves whoever comes next.
    fn withdraw(&self, link: Link) -> SendError {
        self.pool.give_back(link);
        SendError::withdrawn()
    }

    async fn exchange(
        &self,
        link: &mut Link,
        request: Request<Outgoing>,
        deadline: &mut Deadline,
    ) -> Result<Response<hyper::body::Incoming>, Failure> {
        link.exchange(request, self.provider.first_byte, deadline)
            .await
    }

    fn answer(
        &self,
        response: Response<hyper::body::Incoming>,
        link: Link,
        deadline: Deadline,
    ) -> Result<Response<Incoming>, SendError> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::exchange(true, false, ExchangeError::Switched));
        }
        let (pool, idle) = (Arc::clone(&self.pool), self.provider.idle);
        Ok(response.map(|body| Incoming::new(body, link, pool, idle, deadline)))
    }
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::HandedBack(_, error) => Self::exchange(false, false, error),
            Failure::Broke { sent, error } => Self::exchange(sent, false, error),
            Failure::TimedOut { sent } => Self::exchange(sent, true, ExchangeError::Timeout),
        }
    }
}
