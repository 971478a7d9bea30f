//! A JSON string as it passes: takes the escapes out, over pieces cut anywhere, up to a bound. Where the string
//! begins is the scanner's to know; broken escapes are kept as they can be: what we cannot read is still forwarded.

use memchr::memchr2;

/// One string, read from behind its opening quote.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    limit: usize,
    long: bool,
    escape: Escape,
    /// The first half of a surrogate pair, waiting for the second.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    Backslash,
    Unicode {
        digits: u8,
        unit: u16,
    },
}

impl Text {
    /// Starts anew; the buffer is kept.
    pub(super) fn begin(&mut self, limit: usize) {
        self.bytes.clear();
        self.limit = limit;
        self.long = false;
        self.escape = Escape::None;
        self.high = None;
    }

    /// The string without its escapes; `None`: over the limit.
    pub(super) fn get(&self) -> Option<&[u8]> {
        (!self.long).then_some(&*self.bytes)
    }

    /// Reads on. `Some`: how many bytes it took up to and with the closing quote; `None`: all, and it goes on.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        loop {
            match self.escape {
                Escape::None => {
                    let Some(at) = memchr2(b'"', b'\\', rest) else {
                        self.push(rest);
                        return None;
                    };
                    let (plain, tail) = rest.split_at_checked(at)?;
                    self.push(plain);
                    let (&byte, after) = tail.split_first()?;
                    rest = after;
                    if byte == b'"' {
                        self.flush_high();
                        return Some(bytes.len() - rest.len());
                    }
                    self.escape = Escape::Backslash;
                }
                Escape::Backslash | Escape::Unicode { .. } => {
                    let (&byte, after) = rest.split_first()?;
                    if self.escaped(byte) {
                        rest = after;
                    }
                }
            }
        }
    }

    /// One byte within an escape; `false`: it does not belong to it and is to be read again.
    fn escaped(&mut self, byte: u8) -> bool {
        match self.escape {
            Escape::Backslash if byte == b'u' => {
                self.escape = Escape::Unicode { digits: 0, unit: 0 };
            }
            Escape::Unicode { digits, unit } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    self.escape = Escape::None;
                    self.flush_high();
                    self.push_char(char::REPLACEMENT_CHARACTER);
                    return false;
                };
                let unit = (unit << 4) | u16::try_from(digit).unwrap_or(0);
                self.escape = Escape::Unicode {
                    digits: digits + 1,
                    unit,
                };
                if digits == 3 {
                    self.escape = Escape::None;
                    self.unit(unit);
                }
            }
            Escape::Backslash | Escape::None => {
                self.escape = Escape::None;
                let byte = match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                };
                self.push(&[byte]);
            }
        }
        true
    }

    fn unit(&mut self, unit: u16) {
        let pair = self.high.take().map(|high| [high, unit]);
        match (pair, unit) {
            (Some(pair), 0xdc00..=0xdfff) => {
                let decoded = char::decode_utf16(pair).next().and_then(Result::ok);
                self.push_char(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (other, _) => {
                if other.is_some() {
                    self.push_char(char::REPLACEMENT_CHARACTER);
                }
                match unit {
                    0xd800..=0xdbff => self.high = Some(unit),
                    _ => self.push_char(
                        char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
                    ),
                }
            }
        }
    }

    fn push_char(&mut self, char: char) {
        let mut buffer = [0; 4];
        let encoded = char.encode_utf8(&mut buffer).len();
        self.keep(buffer.get(..encoded).unwrap_or_default());
    }

    fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.flush_high();
            self.keep(bytes);
        }
    }

    /// A first half that found no second one.
    fn flush_high(&mut self) {
        if self.high.take().is_some() {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.long || self.bytes.len() + bytes.len() > self.limit {
            self.long = true;
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The string behind its opening quote, whole and byte by byte; `None`: over the limit.
    #[track_caller]
    fn check(json: &str, expected: Option<&str>) {
        let mut text = Text::default();
        text.begin(16);
        let end = json.len() - "tail".len();
        assert_eq!(text.feed(json.as_bytes()), Some(end), "{json}");
        assert_eq!(text.get(), expected.map(str::as_bytes), "{json}");
        text.begin(16);
        for (at, byte) in json.bytes().take(end).enumerate() {
            assert_eq!(text.feed(&[byte]), (at + 1 == end).then_some(1), "{json}");
        }
        assert_eq!(text.get(), expected.map(str::as_bytes), "{json}");
    }

    // K7: also by escapes
    #[test]
    fn escapes_are_taken_out() {
        check(r#"mod\u0065l"tail"#, Some("model"));
        check(r#"\"\\\/\b\f\n\r\t"tail"#, Some("\"\\/\u{8}\u{c}\n\r\t"));
        check(
            r#"\u00e9\uD83D\uDE00\ud800\udc00"tail"#,
            Some("é😀\u{10000}"),
        );
        check(r#""tail"#, Some(""));
    }

    // F1: what we cannot read is still forwarded
    #[test]
    fn broken_escapes_become_what_parsers_make_of_them() {
        check(r#"\ud83d"tail"#, Some("\u{fffd}"));
        check(r#"\ud83dx"tail"#, Some("\u{fffd}x"));
        check(r#"\ud83d\n"tail"#, Some("\u{fffd}\n"));
        check(r#"\ud83d\ud83d\ude00"tail"#, Some("\u{fffd}😀"));
        check(r#"\ude00"tail"#, Some("\u{fffd}"));
        check(r#"\ud83d\u12"tail"#, Some("\u{fffd}\u{fffd}"));
        check(r#"\u12x\q"tail"#, Some("\u{fffd}xq"));
    }

    // STYLE, hot path: parsers bounded
    #[test]
    fn a_string_over_its_limit_is_not_kept() {
        check(r#"0123456789abcdef"tail"#, Some("0123456789abcdef"));
        check(r#"0123456789abcdefg"tail"#, None);
        check(r#"0123456789abcde\u00e9"tail"#, None);
        check(r#"0123456789abcdef\u0000"tail"#, None);
    }
}
