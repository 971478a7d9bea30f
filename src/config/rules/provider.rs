//! Rules of `[[provider]]`: where requests go, in which language, by which limits, and how a credential is written.
//! Keeps K5: cleartext stays on this machine unless the operator says so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::Rules;
use super::secret::Pem;
use crate::config::fault::Place;
use crate::config::keys;
use crate::config::value::Text;
use crate::config::wire::Table;
use crate::config::{AllowedPath, BaseUrl, Glob, PemFile, ProviderConfig, word};
use crate::core::dialect::Dialect;
use crate::core::dialect::flavour::Flavour;

/// A provider and how its subscriptions' credentials are written.
pub(super) struct Provider {
    pub(super) config: Arc<ProviderConfig>,
    pub(super) auth: Auth,
}

/// `auth`: the header and the scheme before the secret.
pub(super) struct Auth {
    pub(super) header: HeaderName,
    pub(super) scheme: Option<String>,
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

impl Rules<'_> {
    pub(super) fn providers(&self, tables: Vec<Table<'_, '_>>) -> Vec<Provider> {
        let tables = tables.into_iter();
        tables.filter_map(|table| self.provider(table)).collect()
    }

    fn provider(&self, mut table: Table<'_, '_>) -> Option<Provider> {
        let id = self.id(&mut table);
        let dialect = self.dialect(&mut table);
        let auth = self.auth(&mut table, dialect);
        let base_url = self.base_url(&mut table, dialect);
        let flavour = table.text("flavour").map(|word| self.flavour(&word));
        let (ca, system_roots) = self.trust(&mut table, base_url.as_ref());
        let connect = table.duration("connect", MILLISECOND..=5 * MINUTE, MINUTE / 12);
        let first_byte = table.duration("first_byte", MILLISECOND..=DAY, 10 * MINUTE);
        let idle = table.duration("idle", MILLISECOND..=DAY, 5 * MINUTE);
        let total = table.duration("total", MILLISECOND..=7 * DAY, 60 * MINUTE);
        let keep_alive = table.duration("keep_alive", Duration::ZERO..=MINUTE / 2, MINUTE / 2);
        let allow_paths = self.allow_paths(&mut table);
        let pass_headers = self.pass_headers(&mut table, auth.as_ref());
        let limit_groups = self.limit_groups(&mut table);
        let (dialect, base_url) = (dialect?, base_url?);
        let flavour = match flavour {
            Some(named) => named?,
            None => Flavour::of(dialect, &base_url.host),
        };
        let config = ProviderConfig {
            id: Arc::from(id?.text),
            dialect,
            flavour,
            base_url,
            ca,
            system_roots,
            connect,
            first_byte,
            idle,
            total,
            keep_alive,
            allow_paths,
            pass_headers,
            limit_groups,
        };
        Some(Provider {
            config: Arc::new(config),
            auth: auth?,
        })
    }

    fn dialect(&self, table: &mut Table<'_, '_>) -> Option<Dialect> {
        let word = table.require("dialect").and_then(|value| value.text())?;
        let dialect = Dialect::parse(&word.text);
        if dialect.is_none() {
            self.report(
                &word.place,
                "must be \"anthropic\", \"openai\" or \"generic\"",
            );
        }
        dialect
    }

    fn flavour(&self, word: &Text) -> Option<Flavour> {
        let flavour = Flavour::parse(&word.text);
        if flavour.is_none() {
            self.report(
                &word.place,
                "is no known flavour: leave it out to go by base_url and dialect",
            );
        }
        flavour
    }

    /// As configured, else as the dialect has it; `generic` has nothing.
    fn auth(&self, table: &mut Table<'_, '_>, dialect: Option<Dialect>) -> Option<Auth> {
        let Some(value) = table.take("auth") else {
            return match dialect? {
                Dialect::Anthropic => Some(Auth {
                    header: X_API_KEY,
                    scheme: None,
                }),
                Dialect::OpenAi => Some(Auth {
                    header: AUTHORIZATION,
                    scheme: Some("Bearer".to_owned()),
                }),
                Dialect::Generic => {
                    self.report(
                        &table.place_for("auth"),
                        "is missing: generic has no usual one; such as { header = \"x-api-key\" }",
                    );
                    None
                }
            };
        };
        let mut auth = value.table(keys::AUTH)?;
        let header = auth.require("header").and_then(|value| value.text());
        let header = header.and_then(|name| self.header(&name, word::header));
        let scheme = auth.text("scheme");
        if let Some(scheme) = &scheme {
            let is_scheme = (1..=64).contains(&scheme.text.len())
                && scheme
                    .text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !is_scheme {
                self.report(&scheme.place, "must be a word such as \"Bearer\"");
            }
        }
        Some(Auth {
            header: header?,
            scheme: scheme.map(|scheme| scheme.text),
        })
    }

