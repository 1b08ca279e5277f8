//! The UDP socket of an embedded device. gotatun closes and opens its socket at every reconfiguration, and the new one
//! often finds the port still taken, after which the device has none at all. This factory hands out the same socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use gotatun::packet::{Packet, PacketBufPool};
use gotatun::udp::socket::{SockOpt, UdpSocket};
use gotatun::udp::{UdpRecv, UdpSend, UdpTransportFactory, UdpTransportFactoryParams};

use crate::errors::{KernelError, Result};

const BUFFER_BYTES: usize = 4 * 1024 * 1024;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

pub struct ReusedSocket {
    socket: UdpSocket,
}

impl ReusedSocket {
    /// Binds in the network namespace of the calling thread, to both families where the host has IPv6. Must be called
    /// inside the runtime.
    pub fn bind(port: u16) -> Result<Self> {
        let options = SockOpt {
            recv_buffer_size: Some(BUFFER_BYTES),
            send_buffer_size: Some(BUFFER_BYTES),
            only_v6: Some(false),
            ..SockOpt::default()
        };
        let bound = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), options).or_else(|error| {
            match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
                    UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options)
                }
                _ => Err(error),
            }
        });
        let socket = bound.map_err(|error| KernelError::from_io(format!("bind UDP port {port}"), &error))?;
        // Only throughput is lost where the kernel has no receive offload.
        let _ = UdpRecv::enable_udp_gro(&socket);
        Ok(Self { socket })
    }

    pub fn port(&self) -> Result<u16> {
        let address = self.socket.local_addr().map_err(|error| KernelError::from_io("read the UDP port", &error))?;
        Ok(address.port())
    }
}

impl UdpTransportFactory for ReusedSocket {
    type Send = Sender;
    type Recv = Receiver;

    async fn bind(&mut self, _: &UdpTransportFactoryParams) -> io::Result<(Self::Send, Self::Recv)> {
        Ok((Sender(self.socket.clone()), Receiver(self.socket.clone())))
    }
}

/// gotatun tells of a handshake when it has answered an initiation, but an initiation proves nothing of the pre-shared
/// key: only a response and data do. It keeps the address of the last authenticated packet as the peer's endpoint, so
/// the receiver writes into that address what kind of packet came from there, in the flow information of IPv6, and the
/// sender takes it out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub address: SocketAddr,
    /// Whether the last authenticated packet proved the pre-shared key.
    pub proves_secret: bool,
}

const PROVES_SECRET: u32 = 1;
const RESPONSE: u8 = 2;
const DATA: u8 = 4;

impl Origin {
    pub fn read(marked: SocketAddr) -> Self {
        match marked {
            SocketAddr::V4(_) => Self { address: marked, proves_secret: false },
            SocketAddr::V6(marked) => {
                let address = match marked.ip().to_ipv4_mapped() {
                    Some(ip) => SocketAddr::from((ip, marked.port())),
                    None => SocketAddrV6::new(*marked.ip(), marked.port(), 0, marked.scope_id()).into(),
                };
                Self { address, proves_secret: marked.flowinfo() == PROVES_SECRET }
            }
        }
    }

    fn of_packet(packet: &[u8], from: SocketAddr) -> Self {
        Self { address: from, proves_secret: matches!(packet.first(), Some(&RESPONSE | &DATA)) }
    }

    fn write(self) -> SocketAddr {
        let mark = if self.proves_secret { PROVES_SECRET } else { 0 };
        let marked = match self.address {
            SocketAddr::V4(at) => SocketAddrV6::new(at.ip().to_ipv6_mapped(), at.port(), mark, 0),
            SocketAddr::V6(at) => SocketAddrV6::new(*at.ip(), at.port(), mark, at.scope_id()),
        };
        marked.into()
    }
}

#[derive(Clone)]
pub struct Sender(UdpSocket);

impl UdpSend for Sender {
    type SendManyBuf = <UdpSocket as UdpSend>::SendManyBuf;

    async fn send_to(&self, packet: Packet, destination: SocketAddr) -> io::Result<()> {
        self.0.send_to(packet, Origin::read(destination).address).await
    }

    fn max_number_of_packets_to_send(&self) -> usize {
        UdpSend::max_number_of_packets_to_send(&self.0)
    }

    async fn send_many_to(
        &self,
        buffer: &mut Self::SendManyBuf,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        for (_, destination) in packets.iter_mut() {
            *destination = Origin::read(*destination).address;
        }
        self.0.send_many_to(buffer, packets).await
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        UdpSend::local_addr(&self.0)
    }
}

/// gotatun stops listening at the first error of a receive; a passing one (no memory) must not end a tunnel.
pub struct Receiver(UdpSocket);

impl UdpRecv for Receiver {
    type RecvManyBuf = <UdpSocket as UdpRecv>::RecvManyBuf;

    async fn recv_from(&mut self, pool: &mut PacketBufPool) -> io::Result<(Packet, SocketAddr)> {
        loop {
            match self.0.recv_from(pool).await {
                Ok((packet, from)) => {
                    let marked = Origin::of_packet(&packet, from).write();
                    return Ok((packet, marked));
                }
                Err(error) => pause(error).await?,
            }
        }
    }

    async fn recv_many_from(
        &mut self,
        buffer: &mut Self::RecvManyBuf,
        pool: &mut PacketBufPool,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        let before = packets.len();
        while let Err(error) = self.0.recv_many_from(buffer, pool, packets).await {
            pause(error).await?;
        }
        for (packet, from) in packets.iter_mut().skip(before) {
            *from = Origin::of_packet(packet, *from).write();
        }
        Ok(())
    }
}

async fn pause(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::EBADF) {
        return Err(error);
    }
    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiation_proves_no_secret_a_response_and_data_do_and_the_address_survives() {
        for text in ["192.0.2.1:51840", "[2001:db8::1]:51840", "[fe80::1%3]:51840"] {
            let from: SocketAddr = text.parse().unwrap();
            for (kind, proves_secret) in [(1, false), (RESPONSE, true), (3, false), (DATA, true)] {
                let marked = Origin::of_packet(&[kind, 0, 0, 0], from).write();
                assert_eq!(Origin::read(marked), Origin { address: from, proves_secret });
            }
        }
    }

    #[test]
    fn an_endpoint_that_was_configured_proves_nothing() {
        for text in ["192.0.2.1:51840", "[2001:db8::1]:51840"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Origin::read(address), Origin { address, proves_secret: false });
        }
    }
}
