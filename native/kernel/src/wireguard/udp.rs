//! The UDP socket of an embedded device. gotatun closes and opens its socket at every reconfiguration, and the new one
//! often finds the port still taken, after which the device has none at all. This factory hands out the same socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use gotatun::packet::{Packet, PacketBufPool};
use gotatun::udp::socket::{SockOpt, UdpSocket};
use gotatun::udp::{UdpRecv, UdpTransportFactory, UdpTransportFactoryParams};

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
    type Send = UdpSocket;
    type Recv = PatientReceiver;

    async fn bind(&mut self, _: &UdpTransportFactoryParams) -> io::Result<(Self::Send, Self::Recv)> {
        Ok((self.socket.clone(), PatientReceiver(self.socket.clone())))
    }
}

/// gotatun stops listening at the first error of a receive; a passing one (no memory) must not end a tunnel.
pub struct PatientReceiver(UdpSocket);

impl UdpRecv for PatientReceiver {
    type RecvManyBuf = <UdpSocket as UdpRecv>::RecvManyBuf;

    async fn recv_from(&mut self, pool: &mut PacketBufPool) -> io::Result<(Packet, SocketAddr)> {
        loop {
            match self.0.recv_from(pool).await {
                Ok(received) => return Ok(received),
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
        loop {
            match self.0.recv_many_from(buffer, pool, packets).await {
                Ok(()) => return Ok(()),
                Err(error) => pause(error).await?,
            }
        }
    }
}

async fn pause(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::EBADF) {
        return Err(error);
    }
    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
    Ok(())
}
