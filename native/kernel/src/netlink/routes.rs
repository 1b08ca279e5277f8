//! Routes with our protocol number. Packed form, 48 bytes each, little-endian numbers:
//! 0 family (4, 6) · 1 prefix length · 2 gateway present (0, 1) · 3 zero · 4 ifindex · 8 table · 12 metric, 0 for the
//! kernel's default · 16 destination, 16 bytes · 32 gateway, 16 bytes. IPv4 uses the first four of the sixteen.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NlasIterator};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::{Netlink, Refusal, number};
use crate::errors::{KernelError, Result};

pub const OUR_PROTOCOL: u8 = 83;
pub const RECORD_BYTES: usize = 48;
/// What the kernel gives an IPv6 route that names no metric.
const IPV6_DEFAULT_METRIC: u32 = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    pub destination: IpAddr,
    pub length: u8,
    pub ifindex: u32,
    pub table: u32,
    pub gateway: Option<IpAddr>,
    /// As the kernel holds it: 0 is a metric of its own on IPv4 only.
    pub metric: u32,
}

/// What two routes may not share: within it the kernel replaces one by the other.
type Key = (IpAddr, u8, u32, u32);

impl Route {
    fn key(&self) -> Key {
        (self.destination, self.length, self.table, self.metric)
    }

    fn words(&self) -> String {
        let gateway = self.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
        format!("{}/{}{gateway} link {} table {}", self.destination, self.length, self.ifindex, self.table)
    }
}

/// Puts all routes in place or, when one is refused, takes those that it created away again. A route of ours in the same
/// place is replaced without a gap; one of another program is never touched.
pub fn add(socket: &mut Netlink, wanted: &[Route]) -> Result<()> {
    let refused = socket.batch(wanted.iter().map(|route| (new_message(route), NLM_F_CREATE | NLM_F_EXCL)))?;
    if refused.is_empty() {
        return Ok(());
    }
    let created = {
        let places: HashSet<usize> = refused.iter().map(|(place, _)| *place).collect();
        let kept = wanted.iter().enumerate().filter(|(place, _)| !places.contains(place));
        kept.map(|(_, route)| route.clone()).collect::<Vec<_>>()
    };
    let outcome = replace_ours(socket, wanted, &refused);
    if outcome.is_err() {
        // The first refusal is the one to report, whatever the way back says.
        let _ = socket.batch(created.iter().map(|route| (delete_message(route), 0)));
    }
    outcome
}

fn replace_ours(socket: &mut Netlink, wanted: &[Route], refused: &[(usize, Refusal)]) -> Result<()> {
    let (taken, failed): (Vec<_>, Vec<_>) = refused.iter().partition(|(_, refusal)| refusal.errno == libc::EEXIST);
    if let Some((place, refusal)) = failed.first() {
        return Err(report("add route", &wanted[*place], refusal, failed.len()));
    }
    let ours: HashMap<Key, Route> = list_ours(socket)?.into_iter().map(|route| (route.key(), route)).collect();
    let foreign: Vec<_> = taken.iter().filter(|(place, _)| !ours.contains_key(&wanted[*place].key())).collect();
    if let Some((place, refusal)) = foreign.first() {
        return Err(report("add route, another program has one there:", &wanted[*place], refusal, foreign.len()));
    }
    let changed: Vec<&Route> =
        taken.iter().map(|(place, _)| &wanted[*place]).filter(|route| ours.get(&route.key()) != Some(*route)).collect();
    let refused = socket.batch(changed.iter().map(|route| (new_message(route), NLM_F_CREATE | NLM_F_REPLACE)))?;
    match refused.first() {
        None => Ok(()),
        Some((place, refusal)) => Err(report("replace route", changed[*place], refusal, refused.len())),
    }
}

/// Idempotent. Only what is ours and equal in every field goes: the kernel alone would take the next best metric.
pub fn remove(socket: &mut Netlink, unwanted: &[Route]) -> Result<()> {
    let ours: HashSet<Route> = list_ours(socket)?.into_iter().collect();
    let present: Vec<&Route> = unwanted.iter().filter(|route| ours.contains(*route)).collect();
    let refused = socket.batch(present.iter().map(|route| (delete_message(route), 0)))?;
    let failed: Vec<_> = refused.iter().filter(|(_, refusal)| refusal.errno != libc::ESRCH).collect();
    match failed.first() {
        None => Ok(()),
        Some((place, refusal)) => Err(report("remove route", present[*place], refusal, failed.len())),
    }
}

pub fn list_ours(socket: &mut Netlink) -> Result<Vec<Route>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut query = RouteMessage::default();
        query.header.address_family = family;
        query.header.protocol = RouteProtocol::Other(OUR_PROTOCOL);
        let family_number = u8::from(family);
        // Without IPv6 the kernel answers that question with the other families' routes.
        let is_meant = |body: &[u8]| body.first() == Some(&family_number);
        let query = RouteNetlinkMessage::GetRoute(query);
        found.extend(socket.list("list routes", &query, |_, body| if is_meant(body) { parse(body) } else { None })?);
    }
    Ok(found)
}

pub fn unpack(packed: &[u8]) -> Result<Vec<Route>> {
    if !packed.len().is_multiple_of(RECORD_BYTES) {
        return Err(KernelError::refused("unpack routes", "not a whole number of records"));
    }
    packed.chunks_exact(RECORD_BYTES).map(unpack_one).collect()
}

