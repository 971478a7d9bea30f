//! What of the file makes sense: from tables to [`Config`]. Every rule is asked, whatever else is wrong, so that an
//! operator mends all in one go; what is wrong is stood in for or left out, and a reference to it is no second
//! fault. The result counts only where no fault was reported.

mod client;
mod fallback;
mod pool;
mod provider;
mod route;
mod rule;
mod secret;
mod server;
mod subscription;

use std::collections::{HashMap, HashSet};

use toml::de::DeTable;

use super::fault::{Faults, Place, nearest, shown};
use super::keys;
use super::surroundings::Surroundings;
use super::value::Text;
use super::wire::Table;
use super::{Config, Glob, ReadingConfig, word};

/// Judges the whole file.
pub(super) fn lower(root: DeTable<'_>, faults: &Faults, surroundings: &dyn Surroundings) -> Config {
    let mut root = Table::root(root, faults);
    if !root.has("pool") {
        faults.report(
            &root.place_for("pool"),
            "is missing: without a [[pool]] there is nothing to serve",
        );
    }
    let providers = root.tables("provider", keys::PROVIDER);
    let subscriptions = root.tables("subscription", keys::SUBSCRIPTION);
    let pools = root.tables("pool", keys::POOL);
    let clients = root.tables("client", keys::CLIENT);
    let routes = root.tables("route", keys::ROUTE);
    let answers = root.tables("rule", keys::RULE);
    let rules = Rules {
        faults,
        surroundings,
        providers: Ids::collect("provider", &providers, faults),
        subscriptions: Ids::collect("subscription", &subscriptions, faults),
        pools: Ids::collect("pool", &pools, faults),
        clients: Ids::collect("client", &clients, faults),
    };
    let open = clients.is_empty();
    let server = rules.server(root.child("server", keys::SERVER), open);
    let admin = root.take("admin").and_then(|value| {
        let table = value.table(keys::ADMIN)?;
        rules.admin(table, &server.listen)
    });
    let sessions = rules.sessions(root.child("sessions", keys::SESSIONS));
    let providers = rules.providers(providers);
    let subscriptions = rules.subscriptions(subscriptions, &providers);
    let pools = rules.pools(pools, &subscriptions);
    Config {
        routes: rules.routes(routes, &pools),
        clients: rules.clients(clients),
        rules: rules.rules(answers),
        server,
        admin,
        providers: providers.into_iter().map(|one| one.config).collect(),
        subscriptions,
        pools: pools.into_iter().map(|(_, pool)| pool).collect(),
        sessions,
    }
}

/// Judges the providers and what is said of their answers; nothing else of the file is looked at.
pub(super) fn lower_reading(
    root: DeTable<'_>,
    faults: &Faults,
    surroundings: &dyn Surroundings,
) -> ReadingConfig {
    let mut root = Table::root(root, faults);
    let providers = root.tables("provider", keys::PROVIDER);
    let answers = root.tables("rule", keys::RULE);
    let rules = Rules {
        faults,
        surroundings,
        providers: Ids::collect("provider", &providers, faults),
        subscriptions: Ids::none("subscription"),
        pools: Ids::none("pool"),
        clients: Ids::none("client"),
    };
    let providers = rules.providers(providers).into_iter();
    ReadingConfig {
        providers: providers.map(|one| one.config).collect(),
        rules: rules.rules(answers),
    }
}

const ALL_OR_SOME: &str = "must name at least one; leave the key out for all";

/// What every rule needs.
struct Rules<'a> {
    faults: &'a Faults,
    surroundings: &'a dyn Surroundings,
    providers: Ids,
    subscriptions: Ids,
    pools: Ids,
    clients: Ids,
}

/// The ids of one kind of table, by their lower case, as far as they can be read: also of those that are wrong
/// otherwise.
struct Ids {
    kind: &'static str,
    known: HashMap<String, Known>,
}

/// One of them.
struct Known {
    position: usize,
    /// Of the table.
    place: Place,
    /// As written.
    id: String,
}

impl Ids {
    /// Where none is looked at.
    fn none(kind: &'static str) -> Self {
        Self {
            kind,
            known: HashMap::new(),
        }
    }