    pub(super) fn header(
        &self,
        name: &Text,
        read: fn(&str) -> Result<HeaderName, &'static str>,
    ) -> Option<HeaderName> {
        let header = read(&name.text);
        if let Err(fault) = header {
            self.report(&name.place, fault);
        }
        header.ok()
    }

    fn base_url(&self, table: &mut Table<'_, '_>, dialect: Option<Dialect>) -> Option<BaseUrl> {
        let insecure = table.take("insecure");
        let place = insecure.as_ref().map(|value| value.place.clone());
        let insecure = insecure.and_then(|value| value.boolean()).unwrap_or(false);
        let text = table.require("base_url").and_then(|value| value.text())?;
        let url = match BaseUrl::parse(&text.text) {
            Ok(url) => url,
            Err(fault) => {
                self.report(&text.place, fault);
                return None;
            }
        };
        if !url.tls && !url.is_loopback() && !insecure {
            self.report(
                &text.place,
                "would send credentials in cleartext: use https, or set insecure = true",
            );
        }
        if let Some(place) = place.filter(|_| url.tls && insecure) {
            self.report(
                &place,
                "allows cleartext only: over https certificates are verified always, so use ca \
                 for a private authority",
            );
        }
        self.usual_path(&text.place, &url, dialect);
        Some(url)
    }

    /// F11's slips: what the official SDKs would not take either.
    fn usual_path(&self, place: &Place, url: &BaseUrl, dialect: Option<Dialect>) {
        let fault = match (dialect, &*url.host, &*url.path) {
            (Some(Dialect::OpenAi), "api.openai.com", "") => {
                "lacks its path: https://api.openai.com/v1"
            }
            (Some(Dialect::Anthropic), _, path) if path.ends_with("/v1") => {
                "must not end in /v1, which the paths of this dialect begin with"
            }
            _ => return,
        };
        self.report(place, fault);
    }

    /// `ca` and `roots`: what a certificate is verified by.
    fn trust(&self, table: &mut Table<'_, '_>, url: Option<&BaseUrl>) -> (Option<PemFile>, bool) {
        let ca = table.take("ca");
        let roots = table.text("roots");
        let cleartext = url.is_some_and(|url| !url.tls);
        let given = [
            ca.as_ref().map(|value| &value.place),
            roots.as_ref().map(|word| &word.place),
        ];
        if cleartext {
            for place in given.into_iter().flatten() {
                self.report(place, "is about certificates, which http has none of");
            }
        }
        if let [Some(_), Some(place)] = given {
            self.report(place, "has no effect beside ca, which is trusted instead");
        }
        let system = roots.is_some_and(|word| match word.text.as_str() {
            "bundled" => false,
            "system" => true,
            _ => {
                self.report(&word.place, "must be \"bundled\" or \"system\"");
                false
            }
        });
        let file = ca.and_then(|value| {
            let mut table = value.table(keys::CA)?;
            let path = table.require("file")?.text()?;
            self.pem_file(&path, Pem::Certificates)
        });
        (file, system)
    }

    fn allow_paths(&self, table: &mut Table<'_, '_>) -> Vec<AllowedPath> {
        let texts = table.texts("allow_paths");
        self.without_repetition(&texts);
        let paths = texts.iter().filter_map(|text| {
            let path = word::allowed_path(&text.text);
            if let Err(fault) = path {
                self.report(&text.place, fault);
            }
            path.ok()
        });
        paths.collect()
    }

    fn pass_headers(&self, table: &mut Table<'_, '_>, auth: Option<&Auth>) -> Vec<HeaderName> {
        let texts = table.texts("pass_headers");
        let mut headers = Vec::new();
        let mut seen = HashSet::new();
        for text in &texts {
            let Some(header) = self.header(text, word::free_header) else {
                continue;
            };
            if auth.is_some_and(|auth| auth.header == header) {
                self.report(&text.place, "carries the credential, see auth");
            }
            if !seen.insert(header.clone()) {
                self.report(&text.place, "is named twice");
            }
            headers.push(header);
        }
        headers
    }

    fn limit_groups(&self, table: &mut Table<'_, '_>) -> Vec<(String, Vec<Glob>)> {
        let groups = table
            .take("limit_groups")
            .and_then(|value| value.open_table());
        let Some(groups) = groups else {
            return Vec::new();
        };
        let groups = groups.into_values().into_iter();
        groups
            .filter_map(|(name, value)| {
                if matches!(name.text.as_str(), "all" | "none") {
                    self.report(&name.place, "is taken: it means all models, or no model");
                }
                let name = self.well_formed(name);
                let texts = value.texts();
                let globs = texts.iter().filter_map(|text| self.glob(text)).collect();
                Some((name?.text, globs))
            })
            .collect()
    }
}
