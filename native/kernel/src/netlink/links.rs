//! Links: list, up and down, delete, and the settings of a fresh tunnel device.

use napi_derive::napi;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::socket::{Netlink, number};
use crate::errors::Result;

#[napi(object)]
pub struct LinkRow {
    pub ifindex: u32,
    pub name: String,
    pub up: bool,
    pub loopback: bool,
    /// The driver as the kernel names it (`tun`, `wireguard`, `veth`), where it names one.
    pub kind: Option<String>,
}

const BODY_HEADER_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const NEW_LINK: u16 = 16;

pub fn list(socket: &mut Netlink) -> Result<Vec<LinkRow>> {
    let query = RouteNetlinkMessage::GetLink(LinkMessage::default());
    socket.list("list links", &query, |kind, body| if kind == NEW_LINK { parse(body) } else { None })
}

pub fn set_up(socket: &mut Netlink, ifindex: u32, up: bool) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    socket
        .request(RouteNetlinkMessage::SetLink(message), 0)?
        .map_err(|refusal| refusal.into_error(format!("set link {ifindex} {}", if up { "up" } else { "down" })))
}

/// Whether it was there.
pub fn delete(socket: &mut Netlink, ifindex: u32) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    match socket.request(RouteNetlinkMessage::DelLink(message), 0)? {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(false),
        Err(refusal) => Err(refusal.into_error(format!("delete link {ifindex}"))),
    }
}

/// Sets the MTU, and keeps the kernel from giving the link addresses of its own: their multicast chatter would only be
/// dropped and reported as denied traffic.
pub fn prepare_tunnel(socket: &mut Netlink, ifindex: u32, mtu: u32) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    socket
        .request(RouteNetlinkMessage::SetLink(message), 0)?
        .map_err(|refusal| refusal.into_error(format!("set the MTU of link {ifindex}")))?;
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        In6AddrGenMode::None,
    )])]));
    match socket.request(RouteNetlinkMessage::SetLink(message), 0)? {
        Ok(()) => Ok(()),
        // A host without IPv6 has no such setting and needs none.
        Err(refusal) if matches!(refusal.errno, libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => Ok(()),
        Err(refusal) => Err(refusal.into_error(format!("turn off own addresses of link {ifindex}"))),
    }
}

/// Creates a link of kind `wireguard`, down.
pub fn create_wireguard(socket: &mut Netlink, name: &str, mtu: u32) -> Result<()> {
    socket
        .request(RouteNetlinkMessage::NewLink(wireguard_link(name, mtu)), NLM_F_CREATE | NLM_F_EXCL)?
        .map_err(|refusal| refusal.into_error(format!("create WireGuard link {name}")))
}

pub fn wireguard_link(name: &str, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]));
    message
}

pub(super) fn parse(body: &[u8]) -> Option<LinkRow> {
    let ifindex = number(body, 4)?;
    let flags = number(body, 8)?;
    let mut name = None;
    let mut kind = None;
    for attribute in NlasIterator::new(body.get(BODY_HEADER_BYTES..)?).flatten() {
        match attribute.kind() {
            IFLA_IFNAME => name = Some(text(attribute.value())),
            IFLA_LINKINFO => {
                kind = NlasIterator::new(attribute.value())
                    .flatten()
                    .find(|inner| inner.kind() == IFLA_INFO_KIND)
                    .map(|inner| text(inner.value()));
            }
            _ => {}
        }
    }
    Some(LinkRow {
        ifindex,
        name: name?,
        up: flags & libc::IFF_UP as u32 != 0,
        loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
        kind,
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
