//! Rules of `[[subscription]]`: whose it is, its credential ready to send, its quota domain and that domain's
//! limits, and what it may serve.

use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use super::Rules;
use super::provider::Provider;
use crate::config::keys;
use crate::config::value::{Text, Value};
use crate::config::wire::Table;
use crate::config::{Glob, LimitConfig, SubscriptionConfig};
use crate::core::limit::reading::Dimension;
use crate::secret::Credential;

/// What a limit is per, in seconds.
const PERIODS: [(&str, u64); 4] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3600),
    ("day", 86_400),
];

impl Rules<'_> {
    pub(super) fn subscriptions(
        &self,
        tables: Vec<Table<'_, '_>>,
        providers: &[Provider],
    ) -> Vec<SubscriptionConfig> {
        /// Positions are 16 bits wide and never used twice within a process.
        const MOST: usize = 10_000;
        if let Some(beyond) = tables.get(MOST) {
            self.report(beyond.place(), format!("is beyond {MOST} subscriptions"));
        }
        let providers: HashMap<&str, &Provider> = providers
            .iter()
            .map(|provider| (&*provider.config.id, provider))
            .collect();
        let mut domains = HashMap::new();
        let tables = tables.into_iter();
        tables
            .filter_map(|table| self.subscription(table, &providers, &mut domains))
            .collect()
    }

    /// `domains`: where each was first named, by its lower case.
    fn subscription(
        &self,
        mut table: Table<'_, '_>,
        providers: &HashMap<&str, &Provider>,
        domains: &mut HashMap<String, Text>,
    ) -> Option<SubscriptionConfig> {
        let id = self.id(&mut table);
        let own = id.as_ref().map(|id| id.text.as_str());
        let provider = table.require("provider").and_then(|value| value.text());
        let provider = provider.and_then(|name| {
            self.refer(&self.providers, &name)?;
            // Not found where it is wrong itself, which is told there.
            providers.get(name.text.as_str()).copied()
        });
        let credential = self.credential(&mut table, provider);
        let domain = self.domain(&mut table, own, domains);
        let enabled = table.boolean("enabled", true);
        let priority = table.number("priority", -1000..=1000, 0);
        let max_in_flight = table
            .take("max_in_flight")
            .and_then(|value| value.number(1..=10_000));
        let models = self.globs_or_all(&mut table, "models");
        let denied = table.texts("deny_models");
        let deny_models: Vec<Glob> = denied.iter().filter_map(|text| self.glob(text)).collect();
        if let Some(all) = deny_models.iter().position(Glob::matches_all)
            && let Some(text) = denied.get(all)
        {
            self.report(
                &text.place,
                "denies all models: set enabled = false instead",
            );
        }
        let weight = table.number("weight", 1..=1000, 1);
        let limits = self.limits(&mut table);
        let id: Arc<str> = Arc::from(id?.text);
        Some(SubscriptionConfig {
            provider: Arc::clone(&provider?.config),
            credential: credential?,
            domain_named: domain.is_some(),
            domain: domain.map_or_else(|| Arc::clone(&id), Arc::from),
            id,
            enabled,
            priority,
            max_in_flight,
            models,
            deny_models,
            weight: NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN),
            limits,
        })
    }

    /// Each dimension once per time and set of models: of two, one would be forgotten.
    fn limits(&self, table: &mut Table<'_, '_>) -> Vec<LimitConfig> {
        /// More than any provider has, for its models one by one.
        const MOST: usize = 256;
        let items = table.take("limits").map(Value::items).unwrap_or_default();
        if let Some(beyond) = items.get(MOST) {
            beyond.fault(format!("is beyond {MOST} limits"));
        }
        let mut known = HashMap::new();
        let mut limits = Vec::new();
        for item in items {
            let Some(table) = item.table(keys::LIMIT) else {
                continue;
            };
            let place = table.place().clone();
            let Some(limit) = self.limit(table) else {
                continue;
            };
            let mut models: Vec<Box<str>> =
                limit.models.iter().map(|glob| glob.0.clone()).collect();
            if limit.models.iter().any(Glob::matches_all) {
                models.clear();
            }
            models.sort_unstable();
            models.dedup();
            let other = known.insert((limit.dimension, limit.per, models), place.clone());
            if let Some(other) = other {
                let other = self.faults.tell(&other);
                self.report(&place, format!("limits the same as {other}"));
            }
            limits.push(limit);
        }
        limits
    }

    fn limit(&self, mut table: Table<'_, '_>) -> Option<LimitConfig> {
        let word = |table: &mut Table<'_, '_>, key| table.require(key).and_then(Value::text);
        let dimension = word(&mut table, "dimension")
            .and_then(|text| self.one_of(&text, &Dimension::ALL, Dimension::name));
        let per =
            word(&mut table, "per").and_then(|text| self.one_of(&text, &PERIODS, |per| per.0));
        let limit = table
            .require("limit")
            .and_then(|value| value.number(1..=1_000_000_000_000))
            .and_then(NonZeroU64::new);
        let models = self.globs_or_all(&mut table, "models");
        Some(LimitConfig {
            dimension: dimension?,
            per: Duration::from_secs(per?.1),
            limit: limit?,
            models,
        })
    }

    fn credential(
        &self,
        table: &mut Table<'_, '_>,
        provider: Option<&Provider>,
    ) -> Option<Credential> {
        let value = table.require("credential")?;
        let (key, text) = self.reference(value, keys::CREDENTIAL)?;
        let referred = self.secret(key, text)?;
        let auth = &provider?.auth;
        let scheme = auth.scheme.as_deref();
        let credential = Credential::new(auth.header.clone(), scheme, &referred.secret);
        if let Err(invalid) = credential {
            self.report(&referred.place, format!("names a secret that {invalid}"));
        }
        credential.ok()
    }

    /// A domain's default name is its subscription's id, so another subscription's id would join the two unsaid.
    fn domain(
        &self,
        table: &mut Table<'_, '_>,
        own: Option<&str>,
        domains: &mut HashMap<String, Text>,
    ) -> Option<String> {
        let domain = table
            .text("domain")
            .and_then(|text| self.well_formed(text))?;
        if let Some(other) = self.subscriptions.ignoring_case(&domain.text)
            && own != Some(other.id.as_str())
        {
            self.report(
                &domain.place,
                format!(
                    "is the id of {}: give the domain a name of its own, in every subscription \
                     that is in it",
                    self.faults.tell(&other.place)
                ),
            );
        }
        let lower = domain.text.to_ascii_lowercase();
        let first = domains.entry(lower).or_insert_with(|| domain.clone());
        if first.text != domain.text {
            let first = self.faults.tell(&first.place);
            self.report(&domain.place, format!("differs from {first} in case only"));
        }
        Some(domain.text)
    }
}
