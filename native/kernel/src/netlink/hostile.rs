//! Answers of rtnetlink that are not what they claim to be. The kernel is trusted, but a length that it and we read
//! differently must cost one entry, never the process.

use netlink_packet_core::Emitable;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::{links, routes, rules};
use crate::hostile::{Random, runs};

/// Attributes as the header says: length and type, both 16 bits in host order, padded to four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [(value.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn route() -> Vec<u8> {
    let header = vec![2, 16, 0, 0, 254, 83, 0, 1, 0, 0, 0, 0];
    let fields = [
        attribute(15, &254_u32.to_ne_bytes()),
        attribute(1, &[10, 1, 0, 0]),
        attribute(6, &5_u32.to_ne_bytes()),
        attribute(5, &[10, 0, 0, 1]),
        attribute(4, &7_u32.to_ne_bytes()),
    ];
    [header, fields.concat()].concat()
}

fn rule() -> Vec<u8> {
    let header = vec![10, 0, 0, 0, 100, 0, 0, 1, 0, 0, 0, 0];
    let fields = [
        attribute(6, &9_u32.to_ne_bytes()),
        attribute(10, &0x0100_0000_u32.to_ne_bytes()),
        attribute(15, &100_u32.to_ne_bytes()),
        attribute(21, &[83]),
    ];
    [header, fields.concat()].concat()
}

fn link() -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.attributes =
        vec![LinkAttribute::IfName("shsmain-0".into()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Tun)])];
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

#[test]
fn the_examples_are_read() {
    assert_eq!(routes::parse(&route()).map(|route| (route.ifindex, route.length)), Some((7, 16)));
    assert_eq!(rules::parse(&rule()).map(|rule| (rule.family, rule.table)), Some((6, 100)));
    assert_eq!(links::parse(&link()).map(|link| (link.ifindex, link.name)), Some((7, "shsmain-0".to_string())));
}

#[test]
fn changed_answers_are_read_or_left_out_and_nothing_else() {
    let mut random = Random::seeded();
    for _ in 0..runs() {
        let bytes = random.changed(&route());
        if let Some(route) = routes::parse(&bytes) {
            assert_ne!(route.ifindex, 0);
            // What was read can be handed to JavaScript.
            assert_eq!(routes::pack(&[route]).len(), routes::RECORD_BYTES);
        }
        let bytes = random.changed(&link());
        if let Some(link) = links::parse(&bytes) {
            assert!(link.name.len() <= 3 * bytes.len() && !link.name.contains('\0'));
        }
        let bytes = random.changed(&rule());
        rules::parse(&bytes);
    }
}
