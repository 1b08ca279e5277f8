//! Which peer an address belongs to: the longest allowed prefix that holds it (cryptokey routing).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

pub struct Routes<T> {
    v4: Family<T>,
    v6: Family<T>,
}

/// By prefix length; peers use few different ones, and each is one look-up.
struct Family<T>(BTreeMap<u8, HashMap<u128, T>>);

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { v4: Family(BTreeMap::new()), v6: Family(BTreeMap::new()) }
    }
}

impl<T> Routes<T> {
    /// A prefix has one owner: the latest.
    pub fn insert(&mut self, network: IpNetwork, owner: T) {
        let (length, address) = (network.prefix(), bits(network.ip()));
        self.family(network.ip()).0.entry(length).or_default().insert(masked(address, length), owner);
    }

    pub fn find(&self, address: IpAddr) -> Option<&T> {
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let address = bits(address);
        family.0.iter().rev().find_map(|(length, owners)| owners.get(&masked(address, *length)))
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for family in [&mut self.v4, &mut self.v6] {
            family.0.retain(|_, owners| {
                owners.retain(|_, owner| keep(owner));
                !owners.is_empty()
            });
        }
    }

    fn family(&mut self, address: IpAddr) -> &mut Family<T> {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

/// The address's bits first, so that prefix lengths mean the same in both families.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: u128, length: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_families_do_not_mix() {
        let mut routes = Routes::default();
        for (network, owner) in [("0.0.0.0/0", 'a'), ("10.0.0.0/8", 'b'), ("10.1.0.0/16", 'c'), ("fd00::/8", 'd')] {
            routes.insert(network.parse().unwrap(), owner);
        }
        let owner = |routes: &Routes<char>, address: &str| routes.find(address.parse().unwrap()).copied();
        assert_eq!(owner(&routes, "10.1.2.3"), Some('c'));
        assert_eq!(owner(&routes, "10.2.2.3"), Some('b'));
        assert_eq!(owner(&routes, "192.0.2.1"), Some('a'));
        assert_eq!(owner(&routes, "fd12::1"), Some('d'));
        assert_eq!(owner(&routes, "2001:db8::1"), None);
        routes.retain(|owner| *owner != 'c');
        assert_eq!(owner(&routes, "10.1.2.3"), Some('b'));
    }

    #[test]
    fn a_prefix_that_is_given_again_has_its_new_owner() {
        let mut routes = Routes::default();
        routes.insert("10.0.0.1/32".parse().unwrap(), 'a');
        routes.insert("10.0.0.1/32".parse().unwrap(), 'b');
        assert_eq!(routes.find("10.0.0.1".parse().unwrap()), Some(&'b'));
    }
}
