//! The composition root: builds everything from a configuration, wires it, starts the data threads, reloads, drains.
//! The caller's runtime is the control runtime: the keeper, the sinks and the admin listener live on it.

mod data;
mod error;
mod hub;
mod layout;
mod listen;
pub mod process;

use std::hash::RandomState;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::data::DataThread;
pub use self::error::StartError;
use self::hub::Hub;
use self::listen::{addresses, bind_admin, bind_all};
use crate::admin::Admin;
use crate::balancer::Balancer;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, ProviderConfig, ServerTls};
use crate::core::pools::Applied;
use crate::metrics::{Metrics, Readings};
use crate::proxy::table::{Reach, Routing, Table};
use crate::proxy::{BodyMemory, Proxy, Share};
use crate::records::{Names, Records, Sink};
use crate::server::{self, Limits, SharedTls};
use crate::tasks::Tasks;
use crate::upstream::{self, ConnectionCounts, Endpoint};

/// Records that a data thread may be ahead of the sinks.
const RING: usize = 16 * 1024;
const PUMP: Duration = Duration::from_millis(20);

/// A running authpool. Dropping it cancels everything without a drain.
pub struct App {
    config: Config,
    state: RandomState,
    clock: Clock,
    balancer: Balancer,
    hub: Hub,
    names: Arc<Names>,
    clients: Arc<Clients>,
    threads: Vec<Thread>,
    tls: Option<SharedTls>,
    admin: Option<SocketAddr>,
    data: Vec<SocketAddr>,
    ready: Arc<AtomicBool>,
    stop: CancellationToken,
    deadline: CancellationToken,
    providers: Arc<ArcSwap<Vec<Provider>>>,
}

/// One data thread as the control side sees it.
struct Thread {
    table: Arc<ArcSwap<Table>>,
    upstream: Tasks,
    join: Option<JoinHandle<()>>,
}

/// What is kept of a provider between reloads.
#[derive(Clone)]
struct Provider {
    config: Arc<ProviderConfig>,
    counts: Arc<ConnectionCounts>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Whether the certificates and roots that a configuration names can be used, without opening anything.
///
/// # Errors
/// A key that does not fit its certificate, or roots that are none.
pub fn check(config: &Config) -> Result<(), StartError> {
    providers(config, &[])?;
    config.server.tls.as_ref().map(server_tls).transpose()?;
    Ok(())
}

impl App {
    /// Starts everything. Must be called on the control runtime. `sinks` are shown every record.
    ///
    /// # Errors
    /// An occupied port, an unusable certificate, no threads.
    pub fn start(config: Config, mut sinks: Vec<Box<dyn Sink>>) -> Result<Self, StartError> {
        let clock = Clock::new();
        let state = RandomState::new();
        let providers = providers(&config, &[])?;
        let tls = config.server.tls.as_ref().map(server_tls).transpose()?;
        let tls = tls.map(|tls| Arc::new(ArcSwap::from_pointee(tls)));
        let listeners = bind_all(&config)?;
        let admin = bind_admin(&config)?;
        let data = listeners
            .first()
            .map(|first| addresses(first))
            .unwrap_or_default();

        let events = Records::new(RING);
        let (balancer, applied) =
            Balancer::new(&layout::layout(&config, &state), clock, events.clone());
        let clients = Arc::new(Clients::new(&config.clients, clock));
        let names = layout::names(&config, &applied, &Names::default());
        let metrics = Metrics::new()?;
        sinks.push(Box::new(metrics.sink()));
        let rings: Vec<Records> = listeners.iter().map(|_| Records::new(RING)).collect();
        let all = std::iter::once(events)
            .chain(rings.iter().cloned())
            .collect();
        let names = Arc::new(names);
        let hub = Hub::new(all, Arc::clone(&names), sinks);

        let mut app = Self {
            state,
            clock,
            balancer,
            hub,
            names,
            clients,
            threads: Vec::new(),
            tls,
            admin: admin
                .as_ref()
                .and_then(|listener| listener.local_addr().ok()),
            data,
            ready: Arc::new(AtomicBool::new(false)),
            stop: CancellationToken::new(),
            deadline: CancellationToken::new(),
            providers: Arc::new(ArcSwap::from_pointee(providers)),
            config,
        };
        app.start_threads(listeners, rings, &applied)?;
        app.start_control(admin, metrics);
        app.ready.store(true, Ordering::Release);
        Ok(app)
    }