fn unpack_one(record: &[u8]) -> Result<Route> {
    let malformed = || KernelError::refused("unpack routes", "a record is malformed");
    let size = match record[0] {
        4 => 4,
        6 => 16,
        _ => return Err(malformed()),
    };
    let little = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    let length = record[1];
    if usize::from(length) > size * 8 || record[2] > 1 {
        return Err(malformed());
    }
    let metric = match (record[0], little(12)) {
        (6, 0) => IPV6_DEFAULT_METRIC,
        (_, metric) => metric,
    };
    Ok(Route {
        destination: address_of(&record[16..16 + size])?,
        length,
        ifindex: little(4),
        table: little(8),
        gateway: if record[2] == 1 { Some(address_of(&record[32..32 + size])?) } else { None },
        metric,
    })
}

pub fn pack(routes: &[Route]) -> Vec<u8> {
    let mut packed = vec![0; routes.len() * RECORD_BYTES];
    for (route, record) in routes.iter().zip(packed.chunks_exact_mut(RECORD_BYTES)) {
        let metric = match route.destination {
            IpAddr::V6(_) if route.metric == IPV6_DEFAULT_METRIC => 0,
            IpAddr::V4(_) | IpAddr::V6(_) => route.metric,
        };
        record[0] = if route.destination.is_ipv4() { 4 } else { 6 };
        record[1] = route.length;
        record[2] = u8::from(route.gateway.is_some());
        record[4..8].copy_from_slice(&route.ifindex.to_le_bytes());
        record[8..12].copy_from_slice(&route.table.to_le_bytes());
        record[12..16].copy_from_slice(&metric.to_le_bytes());
        put_address(&mut record[16..32], route.destination);
        if let Some(gateway) = route.gateway {
            put_address(&mut record[32..48], gateway);
        }
    }
    packed
}

fn put_address(into: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => into[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => into[..16].copy_from_slice(&address.octets()),
    }
}

/// From 4 or 16 bytes in network order.
pub fn address_of(bytes: &[u8]) -> Result<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(bytes));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ok(IpAddr::from(bytes)),
        Err(_) => Err(KernelError::refused("read an address", format!("{} bytes", bytes.len()))),
    }
}

fn new_message(route: &Route) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewRoute(message(route))
}

fn delete_message(route: &Route) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelRoute(message(route))
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: if route.destination.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 },
        destination_prefix_length: route.length,
        table: u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        protocol: RouteProtocol::Other(OUR_PROTOCOL),
        scope: match (route.destination, route.gateway) {
            (IpAddr::V4(_), None) => RouteScope::Link,
            (IpAddr::V4(_), Some(_)) | (IpAddr::V6(_), _) => RouteScope::Universe,
        },
        kind: RouteType::Unicast,
        // The link is always named, so the gateway need not be under an address of ours.
        flags: if route.gateway.is_some() { RouteFlags::Onlink } else { RouteFlags::empty() },
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Destination(route.destination.into()));
    message.attributes.push(RouteAttribute::Oif(route.ifindex));
    message.attributes.push(RouteAttribute::Table(route.table));
    if let Some(gateway) = route.gateway {
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

const BODY_HEADER_BYTES: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;

/// Nothing for what is not ours, and for routes of other shapes (several next hops) that we never make.
pub(super) fn parse(body: &[u8]) -> Option<Route> {
    let header = body.get(..BODY_HEADER_BYTES)?;
    if header[5] != OUR_PROTOCOL {
        return None;
    }
    let unspecified: IpAddr = if header[0] == libc::AF_INET as u8 { [0; 4].into() } else { [0; 16].into() };
    let mut route = Route {
        destination: unspecified,
        length: header[1],
        ifindex: 0,
        table: u32::from(header[4]),
        gateway: None,
        metric: 0,
    };
    for attribute in NlasIterator::new(&body[BODY_HEADER_BYTES..]).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            RTA_DST => route.destination = address_of(value).ok()?,
            RTA_OIF => route.ifindex = number(value, 0)?,
            RTA_GATEWAY => route.gateway = Some(address_of(value).ok()?),
            RTA_PRIORITY => route.metric = number(value, 0)?,
            RTA_TABLE => route.table = number(value, 0)?,
            _ => {}
        }
    }
    (route.ifindex != 0).then_some(route)
}

fn report(what: &str, route: &Route, refusal: &Refusal, count: usize) -> KernelError {
    let more = if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
    refusal.clone().into_error(format!("{what} {}{more}", route.words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_field() {
        let routes = vec![
            Route {
                destination: "10.1.0.0".parse().unwrap(),
                length: 16,
                ifindex: 7,
                table: 254,
                gateway: Some("10.0.0.1".parse().unwrap()),
                metric: 5,
            },
            Route {
                destination: "2001:db8::".parse().unwrap(),
                length: 32,
                ifindex: 8,
                table: 1000,
                gateway: None,
                metric: IPV6_DEFAULT_METRIC,
            },
        ];
        assert_eq!(unpack(&pack(&routes)).unwrap(), routes);
    }

    #[test]
    fn a_truncated_record_or_an_impossible_length_is_refused() {
        let mut record = vec![0; RECORD_BYTES];
        record[0] = 4;
        record[1] = 33;
        assert!(unpack(&record).is_err());
        assert!(unpack(&record[..47]).is_err());
    }
}
