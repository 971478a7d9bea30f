//! Where a provider is: its URL, parsed, and which addresses no provider may have. Names are judged by how they are
//! written; what one resolves to is judged by whoever connects, with [`is_refused`]. Keeps K5: what is cleartext is
//! told, not decided.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{BaseUrl, word};

impl BaseUrl {
    /// Parses `http://` or `https://`, a host, perhaps a port and a path.
    ///
    /// # Errors
    /// What is wrong, without showing the URL, since it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("must begin with https:// or http://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("must begin with https:// or http://"),
        };
        if rest.contains(['?', '#']) {
            return Err("must not have a query or fragment");
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("must not hold a user or password");
        }
        let (host, port) = split_port(authority)?;
        let host = parse_host(host)?;
        let usual = if tls { 443 } else { 80 };
        let port = port.unwrap_or(usual);
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let authority = if port == usual {
            bracketed
        } else {
            format!("{bracketed}:{port}")
        };
        let path = word::plain_path(path.trim_end_matches('/'))?;
        Ok(Self {
            tls,
            host: host.into(),
            port,
            authority: authority.into(),
            path: path.into(),
        })
    }

    /// Whether the host is this machine: a loopback address or `localhost`.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => &*self.host == "localhost",
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    const PORT: &str = "must have a port between 1 and 65535, or none";
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("lacks a closing bracket")?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err("has something else than an IPv6 address in its brackets");
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(PORT),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let Some(port) = port else {
        return Ok((host, None));
    };
    // Rust would take a sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok((host, Some(port))),
        _ => Err(PORT),
    }
}

/// A host as it is compared: lower case, an address in its usual form.
fn parse_host(host: &str) -> Result<String, &'static str> {
    if host.is_empty() {
        return Err("lacks a host");
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return if is_refused(address) {
            Err(REFUSED)
        } else {
            Ok(address.to_string())
        };
    }
    let host = host.to_ascii_lowercase();
    if !is_name(&host) {
        return Err("has a host that is neither a name nor an address");
    }
    if is_odd_address(&host) {
        return Err("has a host that is an address in an unusual form: write it as 192.0.2.1");
    }
    if METADATA_NAMES.contains(&host.as_str()) {
        return Err(REFUSED);
    }
    Ok(host)
}

const REFUSED: &str = "must not lead to a link-local, cloud metadata, multicast or unspecified address: \
    a credential would be sent there";

/// A name as DNS has it, without the dot of the root.
pub(super) fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Whether resolvers would read the name as an IPv4 address in decimal, octal, hexadecimal or a short form: its
/// last label is a number.
fn is_odd_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Names under which clouds give out the machine's own credentials.
const METADATA_NAMES: [&str; 6] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
];

/// Whether no credential may go to this address, whatever name led there: link-local, a cloud's metadata service,
/// multicast, broadcast or unspecified. Private and loopback addresses are an operator's choice.
pub fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_refused_v4(address),
        IpAddr::V6(address) => {
            embedded_v4(address).is_some_and(is_refused_v4)
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_unspecified()
                || METADATA_V6.contains(&address)
        }
    }
}

fn is_refused_v4(address: Ipv4Addr) -> bool {
    address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        // All of 0.0.0.0/8 means this host.
        || address.octets().first() == Some(&0)
        || METADATA_V4.contains(&address)
}

/// Beside the link-local 169.254.169.254: Alibaba, Oracle, Azure.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Amazon and Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The IPv4 address that a network translates this one to: IPv4-compatible, NAT64, 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0) if (g, h) != (0, 1) => Some(join(g, h)),
        (0x64, 0xff9b, ..) => Some(join(g, h)),
        (0x2002, ..) => Some(join(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, tls: bool, host: &str, port: u16, authority: &str, path: &str) {
        let url = BaseUrl::parse(text).unwrap();
        let expected = BaseUrl {
            tls,
            host: host.into(),
            port,
            authority: authority.into(),
            path: path.into(),
        };
        assert_eq!(url, expected);
    }

    #[test]
    fn a_base_url_is_what_the_sdks_take() {
        // F11
        check(
            "https://api.anthropic.com",
            true,
            "api.anthropic.com",
            443,
            "api.anthropic.com",
            "",
        );
        check(
            "https://api.openai.com/v1/",
            true,
            "api.openai.com",
            443,
            "api.openai.com",
            "/v1",
        );
        check(
            "HTTPS://API.Groq.com/openai/v1",
            true,
            "api.groq.com",
            443,
            "api.groq.com",
            "/openai/v1",
        );
        check("https://h:443", true, "h", 443, "h", "");
        check(
            "http://127.0.0.1:8080/",
            false,
            "127.0.0.1",
            8080,
            "127.0.0.1:8080",
            "",
        );
        check("http://[::1]:80/a", false, "::1", 80, "[::1]", "/a");
        check(
            "https://[2001:DB8::0:1]:8443",
            true,
            "2001:db8::1",
            8443,
            "[2001:db8::1]:8443",
            "",
        );
        check("https://10.0.0.7", true, "10.0.0.7", 443, "10.0.0.7", "");
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        // F11, K5
        for text in [
            "",
            "api.openai.com",
            "ftp://h",
            "https://",
            "https:///v1",
            "https://u:p@h",
            "https://u@h/v1",
            "https://h?x=1",
            "https://h/v1?x",
            "https://h#f",
            "https://h:0",
            "https://h:",
            "https://h:+1",
            "https://h:65536",
            "https://h:a",
            "https://[::1",
            "https://[::1]x",
            "https://[h]",
            "https://h h",
            "https://h\\x",
            "https://ä.de",
            "https://h..x",
            "https://h.",
            "https://-h",
            "https://h/a//b",
            "https://h/../b",
            "https://h/%2e%2e/b",
            "https://h/a b",
            "https://::1",
            "https://h/\u{7f}",
            "https://h:1:2",
            "https://h%00",
            "https://[fe80::1%25eth0]",
            "https://[1.2.3.4]",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_spelling_of_a_metadata_or_link_local_address_passes() {
        // K5
        for host in [
            "169.254.169.254",
            "169.254.0.1",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[fe80::1]",
            "[febf::1]",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "0xa9.0xfe.0xa9.0xfe",
            "169.254.43518",
            "169.16689662",
            "169.254.169.254.",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "[::169.254.169.254]",
            "metadata.google.internal",
            "METADATA.google.internal",
            "metadata",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "0.0.0.0",
            "0.1.2.3",
            "0",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "127.0.0.0x1",
        ] {
            for url in [format!("https://{host}"), format!("http://{host}:80/v1")] {
                assert!(BaseUrl::parse(&url).is_err(), "{url}");
            }
        }
    }

    #[test]
    fn private_addresses_are_the_operators_choice() {
        // K5
        for host in [
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "[fd12::1]",
            "127.0.0.1",
            "[::1]",
            "100.64.0.1",
            "localhost",
        ] {
            assert!(BaseUrl::parse(&format!("https://{host}")).is_ok(), "{host}");
        }
    }

    #[test]
    fn loopback_is_told_by_address_and_by_localhost() {
        // K5
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost", true),
            ("LOCALHOST", true),
            ("localhost.example.com", false),
            ("10.0.0.1", false),
        ] {
            let url = BaseUrl::parse(&format!("http://{host}")).unwrap();
            assert_eq!(url.is_loopback(), expected, "{host}");
        }
    }
}
