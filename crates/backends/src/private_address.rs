//! Which addresses are of no use to the public internet: a webhook may not lead there unless
//! the settings allow it. Judged when an endpoint is made, and again at every delivery, on
//! the addresses that its name has at that moment. It looks nothing up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is private, local, reserved, or hides such an IPv4 address.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        // The relays of 6to4, which are no longer used.
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4() {
        return is_private_v4(v4);
    }
    let first = address.segments()[0];
    let second = address.segments()[1];
    address.is_multicast()
        || (first & 0xfe00) == 0xfc00
        || (first & 0xffc0) == 0xfe80
        // What was site-local once.
        || (first & 0xffc0) == 0xfec0
        // These carry an IPv4 address: NAT64, documentation and Teredo, 6to4.
        || (first == 0x64 && second == 0xff9b)
        || (first == 0x2001 && (second == 0xdb8 || second == 0))
        || first == 0x2002
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn addresses() {
        for (address, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.0.1", true),
            ("169.254.169.254", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("0.0.0.0", true),
            ("198.18.0.1", true),
            ("192.88.99.1", true),
            ("fec0::1", true),
            ("255.255.255.255", true),
            ("93.184.216.34", false),
            ("::", true),
            ("::1", true),
            ("::ffff:192.168.0.1", true),
            ("::ffff:93.184.216.34", false),
            ("::10.0.0.1", true),
            ("64:ff9b::a00:1", true),
            ("2001:0:1::1", true),
            ("2002:a00:1::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("2606:2800:220:1::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
