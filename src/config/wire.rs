//! The file as written: tables, their keys, and values of a shape, each with its place. Refuses unknown keys and
//! wrong shapes, and goes no further: what values may be is the rules'. Keeps K4: a value of the wrong shape is
//! never shown, since it may be a secret in the wrong place.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::fault::{Fault, Faults, Place, nearest, shown};
use super::word;

/// Every key of the file, by its table. What is not in here is refused.
pub mod keys {
    /// Of the file itself.
    pub const ROOT: &[&str] = &[
        "server",
        "admin",
        "provider",
        "subscription",
        "pool",
        "route",
        "client",
        "sessions",
    ];
    /// `[server]`.
    pub const SERVER: &[&str] = &[
        "listen",
        "tls",
        "workers",
        "drain",
        "body_limit",
        "body_memory",
        "max_connections",
        "expose",
        "log",
    ];
    /// `server.tls`.
    pub const TLS: &[&str] = &["cert", "key"];
    /// `server.log`.
    pub const LOG: &[&str] = &["level", "format"];
    /// `[admin]`.
    pub const ADMIN: &[&str] = &["listen"];
    /// `[[provider]]`.
    pub const PROVIDER: &[&str] = &[
        "id",
        "dialect",
        "flavour",
        "base_url",
        "auth",
        "ca",
        "roots",
        "insecure",
        "connect",
        "first_byte",
        "idle",
        "total",
        "keep_alive",
        "allow_paths",
        "pass_headers",
        "limit_groups",
    ];
    /// `provider.auth`.
    pub const AUTH: &[&str] = &["header", "scheme"];
    /// `provider.ca`.
    pub const CA: &[&str] = &["file"];
    /// `[[subscription]]`.
    pub const SUBSCRIPTION: &[&str] = &[
        "id",
        "provider",
        "credential",
        "domain",
        "enabled",
        "priority",
        "max_in_flight",
        "models",
        "deny_models",
    ];
    /// `subscription.credential`.
    pub const CREDENTIAL: &[&str] = &["env", "file"];
    /// `[[pool]]`.
    pub const POOL: &[&str] = &[
        "id",
        "subscriptions",
        "max_wait",
        "max_waiting",
        "max_attempts",
        "session_headers",
        "stick_wait",
        "default_owner",
    ];
    /// `[[route]]`.
    pub const ROUTE: &[&str] = &[
        "pool",
        "host",
        "path_prefix",
        "models",
        "clients",
        "resend_unknown",
    ];
    /// `[[client]]`.
    pub const CLIENT: &[&str] = &[
        "id",
        "key",
        "tenant",
        "pools",
        "models",
        "requests_per_minute",
        "max_in_flight",
    ];
    /// `client.key`.
    pub const KEY: &[&str] = &["env", "file", "sha256"];
    /// `[sessions]`.
    pub const SESSIONS: &[&str] = &["max"];
}

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
        message: format!("is not TOML: {}", shown(error.message())),
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
        Self::new(entries, place, keys::ROOT, faults)
    }

    fn new(entries: DeTable<'i>, place: Place, keys: &[&str], faults: &'f Faults) -> Self {
        let table = Self {
            faults,
            place,
            entries,
        };
        for key in table.entries.keys() {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                let hint = nearest(name, keys.iter().copied())
                    .map(|meant| format!(": perhaps `{meant}`?"))
                    .unwrap_or_default();
                let place = table.place_of(name, key.span());
                faults.report(&place, format!("is an unknown key{hint}"));
            }
        }
        table
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
        Some(Value {
            faults: self.faults,
            place: self.place_of(key.get_ref(), key.span()),
            value: value.into_inner(),
        })
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
        table.unwrap_or_else(|| Table {
            faults: self.faults,
            place: self.place_for(key),
            entries: DeTable::new(),
        })
    }

    /// The tables of `[[key]]`; none where the key is missing.
    pub(super) fn tables(&mut self, key: &str, keys: &[&str]) -> Vec<Table<'i, 'f>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        if matches!(value.value, DeValue::Table(_)) {
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
                let value = Value {
                    faults: self.faults,
                    place: place.clone(),
                    value: value.get_ref().clone(),
                };
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

/// A text and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) place: Place,
    pub(super) text: String,
}

