//! Addresses as people write them: `host:port`.

use std::net::{IpAddr, Ipv6Addr};

/// Longest host name, in bytes (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// What an address must look like.
pub(crate) const FORM: &str =
    "must be host:port with a port from 1 to 65535, and an IPv6 address in brackets, [::1]:7946";

/// Whether `text` is one address with a port that can be dialled: `10.0.0.1:7946`, `[::1]:7946`, or
/// a name, `db-1.example:7946`. What a name stands for is not looked at.
pub(crate) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    // A sign is none of a port's digits.
    let has_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    has_port && is_host(host)
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(plain)
}

/// The IP address in `text`, if it is one and no name.
pub(crate) fn ip_of(text: &str) -> Option<IpAddr> {
    let (host, _) = text.rsplit_once(':')?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether nobody can be reached at `ip`: the unspecified address, also as IPv4 in IPv6.
pub(crate) fn is_nowhere(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        let good = ["10.0.0.1:1", "[::1]:7946", "n1:65535", "db-1.example.:7946", "a_b.c:80"];
        for good in good {
            assert!(is_host_port(good), "{good}");
        }
        let longest = format!("{}:1", "x".repeat(HOST_BYTES_MAX));
        assert!(is_host_port(&longest) && !is_host_port(&format!("x{longest}")));
        let bad = [
            "",
            "n1",
            "n1:",
            ":7946",
            "n1:0",
            "n1:65536",
            "n1:+1",
            "n1: 1",
            "n 1:1",
            "::1:7946",
            "[::1]",
            "[n1]:1",
            "[::1:1",
            "n1:1 ",
            "http://n1:1",
            "n1:1:1",
            "n1/x:1",
            "é:1",
        ];
        for bad in bad {
            assert!(!is_host_port(bad), "{bad}");
        }
    }

    #[test]
    fn an_address_that_leads_nowhere_is_recognised() {
        let nowhere = |text| ip_of(text).is_some_and(is_nowhere);
        for text in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1"] {
            assert!(nowhere(text), "{text}");
        }
        for text in ["10.0.0.1:1", "[::1]:1", "n1:1"] {
            assert!(!nowhere(text), "{text}");
        }
    }
}
