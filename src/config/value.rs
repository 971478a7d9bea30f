//! Values of a shape, each with its place. Refuses wrong shapes and what is beyond stated bounds. Keeps K4: a value
//! of the wrong shape is never shown, since it may be a secret in the wrong place.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::fault::{Faults, Place};
use super::wire::Table;
use super::word;

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
    pub(super) fn new(value: DeValue<'i>, place: Place, faults: &'f Faults) -> Self {
        Self {
            faults,
            place,
            value,
        }
    }

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
        if self.is_empty_array() {
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

    pub(super) fn is_empty_array(&self) -> bool {
        matches!(&self.value, DeValue::Array(items) if items.is_empty())
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// A table in which only these keys may stand.
    pub(super) fn table(self, keys: &[&str]) -> Option<Table<'i, 'f>> {
        self.open_table().map(|table| table.with_only(keys))
    }

    /// A table in which any key may stand.
    pub(super) fn open_table(self) -> Option<Table<'i, 'f>> {
        match self.value {
            DeValue::Table(entries) => Some(Table::open(entries, self.place, self.faults)),
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
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