/// A value of any shape and where it stands.
pub(super) struct Value<'i, 'f> {
    faults: &'f Faults,
    pub(super) place: Place,
    value: DeValue<'i>,
}

impl<'i, 'f> Value<'i, 'f> {
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.faults.report(&self.place, message);
    }

    /// A value of the wrong shape. Names its shape only.
    fn misshapen(&self, expected: &str) {
        self.fault(format!("must be {expected}, not {}", shape_of(&self.value)));
    }

    pub(super) fn text(self) -> Option<Text> {
        match self.value {
            DeValue::String(text) => Some(Text {
                place: self.place,
                text: text.into_owned(),
            }),
            _ => {
                self.misshapen("a text in quotes");
                None
            }
        }
    }

    /// Each text of an array; what is no text is reported and left out.
    pub(super) fn texts(self) -> Vec<Text> {
        let items = self.items().into_iter();
        items.filter_map(Value::text).collect()
    }

    /// As [`Value::texts`], but an empty array is a fault.
    pub(super) fn some_texts(self, when_empty: &str) -> Vec<Text> {
        if matches!(&self.value, DeValue::Array(items) if items.is_empty()) {
            self.fault(when_empty);
        }
        self.texts()
    }

    /// The items of an array, each with its index in its path.
    pub(super) fn items(self) -> Vec<Value<'i, 'f>> {
        match self.value {
            DeValue::Array(items) => {
                let item = |(index, item): (usize, Spanned<DeValue<'i>>)| Value {
                    faults: self.faults,
                    place: Place {
                        offset: item.span().start,
                        path: format!("{}[{index}]", self.place.path),
                    },
                    value: item.into_inner(),
                };
                items.into_iter().enumerate().map(item).collect()
            }
            _ => {
                self.misshapen("an array in brackets");
                Vec::new()
            }
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// A table in which only these keys may stand.
    pub(super) fn table(self, keys: &[&str]) -> Option<Table<'i, 'f>> {
        match self.value {
            DeValue::Table(entries) => Some(Table::new(entries, self.place, keys, self.faults)),
            _ => {
                self.misshapen("a table");
                None
            }
        }
    }

    /// A table in which any key may stand.
    pub(super) fn open_table(self) -> Option<Table<'i, 'f>> {
        let (faults, place) = (self.faults, self.place.clone());
        match self.value {
            DeValue::Table(entries) => Some(Table {
                faults,
                place,
                entries,
            }),
            _ => {
                self.misshapen("a table");
                None
            }
        }
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(value),
            _ => {
                self.misshapen("true or false");
                None
            }
        }
    }

    /// A whole number. `bounds` lie within `T`.
    pub(super) fn number<T: TryFrom<i64>>(self, bounds: RangeInclusive<i64>) -> Option<T> {
        let DeValue::Integer(integer) = &self.value else {
            self.misshapen("a whole number");
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            self.fault(format!(
                "must be between {} and {}",
                bounds.start(),
                bounds.end()
            ));
        }
        number.and_then(|number| T::try_from(number).ok())
    }

    pub(super) fn duration(self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let DeValue::String(text) = &self.value else {
            self.misshapen("a duration in quotes, such as \"30s\"");
            return None;
        };
        let Some(duration) = word::duration(text) else {
            self.fault("must be a duration such as \"1500ms\", \"30s\", \"5m\" or \"1h\"");
            return None;
        };
        if !bounds.contains(&duration) {
            let (least, most) = (bounds.start(), bounds.end());
            self.fault(format!(
                "must be between {} and {}",
                word::show_duration(*least),
                word::show_duration(*most)
            ));
            return None;
        }
        Some(duration)
    }

    /// A size in bytes.
    pub(super) fn size(self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let DeValue::String(text) = &self.value else {
            self.misshapen("a size in quotes, such as \"32MiB\"");
            return None;
        };
        let Some(size) = word::size(text) else {
            self.fault("must be a size such as \"64KiB\", \"32MiB\" or \"1GiB\"");
            return None;
        };
        if !bounds.contains(&size) {
            let (least, most) = (*bounds.start(), *bounds.end());
            self.fault(format!(
                "must be between {} and {}",
                word::show_size(least),
                word::show_size(most)
            ));
            return None;
        }
        Some(size)
    }
}

fn shape_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(DeString::Borrowed(_) | DeString::Owned(_)) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
