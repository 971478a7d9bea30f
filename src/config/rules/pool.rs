//! Rules of `[[pool]]`: its subscriptions speak one dialect; its waiting room and its tries are bounded. A
//! subscription may be in several pools or in none, where nothing uses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Rules;
use super::fallback::Fallback;
use crate::config::fault::Place;
use crate::config::value::Text;
use crate::config::wire::Table;
use crate::config::{LimitHeaders, PoolConfig, SubscriptionConfig, word};
use crate::core::choice::strategy::Strategy;
use crate::core::dialect::Dialect;

const HOUR: Duration = Duration::from_secs(3600);

impl Rules<'_> {
    /// Each with its place.
    pub(super) fn pools(
        &self,
        tables: Vec<Table<'_, '_>>,
        subscriptions: &[SubscriptionConfig],
    ) -> Vec<(Place, PoolConfig)> {
        /// As [`Rules::subscriptions`] bounds those.
        const MOST: usize = 1000;
        if let Some(beyond) = tables.get(MOST) {
            self.report(beyond.place(), format!("is beyond {MOST} pools"));
        }
        let dialects: HashMap<&str, Dialect> = subscriptions
            .iter()
            .map(|one| (&*one.id, one.provider.dialect))
            .collect();
        let mut fallbacks = Vec::new();
        let mut pools = Vec::new();
        for table in tables {
            let place = table.place().clone();
            if let Some((pool, fallback)) = self.pool(table, &dialects) {
                pools.push((place, pool));
                fallbacks.push(fallback);
            }
        }
        self.chains(&mut pools, &fallbacks);
        pools
    }

    /// `dialects`: by subscription.
    fn pool(
        &self,
        mut table: Table<'_, '_>,
        dialects: &HashMap<&str, Dialect>,
    ) -> Option<(PoolConfig, Fallback)> {
        let id = self.id(&mut table);
        let members = self.members(&mut table);
        let dialect = self.common_dialect(&members, dialects);
        let seconds = Duration::from_secs;
        let max_wait = table.duration("max_wait", Duration::ZERO..=HOUR, seconds(30));
        let max_waiting: u32 = table.number("max_waiting", 0..=1_000_000, 1000);
        let max_attempts = table.number("max_attempts", 1..=16, 2);
        let stick_wait = table.duration("stick_wait", Duration::ZERO..=HOUR, seconds(2));
        let names = table.texts("session_headers");
        self.without_repetition(&names);
        let session_headers = names
            .iter()
            .filter_map(|name| self.header(name, word::free_header))
            .collect();
        let default_owner = table.text("default_owner");
        if let Some(owner) = &default_owner
            && !members.iter().any(|member| member.text == owner.text)
        {
            self.report(&owner.place, "must be one of this pool's subscriptions");
        }
        let strategy = table.text("strategy");
        let strategy = strategy.and_then(|text| self.one_of(&text, &Strategy::ALL, Strategy::name));
        let fallback = self.fallback(&mut table, id.as_ref());
        let fallback_after = table.duration("fallback_after", Duration::ZERO..=HOUR, seconds(2));
        let model_aliases = self.model_aliases(&mut table);
        let limits = table.text("limit_headers");
        let limits =
            limits.and_then(|text| self.one_of(&text, &LimitHeaders::ALL, LimitHeaders::name));
        let pool = PoolConfig {
            id: Arc::from(id?.text),
            dialect: dialect?,
            subscriptions: members.iter().map(|one| Arc::from(&*one.text)).collect(),
            max_wait,
            max_waiting: usize::try_from(max_waiting).unwrap_or(usize::MAX),
            max_attempts,
            session_headers,
            stick_wait,
            default_owner: default_owner.map(|owner| Arc::from(owner.text)),
            strategy: strategy.unwrap_or_default(),
            fallback: Vec::new(),
            fallback_after,
            model_aliases,
            limit_headers: limits.unwrap_or_default(),
        };
        Some((pool, fallback))
    }

    /// The subscriptions that exist, each once.
    fn members(&self, table: &mut Table<'_, '_>) -> Vec<Text> {
        let Some(value) = table.require("subscriptions") else {
            return Vec::new();
        };
        let texts = value.some_texts("must name at least one");
        self.without_repetition(&texts);
        let exists = |text: &Text| self.refer(&self.subscriptions, text).is_some();
        texts.into_iter().filter(exists).collect()
    }

    /// The first one's; others that speak another are faults. `None`: none can be told.
    fn common_dialect(
        &self,
        members: &[Text],
        dialects: &HashMap<&str, Dialect>,
    ) -> Option<Dialect> {
        let mut common: Option<(&Text, Dialect)> = None;
        for member in members {
            let Some(&dialect) = dialects.get(member.text.as_str()) else {
                continue;
            };
            match common {
                None => common = Some((member, dialect)),
                Some((_, expected)) if expected == dialect => {}
                Some((first, expected)) => self.report(
                    &member.place,
                    format!(
                        "speaks {}, but {} speaks {}: a pool has one dialect",
                        dialect.name(),
                        self.faults.tell(&first.place),
                        expected.name()
                    ),
                ),
            }
        }
        common.map(|(_, dialect)| dialect)
    }
}
