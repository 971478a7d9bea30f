//! Rules of `[[rule]]` (D10): what answers of which providers mean. One that could never match, or that matches
//! whatever comes, is a fault; so is a wait after what nothing waits for.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::Rules;
use crate::config::fault::{nearest, shown};
use crate::config::value::{Text, Value};
use crate::config::wire::Table;
use crate::config::{RuleConfig, word};
use crate::core::limit::rules::{Pattern, Rule};
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Verdict};

/// What an answer can be compared by.
const CONDITIONS: [&str; 3] = ["status", "headers", "body"];
/// No wait beyond this is believed (D4).
const LONGEST: Duration = Duration::from_secs(35 * 86_400);
const ANY_OR_SOME: &str = "must name at least one; leave the key out for any";

impl Rules<'_> {
    pub(super) fn rules(&self, tables: Vec<Table<'_, '_>>) -> Vec<RuleConfig> {
        /// Each is asked of each answer that no earlier one decides.
        const MOST: usize = 256;
        if let Some(beyond) = tables.get(MOST) {
            self.report(beyond.place(), format!("is beyond {MOST} rules"));
        }
        let tables = tables.into_iter().enumerate();
        tables
            .filter_map(|(position, table)| self.rule(position, table))
            .collect()
    }

    fn rule(&self, position: usize, mut table: Table<'_, '_>) -> Option<RuleConfig> {
        if !CONDITIONS.iter().any(|key| table.has(key)) {
            let keys = CONDITIONS.join("`, `");
            self.report(
                table.place(),
                format!("must say which answers it is for, by at least one of `{keys}`"),
            );
        }
        let providers = self.ids_or_all(&mut table, "providers", &self.providers);
        let status = table.take("status");
        let status = status.map_or(Vec::new(), |value| self.statuses(value));
        let headers = table.take("headers");
        let headers = headers.map_or(Vec::new(), |value| self.conditions(value));
        let body = table.text("body").and_then(|text| {
            if !status.is_empty() && status.iter().all(|range| *range.end() < 400) {
                self.report(
                    &text.place,
                    "is compared with answers of 400 and above only, which `status` leaves out",
                );
            }
            self.pattern(&text)
        });
        let class = table.require("verdict").and_then(|value| value.text());
        let class = class.and_then(|text| self.class(&text));
        let scope = self.scope(&mut table);
        let wait = self.wait(&mut table, class);
        Some(RuleConfig {
            providers,
            rule: Arc::new(Rule {
                position,
                status,
                headers,
                body,
                verdict: Verdict {
                    class: class?,
                    scope,
                    wait,
                },
            }),
        })
    }

    fn statuses(&self, value: Value<'_, '_>) -> Vec<RangeInclusive<u16>> {
        if value.is_empty_array() {
            value.fault(ANY_OR_SOME);
        }
        let items = value.items().into_iter();
        items.filter_map(|item| self.status(item)).collect()
    }

    /// A number, or a class of them.
    fn status(&self, value: Value<'_, '_>) -> Option<RangeInclusive<u16>> {
        if value.is_number() {
            return value.number(200..=599).map(|status| status..=status);
        }
        let class = value.text()?;
        let range = match class.text.as_str() {
            "2xx" => 200..=299,
            "3xx" => 300..=399,
            "4xx" => 400..=499,
            "5xx" => 500..=599,
            _ => {
                self.report(
                    &class.place,
                    "must be a number such as 429, or one of \"2xx\", \"3xx\", \"4xx\", \"5xx\"",
                );
                return None;
            }
        };
        Some(range)
    }

    fn conditions(&self, value: Value<'_, '_>) -> Vec<(HeaderName, Pattern)> {
        let Some(table) = value.open_table() else {
            return Vec::new();
        };
        let place = table.place().clone();
        let lines = table.into_values();
        if lines.is_empty() {
            self.report(&place, ANY_OR_SOME);
        }
        let mut named: Vec<HeaderName> = Vec::new();
        let mut conditions = Vec::new();
        for (key, value) in lines {
            let name = HeaderName::from_bytes(key.text.as_bytes());
            let pattern = value.text().and_then(|text| self.pattern(&text));
            let Ok(name) = name else {
                self.report(&key.place, "is not the name of a header");
                continue;
            };
            if named.contains(&name) {
                self.report(&key.place, "is named twice, ignoring case");
            }
            named.push(name.clone());
            conditions.extend(pattern.map(|pattern| (name, pattern)));
        }
        conditions
    }

    fn pattern(&self, text: &Text) -> Option<Pattern> {
        let fits = word::is_text_pattern(&text.text);
        if !fits {
            self.report(
                &text.place,
                "must be a pattern of 1 to 1024 characters, none of them a control",
            );
        }
        fits.then(|| Pattern::new(&text.text))
    }

    fn class(&self, text: &Text) -> Option<Class> {
        let class = Class::parse(&text.text);
        if class.is_none() {
            let names = Class::ALL.map(Class::name);
            let hint = match nearest(&text.text, names.into_iter()) {
                none if none.is_empty() => format!(": there are `{}`", names.join("`, `")),
                hint => hint,
            };
            let name = shown(&text.text);
            self.report(&text.place, format!("`{name}` is no verdict{hint}"));
        }
        class
    }

    fn scope(&self, table: &mut Table<'_, '_>) -> Scope {
        let words = table.texts("scope");
        self.without_repetition(&words);
        words.iter().fold(Scope::NONE, |scope, text| {
            let word = Scope::parse(&text.text);
            if word.is_none() {
                let known: Vec<_> = Scope::ALL.words().collect();
                let name = shown(&text.text);
                let hint = nearest(&text.text, known.iter().copied());
                self.report(&text.place, format!("`{name}` is no word of a scope{hint}"));
            }
            scope | word.unwrap_or_default()
        })
    }

    fn wait(&self, table: &mut Table<'_, '_>, class: Option<Class>) -> Option<Duration> {
        let value = table.take("wait")?;
        if let Some(class) = class
            && !is_waited_for(class)
        {
            value.fault(format!(
                "has no effect: nothing waits after {}",
                class.name()
            ));
        }
        value.duration(Duration::ZERO..=LONGEST)
    }
}

/// Whether a stated duration changes anything (D4, C8 b).
fn is_waited_for(class: Class) -> bool {
    matches!(
        class,
        Class::RateLimited | Class::QuotaExhausted | Class::Overloaded
    )
}
