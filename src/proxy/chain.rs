//! The chain of one request (C7): which pools may serve it, in which order, and by which name each is asked for its
//! model (F10). When it is a pool's turn, the balancer says. Law: a client never comes by a fallback to a pool that is
//! not open to him, nor to a path that is not open there.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::route::{Chosen, listed};
use super::table::{Pool, Routing};
use crate::clients::Client;
use crate::core::id::LimitGroup;
use crate::core::pools::{Link, Links, Via};

/// A request, as one pool of its chain sees it.
#[derive(Debug)]
pub struct Stop {
    /// The pool's position in the configuration.
    pub pool: usize,
    /// What its body has in place of the model's name, as JSON; `None`: it goes as received.
    pub rename: Option<Bytes>,
    model: Option<Arc<str>>,
    limit_group: LimitGroup,
}

/// The pools that may serve a request.
#[derive(Debug)]
pub struct Chain {
    own: Stop,
    /// Beside the links of the demand.
    further: Vec<Stop>,
}

impl Chain {
    /// Of a request whose route is chosen. `model`: as asked for. `None`: there is no such pool.
    pub fn new(
        routing: &Routing,
        chosen: &Chosen,
        method: &Method,
        client: Option<&Client>,
        model: Option<&Arc<str>>,
    ) -> Option<Self> {
        let own = routing.pools.get(chosen.pool)?;
        let stop = |at: usize, pool: &Pool| stop(at, pool, chosen, model);
        let is_open = |pool: &Pool| {
            client.is_none_or(|client| client.may_use_pool(&pool.config.id))
                && listed(pool, method, &chosen.path).ok() == Some(chosen.endpoint)
        };
        let further = own.config.fallback.iter().filter_map(|&at| {
            let pool = routing.pools.get(at).filter(|pool| is_open(pool))?;
            Some(stop(at, pool))
        });
        Some(Self {
            own: stop(chosen.pool, own),
            further: further.collect(),
        })
    }

    /// The request in the pool that it goes through.
    pub fn stop(&self, via: Via) -> Option<&Stop> {
        match via.link() {
            None => Some(&self.own),
            Some(link) => self.further.get(link),
        }
    }

    /// The model that its own pool is asked for, and whose limit that is.
    pub fn own(&self) -> (Option<Arc<str>>, LimitGroup) {
        (self.own.model.clone(), self.own.limit_group.clone())
    }

    /// The same of the others, as the balancer takes it.
    pub fn links(&self, routing: &Routing) -> Links {
        if self.further.is_empty() {
            return None;
        }
        let links = self.further.iter().filter_map(|stop| {
            Some(Link {
                pool: routing.pools.get(stop.pool)?.index,
                limit_group: stop.limit_group.clone(),
                model: stop.model.clone(),
            })
        });
        Some(links.collect())
    }
}

fn stop(at: usize, pool: &Pool, chosen: &Chosen, model: Option<&Arc<str>>) -> Stop {
    let alias = model.and_then(|asked| pool.alias(asked));
    let model = alias.map(|alias| &alias.sent).or(model);
    Stop {
        pool: at,
        rename: alias.map(|alias| alias.written.clone()),
        limit_group: pool.limit_group(chosen.endpoint, model.map(|model| &**model)),
        model: model.cloned(),
    }
}
