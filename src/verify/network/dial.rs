//! How a TCP connection is opened: over this machine's network, unless somebody brings another.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, UdpSocket},
};

use super::packets::{Packets, Tally};

/// What every path carries (RFC 1122 section 3.3.3), without headers.
#[cfg(unix)]
const SMALL_SEGMENT: u32 = 536;

/// Why no TCP connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoConnection {
    /// No answer: something on the way drops the packets, or nothing is there.
    Silent,
    /// A reset: the machine is there, and nothing listens; or something on the way says so.
    Refused,
    /// There is no way from here, or something says so.
    Unreachable(String),
    /// This machine could not even try.
    Here(String),
}

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that came about.
pub struct Dialed {
    pub stream: Box<dyn Stream>,
    /// Its source, as this side sees it.
    pub source: Option<IpAddr>,
}

/// A way to open connections. Whoever dials sets the time; a future that never ends is a peer that never answers.
pub trait Dialer: fmt::Debug + Send + Sync {
    /// `from`: the source to connect from; the dialer's choice otherwise.
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, Result<Dialed, NoConnection>>;

    /// The same, in segments that every path carries, both ways; `None`: not to be had.
    fn dial_small(
        &self,
        _to: SocketAddr,
        _from: Option<IpAddr>,
    ) -> Option<BoxFuture<'_, Result<Dialed, NoConnection>>> {
        None
    }

    /// The source that a connection to `to` would have.
    fn source(&self, to: SocketAddr) -> BoxFuture<'_, Option<IpAddr>>;

    /// What became of the packets of all connections to this place so far; `None` where nobody counts them.
    fn packets(&self, _to: SocketAddr) -> Option<Packets> {
        None
    }
}

/// This machine's own network.
#[derive(Debug, Default)]
pub struct Tcp(Arc<Tally>);

impl Dialer for Tcp {
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, Result<Dialed, NoConnection>> {
        connect(to, from, false, Arc::clone(&self.0)).boxed()
    }

    fn dial_small(&self, to: SocketAddr, from: Option<IpAddr>) -> Option<BoxFuture<'_, Result<Dialed, NoConnection>>> {
        cfg!(unix).then(|| connect(to, from, true, Arc::clone(&self.0)).boxed())
    }

    fn source(&self, to: SocketAddr) -> BoxFuture<'_, Option<IpAddr>> {
        source(to).boxed()
    }

    fn packets(&self, to: SocketAddr) -> Option<Packets> {
        self.0.all(to)
    }
}

async fn connect(to: SocketAddr, from: Option<IpAddr>, small: bool, tally: Arc<Tally>) -> Result<Dialed, NoConnection> {
    let here = |error: io::Error| NoConnection::Here(error.to_string());
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(here)?;
    // What is announced to the other side limits it, too.
    #[cfg(unix)]
    if small {
        socket2::SockRef::from(&socket).set_tcp_mss(SMALL_SEGMENT).map_err(here)?;
    }
    #[cfg(not(unix))]
    let _ = small;
    if let Some(from) = from {
        socket
            .bind(SocketAddr::new(from, 0))
            .map_err(|error| NoConnection::Here(format!("{from} is no address of this machine ({error})")))?;
    }
    let stream = socket.connect(to).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => NoConnection::Refused,
        io::ErrorKind::TimedOut => NoConnection::Silent,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            NoConnection::Unreachable(error.to_string())
        }
        _ => NoConnection::Here(error.to_string()),
    })?;
    // What is sent is small and waits for an answer; that the option cannot be set would only make it slower.
    let _ = stream.set_nodelay(true);
    let source = stream.local_addr().ok().map(|address| address.ip());
    Ok(Dialed { stream: tally.follow(to, stream), source })
}

/// Connecting a UDP socket sends nothing.
async fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(to).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
