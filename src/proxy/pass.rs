//! The commit point: an answer's head goes to the client, without what is not his, and its body is relayed. Nothing is
//! tried again after this.

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Proxy;
use super::call::Call;
use super::commit::Answer;
use super::exchange::Exchange;
use super::head;
use super::relay::{Body, MeteredBody, Passage};
use super::session::Handles;
use super::table::Target;
use crate::balancer::Lease;
use crate::core::dialect::Dialect;
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;

const SUBSCRIPTION: HeaderName = HeaderName::from_static("x-authpool-subscription");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-authpool-attempts");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

impl Proxy {
    /// Hands an answer on. `lease`: `None` for an answer that a settled attempt left.
    pub(super) fn commit(
        &self,
        exchange: &mut Exchange,
        call: &Call,
        mut answer: Answer,
        lease: Option<Lease>,
        target: &Target,
    ) -> Response<Body> {
        exchange.served_by(&target.id, answer.verdict.class);
        exchange.head(answer.parts.status.as_u16());
        let sized = head::content_length(&answer.parts.headers).is_some();
        let mut headers = std::mem::take(&mut answer.parts.headers);
        self.tell_limits(call, &mut headers);
        self.expose(exchange, call, &mut headers, target);
        let handles = lease
            .as_ref()
            .filter(|_| call.endpoint == Endpoint::Responses)
            .map(|lease| Handles {
                balancer: self.0.balancer.clone(),
                owner_tag: call.owner_tag,
                subscription: lease.subscription(),
                pool: lease.pool(),
            });
        let passage = Passage {
            dialect: call.dialect,
            endpoint: call.endpoint,
            deadline: self.0.deadline.clone(),
            handles,
            must_terminate: must_terminate(call, target),
            sized,
        };
        let status = answer.parts.status;
        let body = MeteredBody::new(answer, lease, exchange.take(), passage);
        let mut response = Response::new(Body::Relay(Box::new(body)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn expose(&self, exchange: &Exchange, call: &Call, headers: &mut HeaderMap, target: &Target) {
        let expose = call.table.routing.expose;
        if expose.subscription
            && let Ok(value) = HeaderValue::from_str(&target.id)
        {
            headers.insert(SUBSCRIPTION, value);
        }
        if expose.attempts {
            headers.insert(ATTEMPTS, HeaderValue::from(u16::from(exchange.attempts())));
        }
        if expose.server_timing {
            let all = self.0.clock.now().since(exchange.arrival);
            let wait = exchange.waited();
            let text = format!(
                "wait;dur={:.1}, upstream;dur={:.1}",
                wait.as_secs_f64() * 1e3,
                all.saturating_sub(wait).as_secs_f64() * 1e3
            );
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(SERVER_TIMING, value);
            }
        }
    }
}

/// Whether a stream of this operation is broken when it ends without its terminal event. Some that speak OpenAI's
/// dialect leave `[DONE]` out, so only OpenAI itself is held to it.
fn must_terminate(call: &Call, target: &Target) -> bool {
    match (call.dialect, call.endpoint) {
        (Dialect::Anthropic, Endpoint::Messages) | (Dialect::OpenAi, Endpoint::Responses) => true,
        (Dialect::OpenAi, Endpoint::ChatCompletions | Endpoint::Completions) => {
            target.provider.flavour == Flavour::OpenAi
        }
        _ => false,
    }
}
