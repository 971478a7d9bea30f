//! The admin listener (O4): what Prometheus and orchestrators ask. It knows nothing of the request path.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::server::Handler;

/// Answers `/metrics`, `/healthz` and `/readyz`, without a token.
#[derive(Clone)]
pub struct Admin {
    ready: Arc<AtomicBool>,
    metrics: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Admin {
    /// `ready`: listeners are bound, the configuration is loaded, and no drain has begun. `metrics` writes the text
    /// of one scrape; `None`: it could not.
    pub fn new(
        ready: Arc<AtomicBool>,
        metrics: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    ) -> Self {
        Self { ready, metrics }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = matches!(path, "/metrics" | "/healthz" | "/readyz");
        if known && method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n".into()),
            "/readyz" if self.ready.load(Ordering::Acquire) => {
                text(StatusCode::OK, "ready\n".into())
            }
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
            "/metrics" => match (self.metrics)() {
                Some(metrics) => {
                    let mut response = text(StatusCode::OK, metrics);
                    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                    response
                }
                None => text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics could not be written\n".into(),
                ),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "not found; there is /metrics, /healthz and /readyz\n".into(),
            ),
        }
    }
}

impl Handler for Admin {
    type Body = Full<Bytes>;

    fn call(
        &self,
        request: Request<Incoming>,
        _peer: SocketAddr,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send {
        let response = self.answer(request.method(), request.uri().path());
        std::future::ready(response)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