    /// Where clients are served.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.data
    }

    /// Where metrics and health are served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// O2: takes a new configuration. Requests under way keep what they took. What cannot change while running
    /// (listeners, workers, memory, sessions) keeps its old value; those keys are returned.
    ///
    /// # Errors
    /// Certificates that cannot be used: everything stays as it was.
    pub fn reload(&mut self, config: Config) -> Result<Vec<&'static str>, StartError> {
        let providers = providers(&config, &self.providers.load())?;
        let tls = config.server.tls.as_ref().map(server_tls).transpose()?;
        let fixed = needs_restart(&self.config, &config);
        if let (Some(shared), Some(tls)) = (&self.tls, tls) {
            shared.store(Arc::new(tls));
        }
        let applied = self.balancer.apply(&layout::layout(&config, &self.state));
        self.clients = Arc::new(self.clients.reloaded(&config.clients));
        self.names = Arc::new(layout::names(&config, &applied, &self.names));
        self.hub.rename(Arc::clone(&self.names));
        self.providers.store(Arc::new(providers));
        let routing = Arc::new(Routing::new(&config, &applied, Arc::clone(&self.clients)));
        for thread in &self.threads {
            let before = thread.table.load_full();
            thread.table.store(Arc::new(self.table(
                &routing,
                &thread.upstream,
                Some(&before),
            )));
        }
        self.config = config;
        Ok(fixed)
    }

    /// O8: stops accepting, waits for what is under way until `server.drain` is over, then ends streams with the
    /// dialect's error event. Everything is told before it returns.
    pub async fn drain(mut self) {
        self.ready.store(false, Ordering::Release);
        self.stop.cancel();
        let deadline = self.deadline.clone();
        let limit = self.config.server.drain;
        let joins: Vec<JoinHandle<()>> = self
            .threads
            .iter_mut()
            .filter_map(|thread| thread.join.take())
            .collect();
        let joined = tokio::task::spawn_blocking(move || {
            for join in joins {
                // A data thread that panicked has nothing left to wait for.
                let _ = join.join();
            }
        });
        tokio::pin!(joined);
        tokio::select! {
            _ = &mut joined => {}
            () = tokio::time::sleep(limit) => {
                deadline.cancel();
                let _ = joined.await;
            }
        }
        self.hub.pump();
    }

    fn start_threads(
        &mut self,
        listeners: Vec<Vec<TcpListener>>,
        rings: Vec<Records>,
        applied: &Applied,
    ) -> Result<(), StartError> {
        let routing = Arc::new(Routing::new(
            &self.config,
            applied,
            Arc::clone(&self.clients),
        ));
        let memory = BodyMemory::new(self.config.server.body_memory);
        let permits = usize::try_from(self.config.server.max_connections.get())
            .unwrap_or(Semaphore::MAX_PERMITS);
        let limits = Limits::new(Arc::new(Semaphore::new(permits)));
        for (number, (listeners, records)) in listeners.into_iter().zip(rings).enumerate() {
            let upstream = Tasks::new();
            let table = Arc::new(ArcSwap::from_pointee(self.table(&routing, &upstream, None)));
            let served = Tasks::new();
            let proxy = Proxy::new(Share {
                table: Arc::clone(&table),
                balancer: self.balancer.clone(),
                clock: self.clock,
                records,
                memory: memory.clone(),
                tasks: served.clone(),
                deadline: self.deadline.clone(),
            });
            let thread = DataThread {
                name: format!("data-{number}"),
                listeners,
                tls: self.tls.clone(),
                proxy,
                limits: limits.clone(),
                stop: self.stop.clone(),
                deadline: self.deadline.clone(),
                served,
            };
            let join = thread.start().map_err(StartError::Thread)?;
            self.threads.push(Thread {
                table,
                upstream,
                join: Some(join),
            });
        }
        Ok(())
    }

    fn start_control(&self, admin: Option<TcpListener>, metrics: Metrics) {
        let tasks = Tasks::new();
        tasks.spawn(self.balancer.keep());
        let hub = self.hub.clone();
        tasks.spawn(async move {
            let mut interval = tokio::time::interval(PUMP);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                hub.pump();
            }
        });
        if let Some(listener) = admin {
            let limits = Limits::new(Arc::new(Semaphore::new(256)));
            let admin = Admin::new(Arc::clone(&self.ready), self.scrape(metrics));
            // Not by `stop`: readiness is asked for, and metrics are scraped, until the very end.
            let end = CancellationToken::new();
            tasks.spawn(server::serve(
                listener,
                None,
                admin,
                limits,
                end,
                tasks.clone(),
            ));
        }
    }

    fn scrape(&self, metrics: Metrics) -> Arc<dyn Fn() -> Option<String> + Send + Sync> {
        let (hub, balancer, providers) = (
            self.hub.clone(),
            self.balancer.clone(),
            Arc::clone(&self.providers),
        );
        Arc::new(move || {
            hub.pump();
            let connections = providers
                .load()
                .iter()
                .map(|provider| {
                    let counts = &provider.counts;
                    (
                        Arc::clone(&provider.config.id),
                        counts.idle.load(Ordering::Relaxed),
                        counts.active.load(Ordering::Relaxed),
                    )
                })
                .collect();
            let readings = Readings {
                connections,
                dropped: hub.dropped(),
            };
            metrics.render(&balancer.snapshot(), &readings).ok()
        })
    }

    /// A thread's table; an endpoint of an unchanged provider lives on, with its connections.
    fn table(&self, routing: &Arc<Routing>, tasks: &Tasks, before: Option<&Table>) -> Table {
        let endpoints = self
            .providers
            .load()
            .iter()
            .map(|provider| {
                let mut kept = before.into_iter().flat_map(|table| &table.endpoints);
                kept.find(|reach| Arc::ptr_eq(&reach.provider, &provider.config))
                    .cloned()
                    .unwrap_or_else(|| {
                        let counts = Arc::clone(&provider.counts);
                        let tls = provider.tls.clone();
                        let endpoint =
                            Endpoint::new(&provider.config, self.clock, tasks.clone(), counts, tls);
                        Reach {
                            provider: Arc::clone(&provider.config),
                            endpoint,
                        }
                    })
            })
            .collect();
        Table {
            routing: Arc::clone(routing),
            endpoints,
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.cancel();
        self.deadline.cancel();
    }
}

