//! Secrets in memory: never printable, compared in constant time, wiped on drop. What a secret may look like is
//! decided here, so that no line break reaches a header; where it comes from is the configuration's. Keeps K4.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that nothing prints. Compared in constant time, but for the length; wiped on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why bytes cannot be a credential or a key. Says nothing of the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// A line feed or carriage return within.
    #[error("has a line break in it")]
    LineBreak,
    /// Another control character.
    #[error("has a control character in it")]
    Control,
    /// Something beyond ASCII.
    #[error("has characters beyond ASCII in it")]
    NotAscii,
    /// A blank at either end, which no header would carry.
    #[error("begins or ends with a blank")]
    OuterBlank,
}

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Takes a variable's value over, as it is.
    pub fn from_variable(value: OsString) -> Self {
        Self::new(value.into_vec())
    }

    /// Takes a file's content over without the line breaks at its end.
    pub fn from_file(content: Vec<u8>) -> Self {
        let mut bytes = Zeroizing::new(content);
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        Self(bytes)
    }

    /// Reads to the end, at most `limit` bytes, and leaves no copy behind: nothing else buffers, and a buffer
    /// that was outgrown is wiped. `expected`: how many bytes there probably are.
    ///
    /// # Errors
    /// Those of the reader; `FileTooLarge` beyond the limit.
    pub fn read(mut reader: impl Read, expected: usize, limit: usize) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; expected.min(limit).saturating_add(1)]);
        let mut filled = 0;
        loop {
            let room = bytes.get_mut(filled..).unwrap_or_default();
            match reader.read(room) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if limit < filled {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if filled == bytes.len() {
                let mut larger = Zeroizing::new(vec![0; filled.saturating_mul(2)]);
                if let Some(start) = larger.get_mut(..filled) {
                    start.copy_from_slice(&bytes);
                }
                bytes = larger;
            }
        }
        bytes.truncate(filled);
        Ok(Self(bytes))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes in a plain vector, which nothing wipes: for one that takes them over at once.
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }

    /// Whether a header can carry it as it is.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self) -> Result<(), InvalidSecret> {
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if self.0.is_empty() {
            Err(InvalidSecret::Empty)
        } else if self.0.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            Err(InvalidSecret::LineBreak)
        } else if blank(self.0.first()) || blank(self.0.last()) {
            Err(InvalidSecret::OuterBlank)
        } else if self.0.iter().any(u8::is_ascii_control) {
            Err(InvalidSecret::Control)
        } else if !self.0.is_ascii() {
            Err(InvalidSecret::NotAscii)
        } else {
            Ok(())
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A credential as the header that carries it upstream, made once and marked sensitive.
#[derive(Clone)]
pub struct Credential {
    /// In lower case.
    pub name: HeaderName,
    /// With its scheme; `is_sensitive`. Clones share one buffer, which is wiped when the last is gone.
    pub value: HeaderValue,
}

impl Credential {
    /// The header `name: [scheme ]secret`. A scheme is ASCII without controls.
    ///
    /// # Errors
    /// What [`Secret::check`] says of the secret.
    pub fn new(
        name: HeaderName,
        scheme: Option<&str>,
        secret: &Secret,
    ) -> Result<Self, InvalidSecret> {
        secret.check()?;
        let scheme = scheme.map(str::as_bytes).unwrap_or_default();
        // Reserved whole, so that no outgrown buffer is left with a part of it.
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(scheme.len() + 1 + secret.expose().len()));
        if !scheme.is_empty() {
            bytes.extend_from_slice(scheme);
            bytes.push(b' ');
        }
        bytes.extend_from_slice(secret.expose());
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes))
            .map_err(|_| InvalidSecret::Control)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credential({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        // K4
        let secret = Secret::new(b"canary-canary".to_vec());
        let credential =
            Credential::new(HeaderName::from_static("x-api-key"), None, &secret).unwrap();
        let shown = format!("{secret:?} {credential:?} {:?}", credential.value);
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_credential_is_the_scheme_and_the_secret_marked_sensitive() {
        // K4, section 14
        let secret = Secret::new(b"sk-1".to_vec());
        let name = HeaderName::from_static("authorization");
        let credential = Credential::new(name, Some("Bearer"), &secret).unwrap();
        assert_eq!(credential.value.as_bytes(), b"Bearer sk-1");
        assert!(credential.value.is_sensitive());
    }

    #[test]
    fn what_no_header_can_carry_is_no_secret() {
        // O1
        let check = |bytes: &[u8]| Secret::new(bytes.to_vec()).check();
        assert_eq!(check(b"sk-1"), Ok(()));
        assert_eq!(check(b"Basic abc"), Ok(()));
        assert_eq!(check(b""), Err(InvalidSecret::Empty));
        assert_eq!(check(b"a\nb"), Err(InvalidSecret::LineBreak));
        assert_eq!(check(b"ab\r"), Err(InvalidSecret::LineBreak));
        assert_eq!(check(b" ab"), Err(InvalidSecret::OuterBlank));
        assert_eq!(check(b"ab\t"), Err(InvalidSecret::OuterBlank));
        assert_eq!(check(b"a\0b"), Err(InvalidSecret::Control));
        assert_eq!(check("ä".as_bytes()), Err(InvalidSecret::NotAscii));
    }

    #[test]
    fn a_files_last_line_break_is_not_of_the_secret() {
        // O1
        for content in ["sk-1", "sk-1\n", "sk-1\r\n"] {
            assert_eq!(
                Secret::from_file(content.as_bytes().to_vec()).expose(),
                b"sk-1"
            );
        }
        let inner = Secret::from_file(b"a\nb\n".to_vec());
        assert_eq!(inner.check(), Err(InvalidSecret::LineBreak));
    }

    #[test]
    fn reading_takes_all_whatever_was_expected_and_stops_at_the_limit() {
        let content: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for expected in [0, 1, 999, 1000, 5000] {
            let secret = Secret::read(content.as_slice(), expected, 1000).unwrap();
            assert_eq!(secret.expose(), content);
        }
        let error = Secret::read(content.as_slice(), 0, 999).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn equal_secrets_are_equal() {
        let secret = Secret::new(b"one".to_vec());
        assert_eq!(secret, Secret::new(b"one".to_vec()));
        assert_ne!(secret, Secret::new(b"two".to_vec()));
        assert_ne!(secret, Secret::new(b"on".to_vec()));
    }
}
