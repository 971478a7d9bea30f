//! From a provider's host to addresses: looked up by the system, kept for a short while, and never one of those
//! where clouds keep the machine's own credentials.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::core::time::Timestamp;

/// How long an answer of the resolver is believed.
const TTL: Duration = Duration::from_secs(30);

/// The addresses of one host.
pub(super) struct Resolver {
    host: Box<str>,
    port: u16,
    clock: Clock,
    known: Mutex<Option<(Timestamp, Arc<[SocketAddr]>)>>,
    // One look-up at a time: each takes a thread.
    turn: Semaphore,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16, clock: Clock) -> Self {
        // An address needs no resolver, ever.
        let known = host.parse::<IpAddr>().ok().map(|address| {
            let addresses: Arc<[SocketAddr]> = Arc::from([SocketAddr::new(address, port)]);
            (Timestamp::MAX, addresses)
        });
        Self {
            host: host.into(),
            port,
            clock,
            known: Mutex::new(known),
            turn: Semaphore::new(1),
        }
    }

    /// At least one address. Takes as long as the system's resolver does: the caller sets the limit.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _turn = self.turn.acquire().await.map_err(io::Error::other)?;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let found: Arc<[SocketAddr]> = tokio::net::lookup_host((&*self.host, self.port))
            .await?
            .collect();
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        *self.lock() = Some((self.clock.now() + TTL, Arc::clone(&found)));
        Ok(found)
    }

    /// None of the addresses could be reached: the next look-up asks anew.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        if known
            .as_ref()
            .is_some_and(|(until, _)| *until < Timestamp::MAX)
        {
            *known = None;
        }
    }

    fn known(&self) -> Option<Arc<[SocketAddr]>> {
        let now = self.clock.now();
        let known = self.lock();
        known
            .as_ref()
            .filter(|(until, _)| now < *until)
            .map(|(_, addresses)| Arc::clone(addresses))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Timestamp, Arc<[SocketAddr]>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Link-local addresses and the metadata services of clouds: no provider is there, and a credential must not go
/// there whatever a name server says.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.is_unspecified() || address == METADATA_V6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: bool) {
        assert_eq!(
            is_forbidden(address.parse().unwrap()),
            expected,
            "{address}"
        );
    }

    // K5
    #[test]
    fn metadata_services_are_never_reached() {
        check("169.254.169.254", true);
        check("169.254.0.1", true);
        check("::ffff:169.254.169.254", true);
        check("fe80::1", true);
        check("fd00:ec2::254", true);
        check("0.0.0.0", true);
        check("127.0.0.1", false);
        check("10.0.0.8", false);
        check("::1", false);
        check("fd00::1", false);
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer_and_is_never_forgotten() {
        let resolver = Resolver::new("::1", 443, Clock::new());
        resolver.forget();
        let addresses = resolver.addresses().await.unwrap();
        assert_eq!(*addresses, ["[::1]:443".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_kept() {
        let resolver = Resolver::new("localhost", 80, Clock::new());
        assert!(resolver.known().is_none());
        let found = resolver.addresses().await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert_eq!(resolver.known(), Some(found));
        resolver.forget();
        assert!(resolver.known().is_none());
    }
}
