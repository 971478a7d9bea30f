//! What clients see of limits (D9): what their whole pool has left, what the provider said, or nothing. Whose figures
//! they are, the pools tell; how a dialect words them, `core::dialect::limits`. Law: where the pool's are told, no line of a
//! single credential is left beside them.

use http::HeaderMap;

use super::Proxy;
use super::call::Call;
use super::head;
use super::refusal::{Reason, Refusal};
use super::table::Pool;
use crate::config::LimitHeaders;
use crate::core::dialect::limits::limit_headers;

impl Proxy {
    /// Makes a provider's head one for the client. Told is the pool that the request's route names, whichever served.
    pub(super) fn tell_limits(&self, call: &Call, headers: &mut HeaderMap) {
        let pool = call.pool();
        let told = pool.map_or(LimitHeaders::Strip, |pool| pool.config.limit_headers);
        head::downstream(headers, told == LimitHeaders::Upstream);
        if let Some(pool) = pool.filter(|_| told == LimitHeaders::Pool) {
            self.tell_room(call, pool, headers);
        }
    }

    /// A refusal for a reason. Where the pool's limits are the reason, it tells them.
    pub(super) fn with_limits(&self, call: &Call, reason: Reason) -> Refusal {
        let is_limited = matches!(reason, Reason::PoolLimited { .. });
        let mut refusal = reason.in_words_of(call.dialect);
        let pool = call.pool().filter(|_| is_limited);
        if let Some(pool) = pool.filter(|pool| pool.config.limit_headers == LimitHeaders::Pool) {
            let mut headers = HeaderMap::new();
            self.tell_room(call, pool, &mut headers);
            refusal.limits = (!headers.is_empty()).then(|| Box::new(headers));
        }
        refusal
    }

    fn tell_room(&self, call: &Call, pool: &Pool, headers: &mut HeaderMap) {
        let demand = &call.demand;
        let room = self.0.balancer.room(demand.pool, &demand.limit_group);
        if room.is_empty() {
            return;
        }
        let now = self.0.clock.wall();
        for (name, value) in limit_headers(call.dialect, pool.flavour, &room, now) {
            headers.insert(name, value);
        }
    }
}
