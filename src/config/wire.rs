//! The file as written: tables and their keys, each with its place. Refuses unknown keys and goes no further: shapes
//! are `value`'s, and what values may be is the rules'.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeTable;

use super::fault::{Fault, Faults, Place, nearest, printable, shown};
use super::keys;
use super::value::{Text, Value};

/// Reads the text as TOML.
///
/// # Errors
/// All faults of the syntax, but at most 20 of them: one fault often brings others.
pub(super) fn parse<'i>(text: &'i str, faults: &Faults) -> Result<DeTable<'i>, Vec<Fault>> {
    const MOST: usize = 20;
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(root.into_inner());
    }
    let fault = |error: &toml::de::Error| Fault {
        file: None,
        line: faults.line(error.span().map_or(0, |span| span.start)),
        path: String::new(),
        message: format!("is not TOML: {}", printable(error.message())),
    };
    Err(errors.iter().take(MOST).map(fault).collect())
}

/// A table whose keys are taken one by one.
pub(super) struct Table<'i, 'f> {
    faults: &'f Faults,
    place: Place,
    entries: DeTable<'i>,
}

impl<'i, 'f> Table<'i, 'f> {
    /// The file's own table.
    pub(super) fn root(entries: DeTable<'i>, faults: &'f Faults) -> Self {
        let place = Place {
            offset: 0,
            path: String::new(),
        };
        Self::open(entries, place, faults).with_only(keys::ROOT)
    }

    /// A table in which any key may stand.
    pub(super) fn open(entries: DeTable<'i>, place: Place, faults: &'f Faults) -> Self {
        Self {
            faults,
            place,
            entries,
        }
    }

    /// Reports all but these keys.
    pub(super) fn with_only(self, keys: &[&str]) -> Self {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                let hint = nearest(name, keys.iter().copied());
                let place = self.place_of(name, key.span());
                self.faults
                    .report(&place, format!("is an unknown key{hint}"));
            }
        }
        self
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    fn place_of(&self, key: &str, span: Range<usize>) -> Place {
        let path = &self.place.path;
        let dot = if path.is_empty() { "" } else { "." };
        Place {
            offset: span.start,
            path: format!("{path}{dot}{}", shown(key)),
        }
    }

    /// Where a key that may be missing belongs.
    pub(super) fn place_for(&self, key: &str) -> Place {
        let dot = if self.place.path.is_empty() { "" } else { "." };
        Place {
            offset: self.place.offset,
            path: format!("{}{dot}{key}", self.place.path),
        }
    }

    /// The text of a key that is not taken yet, whatever else is wrong with the table.
    pub(super) fn peek(&self, key: &str) -> Option<Text> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(Text {
            place: self.place_of(key.get_ref(), key.span()),
            text: value.get_ref().as_str()?.to_owned(),
        })
    }

    /// Whether a key is there and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value of a key; `None` where it is missing.
    pub(super) fn take(&mut self, key: &str) -> Option<Value<'i, 'f>> {
        let (key, value) = self.entries.remove_entry(key)?;
        let place = self.place_of(key.get_ref(), key.span());
        Some(Value::new(value.into_inner(), place, self.faults))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&mut self, key: &str) -> Option<Value<'i, 'f>> {
        let value = self.take(key);
        if value.is_none() {
            self.faults.report(&self.place_for(key), "is missing");
        }
        value
    }

    /// The table of `[key]`; an empty one where it is missing or wrong.
    pub(super) fn child(&mut self, key: &str, keys: &[&str]) -> Table<'i, 'f> {
        let table = self.take(key).and_then(|value| value.table(keys));
        table.unwrap_or_else(|| Table::open(DeTable::new(), self.place_for(key), self.faults))
    }

    /// The tables of `[[key]]`; none where the key is missing.
    pub(super) fn tables(&mut self, key: &str, keys: &[&str]) -> Vec<Table<'i, 'f>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        if value.is_table() {
            value.fault(format!(
                "is written with two brackets, [[{key}]], since there may be several"
            ));
            return Vec::new();
        }
        let items = value.items().into_iter();
        items.filter_map(|item| item.table(keys)).collect()
    }

    /// Every key with its value, in the order of the file.
    pub(super) fn into_values(self) -> Vec<(Text, Value<'i, 'f>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let place = self.place_of(key.get_ref(), key.span());
                let value = Value::new(value.get_ref().clone(), place.clone(), self.faults);
                let text = key.get_ref().to_string();
                (key.span().start, Text { place, text }, value)
            })
            .collect();
        entries.sort_by_key(|(start, ..)| *start);
        let entries = entries.into_iter();
        entries.map(|(_, key, value)| (key, value)).collect()
    }

    /// A whole number within bounds; the default where it is missing or wrong.
    pub(super) fn number<T: TryFrom<i64> + Copy>(
        &mut self,
        key: &str,
        bounds: RangeInclusive<i64>,
        default: T,
    ) -> T {
        let value = self.take(key).and_then(|value| value.number(bounds));
        value.unwrap_or(default)
    }

    /// A duration within bounds; the default where it is missing or wrong.
    pub(super) fn duration(
        &mut self,
        key: &str,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let value = self.take(key).and_then(|value| value.duration(bounds));
        value.unwrap_or(default)
    }

    /// `true` or `false`; the default where it is missing or wrong.
    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        let value = self.take(key).and_then(Value::boolean);
        value.unwrap_or(default)
    }

    /// The text of a key; `None` where it is missing or wrong.
    pub(super) fn text(&mut self, key: &str) -> Option<Text> {
        self.take(key).and_then(Value::text)
    }

    /// Each text of an array; none where the key is missing.
    pub(super) fn texts(&mut self, key: &str) -> Vec<Text> {
        let value = self.take(key);
        value.map(Value::texts).unwrap_or_default()
    }
}
