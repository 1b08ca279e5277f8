//! One netlink socket: a request with its acknowledgement, a dump, and a batch that is sent packed.

use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};

use crate::errors::{KernelError, Result};

/// Bytes packed into one send; the last message of each asks for the acknowledgement that paces the next.
const BATCH_BYTES: usize = 48 * 1024;
/// An error takes about 1 KiB of the receive queue, and a batch may be all errors; an overrun would hide some.
const RECEIVE_QUEUE_BYTES: libc::c_int = 8 * 1024 * 1024;
const RECEIVE_BYTES: usize = 256 * 1024;
/// The kernel answers in the same system call; past this something is broken, and waiting would hang the enforcer.
const RECEIVE_TIMEOUT_SECONDS: libc::time_t = 20;

const DUMP_ATTEMPTS: usize = 16;

const HEADER_BYTES: usize = 16;
const ERROR_TYPE: u16 = 2;
const DONE_TYPE: u16 = 3;
const FLAG_CAPPED: u16 = 0x100;
const FLAG_ACK_TLVS: u16 = 0x200;
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
const ATTRIBUTE_MESSAGE: u16 = 1;

pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A refusal by the kernel: the errno and, where it gave one, its explanation.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub errno: i32,
    pub words: Option<String>,
}

/// Whether what was read is of one moment.
pub enum Reading {
    Whole,
    Interrupted,
}

impl Refusal {
    pub fn into_error(self, what: impl Into<String>) -> KernelError {
        let mut what = what.into();
        if let Some(words) = &self.words {
            what = format!("{what} ({words})");
        }
        KernelError::from_io(what, &io::Error::from_raw_os_error(self.errno))
    }
}

