//! Rules of `[[client]]`: how its key is known, whose handles it shares, what it may use and how much. Keeps K1: a
//! key is long enough not to be guessed, and is one client's only.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Rules;
use crate::config::fault::Place;
use crate::config::keys;
use crate::config::value::Text;
use crate::config::wire::Table;
use crate::config::{ClientConfig, ClientKey};
use crate::core::pools::Priority;
use crate::secret::Secret;

/// The fewest characters of a key in the file (K1).
const SHORTEST: usize = 24;

impl Rules<'_> {
    pub(super) fn clients(&self, tables: Vec<Table<'_, '_>>) -> Vec<ClientConfig> {
        let mut tenants = Vec::new();
        let mut digests = HashMap::new();
        let tables = tables.into_iter();
        let clients: Vec<ClientConfig> = tables
            .filter_map(|table| self.client(table, &mut tenants, &mut digests))
            .collect();
        self.tenants_of_their_own(&clients, &tenants);
        clients
    }

    /// `tenants`: where each is named. `digests`: where each key is named.
    fn client(
        &self,
        mut table: Table<'_, '_>,
        tenants: &mut Vec<Text>,
        digests: &mut HashMap<[u8; 32], Place>,
    ) -> Option<ClientConfig> {
        let id = self.id(&mut table);
        let key = self.key(&mut table);
        let tenant = table.text("tenant").and_then(|text| self.well_formed(text));
        tenants.extend(tenant.clone());
        let pools = self.ids_or_all(&mut table, "pools", &self.pools);
        let models = self.globs_or_all(&mut table, "models");
        let mut limit = |key: &str, most: i64| {
            let limit = table.take(key).and_then(|value| value.number(1..=most));
            limit.and_then(NonZeroU32::new)
        };
        let requests_per_minute = limit("requests_per_minute", 1_000_000);
        let tokens_per_minute = limit("tokens_per_minute", 1_000_000_000);
        let max_in_flight = limit("max_in_flight", 10_000);
        let priority = table.text("priority");
        let priority = priority.and_then(|text| self.one_of(&text, &Priority::ALL, Priority::name));
        let may_pin = table.boolean("may_pin", false);
        let (id, (place, key)) = (id?, key?);
        self.key_of_its_own(&place, &key, digests);
        Some(ClientConfig {
            id: Arc::from(id.text),
            key,
            tenant: tenant.map(|tenant| Arc::from(tenant.text)),
            pools,
            models,
            requests_per_minute,
            tokens_per_minute,
            max_in_flight,
            priority: priority.unwrap_or_default(),
            may_pin,
        })
    }

    fn key(&self, table: &mut Table<'_, '_>) -> Option<(Place, ClientKey)> {
        let value = table.require("key")?;
        let (key, text) = self.reference(value, keys::KEY)?;
        if key == "sha256" {
            let digest = digest(&text.text);
            if digest.is_none() {
                self.report(&text.place, "must be 64 hexadecimal digits");
            }
            return Some((text.place, ClientKey::Sha256(digest?)));
        }
        let referred = self.secret(key, text)?;
        let visible = |secret: &Secret| secret.expose().iter().all(u8::is_ascii_graphic);
        if !visible(&referred.secret) {
            self.report(&referred.place, "names a key with blanks in it");
            return None;
        }
        if referred.secret.expose().len() < SHORTEST {
            self.report(
                &referred.place,
                format!("names a key of less than {SHORTEST} characters, which could be guessed"),
            );
            return None;
        }
        Some((referred.place, ClientKey::Plain(referred.secret)))
    }

    fn key_of_its_own(
        &self,
        place: &Place,
        key: &ClientKey,
        digests: &mut HashMap<[u8; 32], Place>,
    ) {
        let digest = match key {
            ClientKey::Plain(secret) => Sha256::digest(secret.expose()).into(),
            ClientKey::Sha256(digest) => *digest,
        };
        if let Some(other) = digests.get(&digest) {
            let other = self.faults.tell(other);
            self.report(place, format!("names the same key as {other}"));
        } else {
            digests.insert(digest, place.clone());
        }
    }

    /// Handles belong to a tenant, else to the client itself; so a tenant named after a client of another one
    /// would open that client's handles.
    fn tenants_of_their_own(&self, clients: &[ClientConfig], tenants: &[Text]) {
        let owners: HashMap<String, Option<&str>> = clients
            .iter()
            .map(|client| (client.id.to_ascii_lowercase(), client.tenant.as_deref()))
            .collect();
        for tenant in tenants {
            let Some(owner) = owners.get(&tenant.text.to_ascii_lowercase()) else {
                continue;
            };
            if owner.is_none_or(|owner| !owner.eq_ignore_ascii_case(&tenant.text)) {
                let other = self.clients.ignoring_case(&tenant.text);
                let other = other.map(|other| self.faults.tell(&other.place));
                self.report(
                    &tenant.place,
                    format!(
                        "is the id of {}, which is not of this tenant: give it a name of its own",
                        other.unwrap_or_default()
                    ),
                );
            }
        }
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut digest = [0; 32];
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            let value = char::from(digit).to_digit(16)?;
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(digest)
}
