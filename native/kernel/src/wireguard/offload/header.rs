//! The header before every frame of the TUN device, in the byte order of this machine (the driver's default).

pub const HEADER_BYTES: usize = 10;

/// Offsets that the kernel puts the checksum at, from the start of the transport header.
pub const TCP_CHECKSUM: usize = 16;
pub const UDP_CHECKSUM: usize = 6;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmented {
    Tcp4,
    Tcp6,
    /// Of either IP version.
    Udp,
}

/// Where a checksum is still to be made, both in bytes: of what, from the packet's start; stored where, from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub start: usize,
    pub offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// One packet as it is on a wire.
    Finished,
    /// One packet whose transport checksum is to be made.
    Unsummed(Checksum),
    /// Packets with `size` bytes of payload each, the last with what is left.
    Super { segmented: Segmented, size: usize, checksum: Checksum },
}

impl Header {
    /// None: a kind of super-packet that was not asked for.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let [flags, kind, _, _, size @ .., start_0, start_1, offset_0, offset_1] = *bytes;
        let word = |pair: [u8; 2]| usize::from(u16::from_ne_bytes(pair));
        let checksum = Checksum { start: word([start_0, start_1]), offset: word([offset_0, offset_1]) };
        let needs_checksum = flags & NEEDS_CHECKSUM != 0;
        let segmented = match kind {
            GSO_NONE if needs_checksum => return Some(Self::Unsummed(checksum)),
            GSO_NONE => return Some(Self::Finished),
            GSO_TCP4 => Segmented::Tcp4,
            GSO_TCP6 => Segmented::Tcp6,
            GSO_UDP => Segmented::Udp,
            _ => return None,
        };
        let size = word(size);
        (needs_checksum && size > 0).then_some(Self::Super { segmented, size, checksum })
    }

    /// Of a TCP super-packet. All in bytes, and below 65,536 because a packet is.
    pub fn of_tcp(is_v6: bool, headers: usize, size: usize, checksum: Checksum) -> [u8; HEADER_BYTES] {
        let kind = if is_v6 { GSO_TCP6 } else { GSO_TCP4 };
        let mut bytes = [NEEDS_CHECKSUM, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, value) in [(2, headers), (4, size), (6, checksum.start), (8, checksum.offset)] {
            bytes[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
        }
        bytes
    }
}
