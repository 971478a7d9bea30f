//! Who calls: clients found by their key, and what each may use, how often and how much at once. What a refusal
//! looks like is the proxy's. Keeps K1 (keys are known by a keyed digest only) and K2: of the limits that are asked
//! together, before the body is read, one that refuses costs nothing of the other.

mod tokens;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::{ClientConfig, ClientKey, Glob};
use crate::core::id::ClientIndex;
use crate::core::pools::Priority;
use crate::core::time::Timestamp;

pub use self::tokens::Taken;
use self::tokens::Tokens;

/// All clients of one configuration.
#[derive(Clone)]
pub struct Clients {
    /// HMAC under a pepper that this process drew: where a search stops tells nothing about a key.
    keyed: Hmac<Sha256>,
    /// In the order of the tags.
    by_tag: Vec<(Tag, Arc<Client>)>,
    clock: Clock,
}

/// The keyed digest of a key's digest; the latter, so that a key may stand in the file as its SHA-256.
type Tag = [u8; 32];

impl Clients {
    /// Clients with nothing in flight and full limits, under a new pepper.
    pub fn new(configs: &[ClientConfig], clock: Clock) -> Self {
        // Random enough for a key as wide as SHA-256's block: four times 122 bits.
        let mut pepper = [0; 64];
        for part in pepper.chunks_exact_mut(16) {
            part.copy_from_slice(Uuid::new_v4().as_bytes());
        }
        let nobody = Self {
            keyed: Hmac::new(&pepper.into()),
            by_tag: Vec::new(),
            clock,
        };
        nobody.reloaded(configs)
    }

    /// The clients of another configuration. What a client of the same id has in flight goes on counting, and its
    /// requests and tokens per minute do where their limit is the same.
    pub fn reloaded(&self, configs: &[ClientConfig]) -> Self {
        let before: HashMap<&str, &Arc<Client>> = self
            .by_tag
            .iter()
            .map(|(_, client)| (&*client.id, client))
            .collect();
        let mut by_tag: Vec<(Tag, Arc<Client>)> = configs
            .iter()
            .enumerate()
            .map(|(place, config)| {
                let digest = match &config.key {
                    ClientKey::Plain(key) => Sha256::digest(key.expose()).into(),
                    ClientKey::Sha256(digest) => *digest,
                };
                let before = before.get(&*config.id).copied();
                let index = u16::try_from(place).map_or(ClientIndex::NOBODY, ClientIndex);
                let client = Client::new(config, index, before, self.clock);
                (self.tag(&digest), Arc::new(client))
            })
            .collect();
        by_tag.sort_unstable_by_key(|(tag, _)| *tag);
        Self {
            keyed: self.keyed.clone(),
            by_tag,
            clock: self.clock,
        }
    }

    /// Whether no client is configured, so that no key is asked for.
    pub fn is_open(&self) -> bool {
        self.by_tag.is_empty()
    }

    /// The client that has this key.
    pub fn find(&self, key: &[u8]) -> Option<Arc<Client>> {
        let tag = self.tag(&Sha256::digest(key).into());
        let from = self.by_tag.partition_point(|(other, _)| *other < tag);
        let (found, client) = self.by_tag.get(from)?;
        bool::from(found.ct_eq(&tag)).then(|| Arc::clone(client))
    }

    fn tag(&self, digest: &[u8; 32]) -> Tag {
        let mut keyed = self.keyed.clone();
        keyed.update(digest);
        keyed.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clients({})", self.by_tag.len())
    }
}

/// An authenticated caller. Holds nothing of its key.
pub struct Client {
    /// Its id.
    pub id: Arc<str>,
    /// Whose sessions and handles its requests see: its tenant, else itself.
    pub owner: Arc<str>,
    /// Its place in the file.
    pub index: ClientIndex,
    /// Its class in the waiting room, unless a request asks for a lower one.
    pub priority: Priority,
    /// Whether its requests may name their subscription.
    pub may_pin: bool,
    pools: Vec<Glob>,
    models: Vec<Glob>,
    requests_per_minute: Option<NonZeroU32>,
    max_in_flight: Option<NonZeroU32>,
    limiter: Option<Arc<Limiter>>,
    tokens: Option<Arc<Tokens>>,
    in_flight: Arc<InFlight>,
    clock: Clock,
}

/// Why a client may not go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientLimited {
    /// Its requests per minute are used up.
    #[error("the client has no requests left for now")]
    Requests {
        /// Until the next one, if it sends none in between; never zero.
        wait: Duration,
    },
    /// It has as many requests at once as it may.
    #[error("the client has too many requests at once")]
    Concurrency,
}

