//! Rules of `[server]`, `[admin]` and `[sessions]`: listeners, limits of the process, what is shown. Keeps K1: who
//! asks for no key is reached from this machine only.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::Rules;
use super::secret::Pem;
use crate::config::fault::Place;
use crate::config::keys;
use crate::config::value::Text;
use crate::config::wire::Table;
use crate::config::{
    AdminConfig, Expose, LogConfig, ServerConfig, ServerTls, SessionsConfig, word,
};

const HOUR: Duration = Duration::from_secs(3600);

impl Rules<'_> {
    /// `open`: there is no client, so no key is asked for.
    pub(super) fn server(&self, mut table: Table<'_, '_>, open: bool) -> ServerConfig {
        let (body_limit, body_memory) = self.body_sizes(&mut table);
        ServerConfig {
            listen: self.listen(&mut table, open),
            tls: self.server_tls(&mut table),
            workers: self.workers(&mut table),
            drain: table.duration("drain", Duration::ZERO..=24 * HOUR, 5 * HOUR / 60),
            body_limit,
            body_memory,
            max_connections: non_zero(table.number("max_connections", 1..=1_000_000, 10_000)),
            expose: self.expose(&mut table),
            log: self.log(table.child("log", keys::LOG)),
        }
    }

    fn listen(&self, table: &mut Table<'_, '_>, open: bool) -> Vec<SocketAddr> {
        let Some(value) = table.take("listen") else {
            return vec![SocketAddr::from(([127, 0, 0, 1], 8080))];
        };
        let texts = value.some_texts("must name at least one address");
        let mut addresses = Vec::new();
        let mut seen = HashSet::new();
        for text in &texts {
            let Some(address) = self.address(text) else {
                continue;
            };
            if !seen.insert(address) && address.port() != 0 {
                self.report(&text.place, "is named twice");
            }
            if open && !address.ip().to_canonical().is_loopback() {
                self.report(
                    &text.place,
                    format!(
                        "{address} would serve anyone who reaches it, without a key: add a \
                         [[client]], or listen on 127.0.0.1:{} only",
                        address.port()
                    ),
                );
            }
            addresses.push(address);
        }
        addresses
    }

    fn address(&self, text: &Text) -> Option<SocketAddr> {
        let address = text.text.parse().ok();
        if address.is_none() {
            self.report(
                &text.place,
                "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
            );
        }
        address
    }

    fn server_tls(&self, table: &mut Table<'_, '_>) -> Option<ServerTls> {
        let mut tls = table.take("tls")?.table(keys::TLS)?;
        let cert = tls.require("cert").and_then(|value| value.text());
        let key = tls.require("key").and_then(|value| value.text());
        let cert = cert.and_then(|path| self.pem_file(&path, Pem::Certificates));
        let key = key.and_then(|path| self.pem_file(&path, Pem::Key));
        Some(ServerTls {
            cert: cert?,
            key: key?,
        })
    }

    fn workers(&self, table: &mut Table<'_, '_>) -> NonZeroUsize {
        const MOST: usize = 1024;
        let cores = self.surroundings.cores().clamp(1, MOST);
        let workers = table.number("workers", 1..=1024, u16::try_from(cores).unwrap_or(1));
        NonZeroUsize::new(usize::from(workers)).unwrap_or(NonZeroUsize::MIN)
    }

    /// `body_limit` and `body_memory`. A body within the limit must find room in the memory, but a default does not
    /// contradict another on a small machine.
    fn body_sizes(&self, table: &mut Table<'_, '_>) -> (u64, u64) {
        const MEBIBYTE: u64 = 1 << 20;
        let limit = table.take("body_limit");
        let memory = table.take("body_memory");
        let stated: Option<Place> = limit
            .as_ref()
            .or(memory.as_ref())
            .map(|value| value.place.clone());
        let limit = limit
            .and_then(|value| value.size(1 << 10..=4096 * MEBIBYTE))
            .unwrap_or(32 * MEBIBYTE);
        let quarter = self.surroundings.memory_limit().map(|limit| limit / 4);
        let memory = memory
            .and_then(|value| value.size(1 << 10..=1 << 40))
            .unwrap_or_else(|| quarter.unwrap_or(u64::MAX).min(512 * MEBIBYTE));
        if let Some(place) = stated
            && memory < limit
        {
            self.report(
                &place,
                format!(
                    "makes body_limit ({}) larger than body_memory ({}), in which bodies are kept",
                    word::show_size(limit),
                    word::show_size(memory)
                ),
            );
        }
        (limit, memory)
    }

    fn expose(&self, table: &mut Table<'_, '_>) -> Expose {
        let mut expose = Expose::default();
        let words = table.texts("expose");
        self.without_repetition(&words);
        for word in words {
            match word.text.as_str() {
                "subscription" => expose.subscription = true,
                "attempts" => expose.attempts = true,
                "server-timing" => expose.server_timing = true,
                _ => self.report(
                    &word.place,
                    "must be \"subscription\", \"attempts\" or \"server-timing\"",
                ),
            }
        }
        expose
    }

    fn log(&self, mut table: Table<'_, '_>) -> LogConfig {
        use tracing::Level;
        let level = table.text("level");
        let level = level.and_then(|word| match word.text.as_str() {
            "error" => Some(Level::ERROR),
            "warn" => Some(Level::WARN),
            "info" => Some(Level::INFO),
            "debug" => Some(Level::DEBUG),
            "trace" => Some(Level::TRACE),
            _ => {
                self.report(
                    &word.place,
                    "must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
                );
                None
            }
        });
        let format = table.text("format");
        let json = format.is_some_and(|word| match word.text.as_str() {
            "json" => true,
            "text" => false,
            _ => {
                self.report(&word.place, "must be \"text\" or \"json\"");
                false
            }
        });
        LogConfig {
            level: level.unwrap_or(Level::INFO),
            json,
        }
    }

    /// `listen`: the data listeners, which are others.
    pub(super) fn admin(
        &self,
        mut table: Table<'_, '_>,
        listen: &[SocketAddr],
    ) -> Option<AdminConfig> {
        let usual = SocketAddr::from(([127, 0, 0, 1], 9090));
        let Some(text) = table.text("listen") else {
            return Some(AdminConfig { listen: usual });
        };
        let address = self.address(&text)?;
        if listen.contains(&address) && address.port() != 0 {
            self.report(
                &text.place,
                format!("{address} is where server.listen serves clients: choose another port"),
            );
        }
        Some(AdminConfig { listen: address })
    }

    pub(super) fn sessions(&self, mut table: Table<'_, '_>) -> SessionsConfig {
        SessionsConfig {
            max: non_zero(table.number("max", 1..=10_000_000, 100_000)),
        }
    }
}

fn non_zero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