impl Netlink {
    pub fn open(protocol: isize) -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            if protocol == netlink_sys::protocols::NETLINK_ROUTE {
                socket.set_netlink_get_strict_chk(true)?;
            }
            Ok(socket)
        };
        let socket = open().map_err(|error| KernelError::from_io("open a netlink socket", &error))?;
        let timeout = libc::timeval { tv_sec: RECEIVE_TIMEOUT_SECONDS, tv_usec: 0 };
        set_option(&socket, libc::SO_RCVTIMEO, &timeout)?;
        // Only root may; without it the queue stays at the system's limit and an overrun is an error, not a silence.
        let _ = set_option(&socket, libc::SO_RCVBUFFORCE, &RECEIVE_QUEUE_BYTES);
        Ok(Self { socket, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// One message and its acknowledgement.
    pub fn request<M>(&mut self, message: M, flags: u16) -> Result<std::result::Result<(), Refusal>>
    where
        M: NetlinkSerializable,
        NetlinkPayload<M>: From<M>,
    {
        let refused = self.batch(std::iter::once((message, flags)))?;
        Ok(refused.into_iter().next().map_or(Ok(()), |(_, refusal)| Err(refusal)))
    }

    /// Sends all messages, packed; answers the refused ones by their place.
    pub fn batch<M>(&mut self, messages: impl Iterator<Item = (M, u16)>) -> Result<Vec<(usize, Refusal)>>
    where
        M: NetlinkSerializable,
        NetlinkPayload<M>: From<M>,
    {
        let mut refused = Vec::new();
        let mut packed: Vec<u8> = Vec::with_capacity(BATCH_BYTES + 1024);
        let mut messages = messages.peekable();
        let mut place = 0;
        while messages.peek().is_some() {
            packed.clear();
            let first_place = place;
            let first_sequence = self.sequence.wrapping_add(1);
            while let Some((message, flags)) = messages.next() {
                let is_last = packed.len() >= BATCH_BYTES || messages.peek().is_none();
                let flags = NLM_F_REQUEST | flags | if is_last { NLM_F_ACK } else { 0 };
                self.pack(message, flags, &mut packed);
                place += 1;
                if is_last {
                    break;
                }
            }
            self.send(&packed)?;
            self.collect(first_sequence, first_place, &mut refused)?;
        }
        Ok(refused)
    }

    /// What `parse` makes of the type and body of every answer of a dump. One that others changed meanwhile may lack
    /// entries, and is read again.
    pub fn list<M, T>(
        &mut self,
        what: &str,
        message: &M,
        mut parse: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>>
    where
        M: NetlinkSerializable + Clone,
        NetlinkPayload<M>: From<M>,
    {
        for _ in 0..DUMP_ATTEMPTS {
            let mut rows = Vec::new();
            let outcome = self.ask(message.clone(), NLM_F_DUMP, |kind, body| {
                rows.extend(parse(kind, body));
                Ok(())
            })?;
            match outcome {
                Ok(Reading::Whole) => return Ok(rows),
                Ok(Reading::Interrupted) => {}
                Err(refusal) => return Err(refusal.into_error(what)),
            }
        }
        Err(KernelError::refused(what, "the table does not stop changing"))
    }

    /// Asks, and calls `each` with the type and body of every answer. A refusal by the kernel is an answer too.
    pub fn ask<M>(
        &mut self,
        message: M,
        flags: u16,
        mut each: impl FnMut(u16, &[u8]) -> Result<()>,
    ) -> Result<std::result::Result<Reading, Refusal>>
    where
        M: NetlinkSerializable,
        NetlinkPayload<M>: From<M>,
    {
        let mut packed = Vec::new();
        self.pack(message, NLM_F_REQUEST | flags, &mut packed);
        self.send(&packed)?;
        let wanted = self.sequence;
        let mut interrupted = false;
        let mut refusal: Option<Refusal> = None;
        self.receive_until(|answer| {
            if answer.sequence != wanted {
                return Ok(false);
            }
            interrupted |= answer.flags & FLAG_DUMP_INTERRUPTED != 0;
            match answer.kind {
                DONE_TYPE | ERROR_TYPE => {
                    refusal = answer.refusal();
                    Ok(true)
                }
                kind => each(kind, answer.body).map(|()| false),
            }
        })?;
        Ok(match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(if interrupted { Reading::Interrupted } else { Reading::Whole }),
        })
    }

    fn pack<M>(&mut self, message: M, flags: u16, into: &mut Vec<u8>)
    where
        M: NetlinkSerializable,
        NetlinkPayload<M>: From<M>,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let start = into.len();
        into.resize(start + packet.buffer_len().next_multiple_of(4), 0);
        packet.serialize(&mut into[start..]);
    }

    fn send(&self, packed: &[u8]) -> Result<()> {
        let kernel = SocketAddr::new(0, 0);
        let sent = self.socket.send_to(packed, &kernel, 0).map_err(|error| KernelError::from_io("netlink", &error))?;
        if sent != packed.len() {
            return Err(KernelError::refused("netlink", "a message was sent in part"));
        }
        Ok(())
    }

    fn collect(&mut self, first_sequence: u32, first_place: usize, refused: &mut Vec<(usize, Refusal)>) -> Result<()> {
        let last = self.sequence;
        self.receive_until(|answer| {
            let offset = answer.sequence.wrapping_sub(first_sequence);
            if answer.kind != ERROR_TYPE || offset > last.wrapping_sub(first_sequence) {
                return Ok(false);
            }
            if let Some(refusal) = answer.refusal() {
                refused.push((first_place + offset as usize, refusal));
            }
            Ok(answer.sequence == last)
        })
    }

    /// Feeds every answer of the kernel to `each` until it says that it was the last.
    fn receive_until(&mut self, mut each: impl FnMut(&Answer<'_>) -> Result<bool>) -> Result<()> {
        loop {
            let mut room = &mut self.buffer[..];
            let (length, sender) = self
                .socket
                .recv_from(&mut room, libc::MSG_TRUNC)
                .map_err(|error| KernelError::from_io("netlink answer", &error))?;
            // Another process can send to our port number; only the kernel is 0.
            if sender.port_number() != 0 {
                continue;
            }
            if length > self.buffer.len() {
                return Err(KernelError::refused("netlink answer", "longer than the buffer"));
            }
            let mut rest = &self.buffer[..length];
            while let Some((answer, after)) = Answer::split(rest) {
                if each(&answer)? {
                    return Ok(());
                }
                rest = after;
            }
        }
    }
}

struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = bytes.get(..HEADER_BYTES)?;
        let length = number(header, 0)? as usize;
        let body = bytes.get(HEADER_BYTES..length)?;
        let flags_and_kind = number(header, 4)?;
        let answer = Self {
            kind: (flags_and_kind & 0xffff) as u16,
            flags: (flags_and_kind >> 16) as u16,
            sequence: number(header, 8)?,
            body,
        };
        Some((answer, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
    }

    /// Of an acknowledgement or the end of a dump: nothing when it is a success.
    fn refusal(&self) -> Option<Refusal> {
        let code = number(self.body, 0)? as i32;
        if code == 0 {
            return None;
        }
        Some(Refusal { errno: -code, words: self.explanation() })
    }

    fn explanation(&self) -> Option<String> {
        if self.flags & FLAG_ACK_TLVS == 0 {
            return None;
        }
        let attributes = if self.kind == DONE_TYPE {
            self.body.get(4..)?
        } else {
            let echoed = if self.flags & FLAG_CAPPED != 0 { HEADER_BYTES } else { number(self.body, 4)? as usize };
            self.body.get(4 + echoed..)?
        };
        let text = NlasIterator::new(attributes).flatten().find(|attribute| attribute.kind() == ATTRIBUTE_MESSAGE)?;
        let text = text.value().split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// A native-endian 32-bit number at `at`.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn set_option<T>(socket: &Socket, option: libc::c_int, value: &T) -> Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            std::mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(KernelError::last_os("set a netlink socket option")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::{Random, runs};

    /// A header, flags and kind in one word as `split` reads them, and a body.
    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn explained_error() -> Vec<u8> {
        let text = [12_u16.to_ne_bytes(), ATTRIBUTE_MESSAGE.to_ne_bytes()].concat();
        let echoed = vec![0; 16];
        let body = [(-22_i32).to_ne_bytes().to_vec(), echoed, text, b"no such".to_vec(), vec![0]].concat();
        message(ERROR_TYPE, FLAG_ACK_TLVS | FLAG_CAPPED, &body)
    }

    #[test]
    fn an_error_is_told_with_the_kernels_words() {
        let bytes = explained_error();
        let (answer, rest) = Answer::split(&bytes).unwrap();
        let refusal = answer.refusal().unwrap();
        assert_eq!((refusal.errno, refusal.words.as_deref(), rest.len()), (22, Some("no such"), 0));
    }

    #[test]
    fn changed_answers_are_taken_apart_in_as_many_steps_as_they_have_headers() {
        let whole = [message(24, 2, &[0; 12]), explained_error(), message(DONE_TYPE, 2, &[0; 4])].concat();
        let mut random = Random::seeded();
        for _ in 0..runs() {
            let bytes = random.changed(&whole);
            let (mut rest, mut steps) = (bytes.as_slice(), 0);
            while let Some((answer, after)) = Answer::split(rest) {
                steps += 1;
                assert!(after.len() + HEADER_BYTES <= rest.len() && steps * HEADER_BYTES <= bytes.len());
                if let Some(words) = answer.refusal().and_then(|refusal| refusal.words) {
                    assert!(words.len() <= 3 * bytes.len());
                }
                rest = after;
            }
        }
    }
}