impl Client {
    fn new(
        config: &ClientConfig,
        index: ClientIndex,
        before: Option<&Arc<Self>>,
        clock: Clock,
    ) -> Self {
        let limiter = match before {
            Some(before) if before.requests_per_minute == config.requests_per_minute => {
                before.limiter.clone()
            }
            _ => config.requests_per_minute.map(|limit| {
                let quota = Quota::per_minute(limit);
                Arc::new(Limiter::direct_with_clock(quota, OwnClock(clock)))
            }),
        };
        let tokens = config.tokens_per_minute.map(|limit| {
            let before = before.and_then(|before| before.tokens.as_ref());
            match before.filter(|before| before.per_minute() == limit) {
                Some(before) => Arc::clone(before),
                None => Arc::new(Tokens::new(limit, clock)),
            }
        });
        Self {
            id: Arc::clone(&config.id),
            owner: Arc::clone(config.tenant.as_ref().unwrap_or(&config.id)),
            index,
            priority: config.priority,
            may_pin: config.may_pin,
            pools: config.pools.clone(),
            models: config.models.clone(),
            requests_per_minute: config.requests_per_minute,
            max_in_flight: config.max_in_flight,
            limiter,
            tokens,
            in_flight: before
                .map(|before| Arc::clone(&before.in_flight))
                .unwrap_or_default(),
            clock,
        }
    }

    /// Takes one request of the minute and one place at once, both or neither.
    ///
    /// # Errors
    /// Which of the two is used up; the places are asked first.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, ClientLimited> {
        // One guard over both, so that neither is taken, not even for a moment, where the other refuses.
        let mut in_flight = self.in_flight.lock();
        if self
            .max_in_flight
            .is_some_and(|most| most.get() <= *in_flight)
        {
            return Err(ClientLimited::Concurrency);
        }
        if let Some(limiter) = &self.limiter
            && let Err(until) = limiter.check()
        {
            let wait = until.wait_time_from(Moment::from(self.clock.now()));
            return Err(ClientLimited::Requests {
                wait: whole_micros(wait),
            });
        }
        *in_flight = in_flight.saturating_add(1);
        drop(in_flight);
        Ok(Permit(Arc::clone(&self.in_flight)))
    }

    /// Takes what a request may come to from its tokens per minute. `None`: they are not limited.
    ///
    /// # Errors
    /// There are not as many, and how long until there are; never zero.
    pub fn take_tokens(&self, tokens: u64) -> Result<Option<Taken>, Duration> {
        match &self.tokens {
            Some(bucket) => bucket.take(tokens).map(Some),
            None => Ok(None),
        }
    }

    /// Its requests that are under way.
    pub fn in_flight(&self) -> u32 {
        *self.in_flight.lock()
    }

    /// Whether it may use the pool of this id.
    pub fn may_use_pool(&self, pool: &str) -> bool {
        self.pools.iter().any(|glob| glob.matches(pool))
    }

    /// Whether it may use the model of this name.
    pub fn may_use_model(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob.matches(model))
    }

    /// Whether there are models that it may not use, so that a metered request must name one.
    pub fn restricts_models(&self) -> bool {
        !self.models.iter().any(Glob::matches_all)
    }
}

/// Rounded up and at least 1: our clock tells no smaller steps, so less would be too early.
fn whole_micros(wait: Duration) -> Duration {
    let micros = wait.as_nanos().div_ceil(1000).max(1);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client({})", self.id)
    }
}

/// How many requests of a client are under way.
#[derive(Debug, Default)]
struct InFlight(Mutex<u32>);

impl InFlight {
    /// A count is whole at any moment, so a poisoned guard is entered.
    fn lock(&self) -> MutexGuard<'_, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of a client's requests at once. Dropping it gives the place back.
#[derive(Debug)]
pub struct Permit(Arc<InFlight>);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_flight = self.0.lock();
        *in_flight = in_flight.saturating_sub(1);
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, OwnClock, NoOpMiddleware<Moment>>;

/// Our clock as governor reads it: its own ignores paused time.
#[derive(Clone, Debug)]
struct OwnClock(Clock);

impl governor::clock::Clock for OwnClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment::from(self.0.now())
    }
}

/// A [`Timestamp`] in nanoseconds, good until the year 2554.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(u64);

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self(at.as_micros().saturating_mul(1000))
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0.saturating_add(nanos.as_u64()))
    }
}

