//! Rules of `[[route]]`, and the routes of a file that has none (F11): then each pool answers for its dialect, so
//! there may be but one of each.

use std::sync::Arc;

use super::Rules;
use crate::config::fault::Place;
use crate::config::value::Text;
use crate::config::wire::Table;
use crate::config::{Glob, PoolConfig, RouteConfig, base_url, word};
use crate::core::dialect::Dialect;

impl Rules<'_> {
    pub(super) fn routes(
        &self,
        tables: Vec<Table<'_, '_>>,
        pools: &[(Place, PoolConfig)],
    ) -> Vec<RouteConfig> {
        if tables.is_empty() {
            return self.implied_routes(pools);
        }
        let tables = tables.into_iter();
        tables.filter_map(|table| self.route(table)).collect()
    }

    fn implied_routes(&self, pools: &[(Place, PoolConfig)]) -> Vec<RouteConfig> {
        for (position, (place, pool)) in pools.iter().enumerate() {
            if pool.dialect == Dialect::Generic && 1 < self.pools.known.len() {
                self.report(
                    place,
                    "is generic and not the only pool, so it needs a [[route]]",
                );
                continue;
            }
            let mut before = pools.iter().take(position);
            if let Some((other, _)) = before.find(|(_, other)| other.dialect == pool.dialect) {
                self.report(
                    place,
                    format!(
                        "speaks {} as {} does: without a [[route]] nothing tells which of them \
                         serves a request",
                        pool.dialect.name(),
                        self.faults.tell(other)
                    ),
                );
            }
        }
        let implied = |pool| RouteConfig {
            pool,
            host: None,
            path_prefix: "/".into(),
            models: vec![Glob("*".into())],
            clients: vec![Glob("*".into())],
            resend_unknown: false,
            implied: true,
        };
        (0..pools.len()).map(implied).collect()
    }

    fn route(&self, mut table: Table<'_, '_>) -> Option<RouteConfig> {
        let pool = table.require("pool").and_then(|value| value.text());
        let pool = pool.and_then(|name| self.refer(&self.pools, &name));
        let host = table.text("host");
        let host = host.and_then(|host| self.host(&host));
        let path_prefix = table.text("path_prefix").and_then(|text| {
            let prefix = word::path_prefix(&text.text);
            if let Err(fault) = prefix {
                self.report(&text.place, fault);
            }
            prefix.ok().map(Arc::<str>::from)
        });
        Some(RouteConfig {
            models: self.globs_or_all(&mut table, "models"),
            resend_unknown: table.boolean("resend_unknown", false),
            pool: pool?,
            host,
            path_prefix: path_prefix.unwrap_or_else(|| "/".into()),
            clients: self.ids_or_all(&mut table, "clients", &self.clients),
            implied: false,
        })
    }

    fn host(&self, text: &Text) -> Option<Box<str>> {
        let host = text.text.to_ascii_lowercase();
        let address = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        if !address && !base_url::is_name(&host) {
            self.report(
                &text.place,
                "must be a host as clients name it, without scheme, port, path or pattern",
            );
            return None;
        }
        Some(host.into())
    }
}