/// Everything needed to connect to each provider, checked; what did not change is taken over.
fn providers(config: &Config, before: &[Provider]) -> Result<Vec<Provider>, StartError> {
    let one = |provider: &Arc<ProviderConfig>| {
        if let Some(kept) = before.iter().find(|kept| kept.config == *provider) {
            return Ok(kept.clone());
        }
        let tls = upstream::client_tls(provider).map_err(|source| StartError::ProviderTls {
            id: Arc::clone(&provider.id),
            source,
        })?;
        Ok(Provider {
            config: Arc::clone(provider),
            counts: Arc::default(),
            tls,
        })
    };
    config.providers.iter().map(one).collect()
}

fn server_tls(tls: &ServerTls) -> Result<rustls::ServerConfig, StartError> {
    server::server_tls(tls.cert.content.expose(), tls.key.content.expose())
        .map_err(StartError::ServerTls)
}

/// Keys whose change has no effect before a restart.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (before, after) = (&old.server, &new.server);
    let mut keys = Vec::new();
    let mut check = |same: bool, key| {
        if !same {
            keys.push(key);
        }
    };
    check(before.listen == after.listen, "server.listen");
    check(before.tls.is_some() == after.tls.is_some(), "server.tls");
    check(before.workers == after.workers, "server.workers");
    check(
        before.body_memory == after.body_memory,
        "server.body_memory",
    );
    check(
        before.max_connections == after.max_connections,
        "server.max_connections",
    );
    check(before.log == after.log, "server.log");
    check(old.sessions == new.sessions, "sessions.max");
    check(
        old.admin.as_ref().map(|admin| admin.listen)
            == new.admin.as_ref().map(|admin| admin.listen),
        "admin.listen",
    );
    keys
}