impl governor::clock::Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.as_u64()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;
    use tokio::time::advance;

    use super::*;
    use crate::secret::Secret;

    fn config(id: &str) -> ClientConfig {
        ClientConfig {
            id: id.into(),
            key: ClientKey::Plain(Secret::new(key(id))),
            tenant: None,
            pools: vec![Glob("*".into())],
            models: vec![Glob("*".into())],
            requests_per_minute: None,
            tokens_per_minute: None,
            max_in_flight: None,
            priority: Priority::Normal,
            may_pin: false,
        }
    }

    fn key(id: &str) -> Vec<u8> {
        format!("a-key-long-enough-for-{id}").into_bytes()
    }

    fn limited(requests: Option<u32>, at_once: Option<u32>) -> ClientConfig {
        ClientConfig {
            requests_per_minute: requests.and_then(NonZeroU32::new),
            max_in_flight: at_once.and_then(NonZeroU32::new),
            ..config("a")
        }
    }

    fn only(config: ClientConfig) -> Arc<Client> {
        find_a(&Clients::new(&[config], Clock::new()))
    }

    fn find_a(clients: &Clients) -> Arc<Client> {
        clients.find(&key("a")).unwrap()
    }

    #[tokio::test]
    async fn a_client_is_found_by_its_key_alone() {
        // K1
        let ids: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
        let configs: Vec<ClientConfig> = ids.iter().map(|id| config(id)).collect();
        let clients = Clients::new(&configs, Clock::new());
        assert!(!clients.is_open());
        for id in &ids {
            assert_eq!(*clients.find(&key(id)).unwrap().id, **id);
            let mut near = key(id);
            near.push(b'x');
            assert!(clients.find(&near).is_none());
            assert!(clients.find(id.as_bytes()).is_none());
        }
        assert!(clients.find(b"").is_none());
    }

    #[tokio::test]
    async fn a_key_given_as_its_digest_is_found_by_the_key_and_not_by_the_digest() {
        // K1
        let digest: [u8; 32] = Sha256::digest(key("a")).into();
        let config = ClientConfig {
            key: ClientKey::Sha256(digest),
            ..config("a")
        };
        let clients = Clients::new(&[config], Clock::new());
        assert!(clients.find(&key("a")).is_some());
        assert!(clients.find(&digest).is_none());
    }

    #[tokio::test]
    async fn without_clients_nobody_is_found_and_nobody_is_asked() {
        // K1
        let clients = Clients::new(&[], Clock::new());
        assert!(clients.is_open());
        assert!(clients.find(&key("a")).is_none());
    }

    #[tokio::test]
    async fn each_process_knows_a_key_by_another_tag() {
        // K1
        let clients = || Clients::new(&[config("a")], Clock::new());
        let tag = |clients: &Clients| clients.by_tag.first().map(|(tag, _)| *tag);
        assert_ne!(tag(&clients()), tag(&clients()));
    }

    #[tokio::test]
    async fn nothing_of_a_key_prints() {
        // K4
        let clients = Clients::new(&[config("a")], Clock::new());
        let shown = format!("{clients:?} {:?} {:?}", find_a(&clients), config("a"));
        assert!(!shown.contains("long-enough"), "{shown}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_holds_as_many_requests_as_the_limit_says_and_they_come_back_evenly() {
        // K2
        let client = only(limited(Some(6), None));
        for _ in 0..6 {
            client.admit().unwrap();
        }
        let wait = Duration::from_secs(10);
        assert_eq!(
            client.admit().unwrap_err(),
            ClientLimited::Requests { wait }
        );
        advance(Duration::from_secs(4)).await;
        let wait = Duration::from_secs(6);
        assert_eq!(
            client.admit().unwrap_err(),
            ClientLimited::Requests { wait }
        );
        advance(wait).await;
        client.admit().unwrap();
        assert!(client.admit().is_err());
    }

    /// Whatever the limit and the times between, waiting as told is enough and a microsecond less is not.
    async fn check_waits(limit: u32, pauses: Vec<u64>) -> Result<(), TestCaseError> {
        let client = only(limited(Some(limit), None));
        let start = client.clock.now();
        let mut admitted = 0_u64;
        for pause in pauses {
            advance(Duration::from_micros(pause)).await;
            while client.admit().is_ok() {
                admitted += 1;
            }
            let Err(ClientLimited::Requests { wait }) = client.admit() else {
                return Err(TestCaseError::fail("it has requests left"));
            };
            advance(wait - Duration::from_micros(1)).await;
            prop_assert!(client.admit().is_err());
            advance(Duration::from_micros(1)).await;
            prop_assert!(client.admit().is_ok());
            admitted += 1;
            let micros = u64::try_from(client.clock.now().since(start).as_micros()).unwrap();
            let most = u64::from(limit) + 1 + u64::from(limit) * micros / 60_000_000;
            prop_assert!(admitted <= most, "{admitted} of {most}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn waiting_as_told_is_enough_and_less_is_not(
            limit in 1_u32..200,
            pauses in prop::collection::vec(0_u64..90_000_000, 1..6),
        ) {
            // K2, F7
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(check_waits(limit, pauses))?;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_holds_its_place_until_dropped() {
        // K2
        let client = only(limited(None, Some(2)));
        let first = client.admit().unwrap();
        let _second = client.admit().unwrap();
        assert_eq!(client.admit().unwrap_err(), ClientLimited::Concurrency);
        assert_eq!(client.in_flight(), 2);
        drop(first);
        let _third = client.admit().unwrap();
        assert_eq!(client.admit().unwrap_err(), ClientLimited::Concurrency);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_one_limit_refuses_costs_nothing_of_the_other() {
        // K2
        let client = only(limited(Some(2), Some(1)));
        let first = client.admit().unwrap();
        for _ in 0..10 {
            assert_eq!(client.admit().unwrap_err(), ClientLimited::Concurrency);
        }
        drop(first);
        // The second of the minute is still there.
        drop(client.admit().unwrap());
        for _ in 0..10 {
            let limited = client.admit().unwrap_err();
            assert!(matches!(limited, ClientLimited::Requests { .. }));
        }
        assert_eq!(client.in_flight(), 0);
    }

    #[test]
    fn many_at_once_never_exceed_the_places() {
        // K2, C1
        let client = only(limited(Some(1000), Some(3)));
        let most = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if let Ok(permit) = client.admit() {
                            most.fetch_max(
                                client.in_flight(),
                                std::sync::atomic::Ordering::Relaxed,
                            );
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(client.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_live_through_a_reload_that_leaves_them_as_they_are() {
        // O2, K2
        let clients = Clients::new(&[limited(Some(2), Some(2))], Clock::new());
        let permit = find_a(&clients).admit().unwrap();
        let again = clients.reloaded(&[config("b"), limited(Some(2), Some(2))]);
        let client = find_a(&again);
        assert_eq!(client.in_flight(), 1);
        let _second = client.admit().unwrap();
        assert_eq!(client.admit().unwrap_err(), ClientLimited::Concurrency);
        drop(permit);
        let limited = client.admit().unwrap_err();
        assert!(matches!(limited, ClientLimited::Requests { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_per_minute_live_through_a_reload_that_leaves_them_as_they_are() {
        // O2, K2
        let limited = |tokens| ClientConfig {
            tokens_per_minute: NonZeroU32::new(tokens),
            ..config("a")
        };
        let clients = Clients::new(&[limited(600)], Clock::new());
        let taken = find_a(&clients).take_tokens(600).unwrap().unwrap();
        let again = clients.reloaded(&[config("b"), limited(600)]);
        assert!(find_a(&again).take_tokens(1).is_err());
        // What began before a reload is settled where it was taken.
        taken.settle(500);
        find_a(&again).take_tokens(100).unwrap();
        assert!(find_a(&again).take_tokens(1).is_err());
        let more = again.reloaded(&[limited(1200)]);
        find_a(&more).take_tokens(1200).unwrap();
        let none = more.reloaded(&[config("a")]);
        assert!(find_a(&none).take_tokens(u64::MAX).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_client_has_its_place_in_the_file_whatever_its_key() {
        // C5
        let configs: Vec<ClientConfig> = ["c", "a", "b"].map(config).into();
        let clients = Clients::new(&configs, Clock::new());
        for (place, id) in ["c", "a", "b"].into_iter().enumerate() {
            assert_eq!(clients.find(&key(id)).unwrap().index.at(), place);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_holds_at_once_and_what_is_in_flight_still_counts() {
        // O2, K2
        let clients = Clients::new(&[limited(Some(1), Some(5))], Clock::new());
        let _permit = find_a(&clients).admit().unwrap();
        let again = clients.reloaded(&[limited(Some(10), Some(2))]);
        let client = find_a(&again);
        let _second = client.admit().unwrap();
        assert_eq!(client.admit().unwrap_err(), ClientLimited::Concurrency);
    }

    #[tokio::test]
    async fn a_key_that_was_replaced_opens_nothing() {
        // O2, K1
        let clients = Clients::new(&[config("a")], Clock::new());
        let replaced = ClientConfig {
            key: ClientKey::Plain(Secret::new(key("new"))),
            ..config("a")
        };
        let again = clients.reloaded(&[replaced]);
        assert!(again.find(&key("a")).is_none());
        assert_eq!(*again.find(&key("new")).unwrap().id, *"a");
    }

    #[tokio::test]
    async fn pools_and_models_are_what_the_patterns_allow() {
        // K2
        let client = only(ClientConfig {
            pools: vec![Glob("team-*".into()), Glob("main".into())],
            models: vec![Glob("gpt-5*".into())],
            tenant: Some("t".into()),
            ..config("a")
        });
        assert!(client.may_use_pool("team-x") && client.may_use_pool("main"));
        assert!(!client.may_use_pool("mainly"));
        assert!(client.may_use_model("gpt-5-mini") && !client.may_use_model("gpt-4"));
        assert!(client.restricts_models());
        assert_eq!(*client.owner, *"t");
        let free = only(config("a"));
        assert!(!free.restricts_models());
        assert_eq!(*free.owner, *"a");
    }
}
