//! What a request is served by, as one immutable table made from the configuration. A request keeps the table that
//! it took, so a reload never changes it under way. Credentials sit here, reached by the index that the pools chose.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::clients::Clients;
use crate::config::{AllowedPath, Config, Expose, Glob, PoolConfig, ProviderConfig, RouteConfig};
use crate::core::dialect::endpoint::Endpoint as Operation;
use crate::core::dialect::flavour::Flavour;
use crate::core::dialect::limit_group::limit_group;
use crate::core::id::{LimitGroup, PoolIndex, SubscriptionIndex};
use crate::core::limit::rules::Rules;
use crate::core::pools::Applied;
use crate::secret::Credential;
use crate::upstream::Endpoint;

/// The shared part of the table: the same for all data threads.
#[derive(Debug)]
pub struct Routing {
    /// In file order; the first match wins.
    pub routes: Vec<RouteConfig>,
    /// In file order.
    pub pools: Vec<Pool>,
    /// By subscription index; `None` where that index is gone.
    targets: Vec<Option<Arc<Target>>>,
    /// Who may call.
    pub clients: Arc<Clients>,
    /// What answers tell of how they were made.
    pub expose: Expose,
    /// The largest request body in bytes.
    pub body_limit: u64,
}

/// A pool as the request path sees it.
#[derive(Debug)]
pub struct Pool {
    /// Its place in the balancer.
    pub index: PoolIndex,
    /// As configured.
    pub config: PoolConfig,
    /// Whose API its first provider is.
    pub flavour: Flavour,
    /// The index of `default_owner`.
    pub default_owner: Option<SubscriptionIndex>,
    /// By the place in `config.subscriptions`; `None`: its place in the balancer is not known.
    members: Vec<Option<SubscriptionIndex>>,
    /// Paths that the operator opened at every provider of this pool.
    pub allowed: Vec<AllowedPath>,
    /// Whether a provider of this pool, or of one that it falls back to, passes headers that K7 names.
    pub passes_headers: bool,
    /// The operator's own limit groups, of all providers of this pool.
    limit_groups: Vec<(LimitGroup, Vec<Glob>)>,
    /// In file order; the first match wins.
    aliases: Vec<(Glob, Alias)>,
}

/// The name by which a pool is asked for a model (F10).
#[derive(Debug)]
pub struct Alias {
    /// Instead of the one that the client names.
    pub sent: Arc<str>,
    /// The same as JSON writes it, in quotes.
    pub written: Bytes,
}

impl Pool {
    /// The subscription of this id, if it is of this pool.
    pub fn member(&self, id: &str) -> Option<SubscriptionIndex> {
        let ids = &self.config.subscriptions;
        let at = ids.iter().position(|known| **known == *id)?;
        self.members.get(at).copied().flatten()
    }

    /// By which name this pool is asked for a model; `None`: by the client's own.
    pub fn alias(&self, asked: &str) -> Option<&Alias> {
        let mut aliases = self.aliases.iter();
        let (_, alias) = aliases.find(|(name, _)| name.matches(asked))?;
        (*alias.sent != *asked).then_some(alias)
    }

    /// The limit group of a model: the operator's, else the dialect's.
    pub fn limit_group(&self, operation: Operation, model: Option<&str>) -> LimitGroup {
        let named = model.and_then(|model| {
            self.limit_groups
                .iter()
                .find(|(_, globs)| globs.iter().any(|glob| glob.matches(model)))
        });
        match named {
            Some((group, _)) => group.clone(),
            None => LimitGroup::new(&limit_group(self.config.dialect, operation, model)),
        }
    }
}

/// Where an attempt on one subscription goes, and with what.
#[derive(Debug)]
pub struct Target {
    /// The subscription's id.
    pub id: Arc<str>,
    /// What is injected.
    pub credential: Credential,
    /// Whose API it is.
    pub provider: Arc<ProviderConfig>,
    /// The provider's position in the configuration, and so in [`Table::endpoints`].
    pub endpoint: usize,
    /// The operator's rules for this provider's answers; one allocation for all its subscriptions.
    pub rules: Arc<Rules>,
}

/// The table of one data thread: what is shared, and that thread's own connections.
#[derive(Debug)]
pub struct Table {
    /// Shared by all threads.
    pub routing: Arc<Routing>,
    /// By the provider's position in the configuration.
    pub endpoints: Vec<Reach>,
}

/// A provider as one data thread reaches it.
#[derive(Clone)]
pub struct Reach {
    /// As configured; the same while it is unchanged.
    pub provider: Arc<ProviderConfig>,
    /// Its connections.
    pub endpoint: Endpoint,
}

impl fmt::Debug for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Reach({})", self.provider.id)
    }
}

