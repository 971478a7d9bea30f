//! References to secrets and to PEM files, resolved. Keeps K4: neither a secret nor a name that could be one by
//! mistake is shown.

use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Rules;
use crate::config::PemFile;
use crate::config::fault::Place;
use crate::config::value::{Text, Value};
use crate::config::wire::Table;
use crate::secret::Secret;

/// What a PEM file must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    /// At least one, and no broken one.
    Certificates,
    /// The first counts.
    Key,
}

/// A secret and where the file names it.
pub(super) struct Referred {
    pub(super) place: Place,
    pub(super) secret: Secret,
}

impl Rules<'_> {
    /// The table of a reference, which names exactly one of `keys`.
    pub(super) fn reference<'i, 'f>(
        &self,
        value: Value<'i, 'f>,
        keys: &[&'static str],
    ) -> Option<(&'static str, Text)> {
        if !value.is_table() {
            value.fault(
                "must name where the secret is, as in { env = \"NAME\" } or { file = \"PATH\" }; \
                 it does not stand in this file itself",
            );
            return None;
        }
        let mut table: Table<'i, 'f> = value.table(keys)?;
        let place = table.place().clone();
        let named: Vec<_> = keys
            .iter()
            .filter_map(|&key| Some((key, table.take(key)?)))
            .collect();
        if named.len() != 1 {
            self.report(
                &place,
                format!("must have exactly one of `{}`", keys.join("`, `")),
            );
        }
        let mut texts = named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.text()?)));
        let first = texts.next();
        // All are asked for their shape, then one counts.
        texts.next().map_or(first, |_| None)
    }

    /// The secret behind `env` or `file`.
    pub(super) fn secret(&self, key: &str, text: Text) -> Option<Referred> {
        let secret = match key {
            "env" => self.variable_content(&text)?,
            _ => self.file_content(&text)?,
        };
        if let Err(invalid) = secret.check() {
            let from = if key == "env" { "variable" } else { "file" };
            self.report(
                &text.place,
                format!("names a {from} whose content {invalid}"),
            );
            return None;
        }
        let place = text.place;
        Some(Referred { place, secret })
    }

    fn variable_content(&self, text: &Text) -> Option<Secret> {
        let name = &text.text;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty()
            || name.starts_with(|first: char| first.is_ascii_digit())
            || !name.bytes().all(is_name)
        {
            self.report(&text.place, "must be the name of an environment variable");
            return None;
        }
        let value = self.surroundings.variable(name);
        if value.is_none() {
            // A secret written here by mistake would be in mixed case; a variable hardly is.
            let name = if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
                "named here"
            } else {
                name
            };
            self.report(
                &text.place,
                format!("the environment variable {name} is not set"),
            );
        }
        value.map(Secret::from_variable)
    }

    fn file_content(&self, text: &Text) -> Option<Secret> {
        match self.surroundings.file(Path::new(&text.text)) {
            Ok(content) => Some(Secret::from_file(content)),
            Err(error) => {
                self.unreadable(text, &error);
                None
            }
        }
    }

    /// The name is not shown: it may be the secret itself by mistake.
    fn unreadable(&self, text: &Text, error: &io::Error) {
        let message = format!("names a file that cannot be read: {error}");
        self.report(&text.place, message);
    }

    /// Reads a PEM file and sees that it holds what it should. Whether a key fits its certificate is TLS's to say.
    pub(super) fn pem_file(&self, text: &Text, pem: Pem) -> Option<PemFile> {
        let path = PathBuf::from(&text.text);
        let content = match self.surroundings.file(&path) {
            Ok(content) => Secret::new(content),
            Err(error) => {
                self.unreadable(text, &error);
                return None;
            }
        };
        let bytes = content.expose();
        let fault = match pem {
            Pem::Certificates => {
                let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
                let holds = found.is_ok_and(|found| !found.is_empty());
                (!holds).then_some("holds no certificate in PEM form, or a broken one")
            }
            Pem::Key => PrivateKeyDer::from_pem_slice(bytes)
                .is_err()
                .then_some("holds no private key in unencrypted PEM form"),
        };
        if let Some(fault) = fault {
            self.report(&text.place, format!("names a file that {fault}"));
            return None;
        }
        Some(PemFile { path, content })
    }
}
