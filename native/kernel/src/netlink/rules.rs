//! Policy rules that send marked packets to a table. All carry our protocol number and the mask of our marks.

use napi_derive::napi;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::routes::OUR_PROTOCOL;
use super::socket::{Netlink, number};
use crate::errors::{KernelError, Result};

/// The bits of a packet's mark that are ours; others' marks use the rest.
pub const MARK_MASK: u32 = 0xff00_0000;

#[napi(object)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRow {
    /// 4 or 6.
    pub family: u8,
    /// Lower is asked first.
    pub priority: u32,
    /// Only bits of MARK_MASK.
    pub mark: u32,
    pub table: u32,
}

/// Idempotent.
pub fn add(socket: &mut Netlink, rule: &RuleRow) -> Result<()> {
    match socket.request(RouteNetlinkMessage::NewRule(message(rule)?), NLM_F_CREATE | NLM_F_EXCL)? {
        Ok(()) => Ok(()),
        Err(refusal) if refusal.errno == libc::EEXIST => Ok(()),
        Err(refusal) => Err(refusal.into_error(format!("add rule {}", rule.priority))),
    }
}

/// Idempotent.
pub fn remove(socket: &mut Netlink, rule: &RuleRow) -> Result<()> {
    match socket.request(RouteNetlinkMessage::DelRule(message(rule)?), 0)? {
        Ok(()) => Ok(()),
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(()),
        Err(refusal) => Err(refusal.into_error(format!("remove rule {}", rule.priority))),
    }
}

pub fn list_ours(socket: &mut Netlink) -> Result<Vec<RuleRow>> {
    let mut rows = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut query = RuleMessage::default();
        query.header.family = family;
        let family_number = u8::from(family);
        let is_meant = |body: &[u8]| body.first() == Some(&family_number);
        let query = RouteNetlinkMessage::GetRule(query);
        rows.extend(socket.list("list rules", &query, |_, body| if is_meant(body) { parse(body) } else { None })?);
    }
    Ok(rows)
}

fn message(rule: &RuleRow) -> Result<RuleMessage> {
    if rule.mark == 0 || rule.mark & !MARK_MASK != 0 {
        return Err(KernelError::refused("policy rule", format!("mark {:#x} is outside our mask", rule.mark)));
    }
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        4 => AddressFamily::Inet,
        6 => AddressFamily::Inet6,
        other => return Err(KernelError::refused("policy rule", format!("family {other}"))),
    };
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::FwMark(rule.mark),
        RuleAttribute::FwMask(MARK_MASK),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::Other(OUR_PROTOCOL)),
    ];
    Ok(message)
}

const BODY_HEADER_BYTES: usize = 12;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;

pub(super) fn parse(body: &[u8]) -> Option<RuleRow> {
    let header = body.get(..BODY_HEADER_BYTES)?;
    let family = if header[0] == libc::AF_INET as u8 { 4 } else { 6 };
    let mut row = RuleRow { family, priority: 0, mark: 0, table: u32::from(header[4]) };
    let mut is_ours = false;
    for attribute in NlasIterator::new(&body[BODY_HEADER_BYTES..]).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            FRA_PRIORITY => row.priority = number(value, 0)?,
            FRA_FWMARK => row.mark = number(value, 0)?,
            FRA_TABLE => row.table = number(value, 0)?,
            FRA_PROTOCOL => is_ours = value.first() == Some(&OUR_PROTOCOL),
            _ => {}
        }
    }
    is_ours.then_some(row)
}
