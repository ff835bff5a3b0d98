//! Which addresses on the network a stranger may have this server connect to.
//!
//! The public internet, and what the operator names besides.  Everything with a special purpose in
//! IANA's registries is refused: this machine, its neighbours, the metadata services of clouds, and
//! every way of writing an IPv4 address inside an IPv6 one.  Names are the business of `resolve`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::network::Network;

/// IANA's special-purpose IPv4 addresses; what is left is the public internet.
const SPECIAL_V4: [(Network, &str); 16] = [
    (Network::v4(0, 0, 0, 0, 8), "this network"),
    (Network::v4(10, 0, 0, 0, 8), "private"),
    (Network::v4(100, 64, 0, 0, 10), "shared by a carrier"),
    (Network::v4(127, 0, 0, 0, 8), "loopback"),
    (Network::v4(169, 254, 0, 0, 16), "link-local"),
    (Network::v4(172, 16, 0, 0, 12), "private"),
    (Network::v4(192, 0, 0, 0, 24), "assigned to protocols"),
    (Network::v4(192, 0, 2, 0, 24), "documentation"),
    (Network::v4(192, 88, 99, 0, 24), "6to4 relays"),
    (Network::v4(192, 168, 0, 0, 16), "private"),
    (Network::v4(198, 18, 0, 0, 15), "benchmarks"),
    (Network::v4(198, 51, 100, 0, 24), "documentation"),
    (Network::v4(203, 0, 113, 0, 24), "documentation"),
    // Not special by the registry, but the metadata and DNS service of a public cloud.
    (Network::v4(168, 63, 129, 16, 32), "a cloud's own"),
    (Network::v4(224, 0, 0, 0, 4), "multicast"),
    (Network::v4(240, 0, 0, 0, 4), "reserved"),
];

/// The only block that IANA gives out as public IPv6 addresses …
const GLOBAL_V6: Network = Network::v6(0x2000, 0, 0, 3);

/// … and what is special in it.
const SPECIAL_V6: [(Network, &str); 4] = [
    // Teredo, ORCHID, benchmarks, AS112 and anycast services.
    (Network::v6(0x2001, 0, 0, 23), "assigned to protocols"),
    (Network::v6(0x2001, 0x0db8, 0, 32), "documentation"),
    (Network::v6(0x2002, 0, 0, 16), "6to4"),
    (Network::v6(0x3fff, 0, 0, 20), "documentation"),
];

/// The well-known prefix under which a translator shows the IPv4 internet (RFC 6052).
const NAT64: Network = Network::v6(0x0064, 0xff9b, 0, 96);

/// The address to connect to instead of `address`, or why there must be no connection.
///
/// An IPv4 address that is written as an IPv6 one is the IPv4 address.
///
/// # Errors
/// What the address is for.
pub fn check(address: IpAddr, allowed: &[Network]) -> Result<IpAddr, &'static str> {
    let address = address.to_canonical();
    if allowed.iter().any(|network| network.contains(address)) {
        return Ok(address);
    }
    let purpose = match address {
        IpAddr::V4(address) => purpose_v4(address, &[]),
        IpAddr::V6(address) => purpose_v6(address, allowed),
    };
    purpose.map_or(Ok(address), Err)
}

fn purpose_v4(address: Ipv4Addr, allowed: &[Network]) -> Option<&'static str> {
    let address = IpAddr::V4(address);
    if allowed.iter().any(|network| network.contains(address)) {
        return None;
    }
    SPECIAL_V4.iter().find(|(network, _)| network.contains(address)).map(|(_, purpose)| *purpose)
}

fn purpose_v6(address: Ipv6Addr, allowed: &[Network]) -> Option<&'static str> {
    let whole = IpAddr::V6(address);
    if NAT64.contains(whole) {
        let [.., a, b, c, d] = address.octets();
        return purpose_v4(Ipv4Addr::new(a, b, c, d), allowed);
    }
    if !GLOBAL_V6.contains(whole) {
        // Loopback, unspecified, IPv4-compatible, unique local, link-local, multicast …
        return Some("not public");
    }
    SPECIAL_V6.iter().find(|(network, _)| network.contains(whole)).map(|(_, purpose)| *purpose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(address: &str, allowed: &[&str]) -> Result<IpAddr, &'static str> {
        let allowed: Vec<Network> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        check(address.parse().unwrap(), &allowed)
    }

    #[test]
    fn addresses_with_a_special_purpose_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.0.0",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.1.2.3",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(judge(address, &[]).is_err(), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "2a01::1",
            "3ffe::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(judge(address, &[]), Ok(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_connects_to_ipv4_is_connected_to_as_ipv4() {
        assert_eq!(judge("::ffff:8.8.8.8", &[]), Ok("8.8.8.8".parse().unwrap()));
        assert_eq!(judge("::ffff:10.0.0.1", &["10.0.0.0/8"]), Ok("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn networks_that_the_operator_names_are_allowed_and_nothing_beside_them() {
        assert!(judge("10.1.2.3", &["10.1.0.0/16"]).is_ok());
        assert!(judge("10.2.2.3", &["10.1.0.0/16"]).is_err());
        assert!(judge("127.0.0.1", &["127.0.0.1"]).is_ok());
        assert!(judge("127.0.0.2", &["127.0.0.1"]).is_err());
        assert!(judge("64:ff9b::10.1.0.1", &["10.1.0.0/16"]).is_ok());
        assert!(judge("64:ff9b::10.2.0.1", &["10.1.0.0/16"]).is_err());
        assert!(judge("fd12::1", &["fd00::/8"]).is_ok());
        assert!(judge("::1", &["0.0.0.0/0"]).is_err());
        assert!(judge("::1", &["::/0"]).is_ok());
    }

    proptest! {
        /// The standard library's own judgement, as far as it has one.
        #[test]
        fn nothing_that_the_standard_library_knows_to_be_special_passes(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!special || check(address.into(), &[]).is_err());
        }

        #[test]
        fn an_address_is_judged_alike_however_it_is_wrapped(bits in any::<u32>()) {
            let plain = check(Ipv4Addr::from_bits(bits).into(), &[]).is_ok();
            let mapped = Ipv4Addr::from_bits(bits).to_ipv6_mapped();
            prop_assert_eq!(check(mapped.into(), &[]).is_ok(), plain);
            let nat64 = Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | u128::from(bits));
            prop_assert_eq!(check(nat64.into(), &[]).is_ok(), plain);
            let compatible = Ipv6Addr::from_bits(u128::from(bits));
            prop_assert!(check(compatible.into(), &[]).is_err());
        }

        #[test]
        fn only_global_unicast_or_translated_ipv6_passes(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            let first = address.segments()[0];
            if check(address.into(), &[]).is_ok() && address.to_ipv4_mapped().is_none() {
                prop_assert!((0x2000..0x4000).contains(&first) || first == 0x64);
            }
        }
    }
}