impl Routing {
    /// From a configuration and the places that the balancer gave its subscriptions and pools.
    pub fn new(config: &Config, applied: &Applied, clients: Arc<Clients>) -> Self {
        let rules = rules_of(config);
        let mut targets = Vec::new();
        for (subscription, index) in config.subscriptions.iter().zip(&applied.subscriptions) {
            // The pools' table is full: this one never serves.
            if index.0 == u16::MAX {
                continue;
            }
            if targets.len() <= index.at() {
                targets.resize_with(index.at() + 1, || None);
            }
            let endpoint = config
                .providers
                .iter()
                .position(|provider| provider.id == subscription.provider.id);
            if let (Some(slot), Some(endpoint)) = (targets.get_mut(index.at()), endpoint) {
                let rules = rules.get(endpoint).cloned().unwrap_or_default();
                *slot = Some(Arc::new(Target {
                    id: Arc::clone(&subscription.id),
                    credential: subscription.credential.clone(),
                    provider: Arc::clone(&subscription.provider),
                    endpoint,
                    rules,
                }));
            }
        }
        Self {
            routes: config.routes.clone(),
            pools: pools_of(config, applied),
            targets,
            clients,
            expose: config.server.expose,
            body_limit: config.server.body_limit,
        }
    }

    /// The target of a subscription; `None` where this table is older than the subscription.
    pub fn target(&self, index: SubscriptionIndex) -> Option<&Arc<Target>> {
        self.targets.get(index.at())?.as_ref()
    }
}

fn pools_of(config: &Config, applied: &Applied) -> Vec<Pool> {
    let index_of = |id: &Arc<str>| {
        let at = config
            .subscriptions
            .iter()
            .position(|subscription| subscription.id == *id)?;
        applied.subscriptions.get(at).copied()
    };
    let rows = config.pools.iter().zip(&applied.pools);
    let mut pools: Vec<Pool> = rows
        .map(|(pool, index)| {
            let providers = providers_of(config, pool);
            let passes_headers = |one: &Arc<ProviderConfig>| !one.pass_headers.is_empty();
            Pool {
                index: *index,
                config: pool.clone(),
                flavour: providers
                    .first()
                    .map_or(Flavour::Generic, |provider| provider.flavour),
                default_owner: pool.default_owner.as_ref().and_then(index_of),
                members: pool.subscriptions.iter().map(index_of).collect(),
                allowed: opened_by_all(&providers),
                limit_groups: limit_groups_of(&providers),
                aliases: aliases_of(pool),
                passes_headers: providers.iter().any(passes_headers),
            }
        })
        .collect();
    let own: Vec<bool> = pools.iter().map(|pool| pool.passes_headers).collect();
    for pool in &mut pools {
        let mut further = pool.config.fallback.iter();
        pool.passes_headers |= further.any(|at| own.get(*at) == Some(&true));
    }
    pools
}

/// By the provider's position in the configuration.
fn rules_of(config: &Config) -> Vec<Arc<Rules>> {
    let of = |provider: &Arc<ProviderConfig>| {
        let rules = config.rules.iter();
        let covering = rules.filter(|rule| rule.covers(&provider.id));
        Arc::new(covering.map(|rule| Arc::clone(&rule.rule)).collect())
    };
    config.providers.iter().map(of).collect()
}

fn providers_of(config: &Config, pool: &PoolConfig) -> Vec<Arc<ProviderConfig>> {
    let members = config
        .subscriptions
        .iter()
        .filter(|subscription| pool.subscriptions.contains(&subscription.id));
    let mut providers: Vec<Arc<ProviderConfig>> = Vec::new();
    for subscription in members {
        if !providers
            .iter()
            .any(|known| known.id == subscription.provider.id)
        {
            providers.push(Arc::clone(&subscription.provider));
        }
    }
    providers
}

fn limit_groups_of(providers: &[Arc<ProviderConfig>]) -> Vec<(LimitGroup, Vec<Glob>)> {
    let named = providers.iter().flat_map(|provider| &provider.limit_groups);
    named
        .map(|(name, globs)| (LimitGroup::new(name), globs.clone()))
        .collect()
}

fn aliases_of(pool: &PoolConfig) -> Vec<(Glob, Alias)> {
    let alias = |(asked, sent): &(Glob, Arc<str>)| {
        let alias = Alias {
            sent: Arc::clone(sent),
            written: serde_json::Value::from(&**sent).to_string().into(),
        };
        (asked.clone(), alias)
    };
    pool.model_aliases.iter().map(alias).collect()
}

/// A path goes to any subscription of the pool, so each provider must have opened it.
fn opened_by_all(providers: &[Arc<ProviderConfig>]) -> Vec<AllowedPath> {
    let Some((first, others)) = providers.split_first() else {
        return Vec::new();
    };
    let by_all = |path: &&AllowedPath| {
        others
            .iter()
            .all(|provider| provider.allow_paths.contains(path))
    };
    first.allow_paths.iter().filter(by_all).cloned().collect()
}
