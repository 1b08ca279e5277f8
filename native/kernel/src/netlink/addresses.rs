//! Addresses of a link.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::Netlink;
use crate::errors::Result;

/// Idempotent. An IPv6 address is usable at once: on a tunnel nobody could answer duplicate detection.
pub fn add(socket: &mut Netlink, ifindex: u32, address: IpAddr, length: u8) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = ifindex;
    message.header.prefix_len = length;
    match address {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.push(AddressAttribute::Local(address));
            message.attributes.push(AddressAttribute::Address(address));
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.attributes.push(AddressAttribute::Address(address));
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    socket
        .request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)?
        .map_err(|refusal| refusal.into_error(format!("add address {address}/{length} to link {ifindex}")))
}