    /// Reports ids that are taken.
    fn collect(kind: &'static str, tables: &[Table<'_, '_>], faults: &Faults) -> Self {
        let mut known: HashMap<String, Known> = HashMap::new();
        for (position, table) in tables.iter().enumerate() {
            let Some(id) = table.peek("id") else {
                continue;
            };
            let lower = id.text.to_ascii_lowercase();
            if let Some(other) = known.get(&lower) {
                let other = faults.tell(&other.place);
                faults.report(
                    &id.place,
                    format!("is that of {other} as well, ignoring case"),
                );
            } else {
                let (place, id) = (table.place().clone(), id.text);
                let one = Known {
                    position,
                    place,
                    id,
                };
                known.insert(lower, one);
            }
        }
        Self { kind, known }
    }

    /// The position of the one with this id.
    fn position(&self, id: &str) -> Option<usize> {
        let known = self.ignoring_case(id)?;
        (known.id == id).then_some(known.position)
    }

    /// The one that has this id, ignoring case.
    fn ignoring_case(&self, id: &str) -> Option<&Known> {
        self.known.get(&id.to_ascii_lowercase())
    }
}

impl Rules<'_> {
    fn report(&self, place: &Place, message: impl Into<String>) {
        self.faults.report(place, message);
    }

    /// The table's own id.
    fn id(&self, table: &mut Table<'_, '_>) -> Option<Text> {
        let id = table.require("id").and_then(|value| value.text())?;
        self.well_formed(id)
    }

    /// A text of an id's form.
    fn well_formed(&self, id: Text) -> Option<Text> {
        if word::is_id(&id.text) {
            return Some(id);
        }
        self.report(&id.place, word::ID);
        None
    }

    /// The position of what a text refers to.
    fn refer(&self, ids: &Ids, text: &Text) -> Option<usize> {
        let position = ids.position(&text.text);
        if position.is_none() {
            let hint = nearest(&text.text, ids.known.values().map(|one| one.id.as_str()));
            let (kind, name) = (ids.kind, shown(&text.text));
            self.report(
                &text.place,
                format!("`{name}` is the id of no {kind}{hint}"),
            );
        }
        position
    }

    /// One of a closed list, by its name.
    fn one_of<T: Copy>(
        &self,
        text: &Text,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let found = all.iter().copied().find(|one| name(*one) == text.text);
        if found.is_none() {
            let mut names: Vec<String> =
                all.iter().map(|one| format!("{:?}", name(*one))).collect();
            let last = names.pop().unwrap_or_default();
            self.report(
                &text.place,
                format!("must be {} or {last}", names.join(", ")),
            );
        }
        found
    }

    /// The patterns of a key; `*` where it is missing. None at all would allow nothing, which is a fault.
    fn globs_or_all(&self, table: &mut Table<'_, '_>, key: &str) -> Vec<Glob> {
        self.patterns(table, key, |text| self.glob(text))
    }

    /// The same over ids: a pattern without a star must be the id of one.
    fn ids_or_all(&self, table: &mut Table<'_, '_>, key: &str, ids: &Ids) -> Vec<Glob> {
        self.patterns(table, key, |text| {
            let glob = self.glob(text)?;
            if glob.is_literal() {
                self.refer(ids, text)?;
            }
            Some(glob)
        })
    }

    fn patterns(
        &self,
        table: &mut Table<'_, '_>,
        key: &str,
        read: impl Fn(&Text) -> Option<Glob>,
    ) -> Vec<Glob> {
        match table.take(key) {
            Some(value) => {
                let texts = value.some_texts(ALL_OR_SOME);
                texts.iter().filter_map(read).collect()
            }
            None => vec![Glob("*".into())],
        }
    }

    fn glob(&self, text: &Text) -> Option<Glob> {
        let glob = word::glob(&text.text);
        if glob.is_none() {
            self.report(
                &text.place,
                "must be a pattern of 1 to 256 characters without blanks",
            );
        }
        glob
    }

    /// Each word once.
    fn without_repetition(&self, texts: &[Text]) {
        let mut seen = HashSet::new();
        for text in texts {
            if !seen.insert(&text.text) {
                self.report(&text.place, "is named twice");
            }
        }
    }
}
