//! What the kernel counts of a connection's packets: those that were sent again, and those that came out of order.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::net::TcpStream;

use super::dial::Stream;
#[cfg(target_os = "linux")]
use super::watched::{Watched, Watcher};

/// Of several connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    pub sent: u32,
    /// Sent once more, and not because an answer was only late.
    pub again: u32,
    /// On how many connections that was.
    pub connections: u32,
    pub received: u32,
    pub disordered: u32,
    /// The longest that any of them had at its best.
    pub round_trip: Duration,
}

impl Packets {
    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            again: self.again.saturating_add(other.again),
            connections: self.connections.saturating_add(other.connections),
            received: self.received.saturating_add(other.received),
            disordered: self.disordered.saturating_add(other.disordered),
            round_trip: self.round_trip.max(other.round_trip),
        }
    }
}

/// Connections that are followed, open ones and those that have ended.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Vec<(SocketAddr, Arc<Mutex<Followed>>)>>);

/// What is known of a connection.
#[derive(Debug)]
enum Followed {
    #[cfg(target_os = "linux")]
    Open(std::os::fd::RawFd),
    Ended(Packets),
}

impl Tally {
    #[cfg(target_os = "linux")]
    pub fn follow(&self, to: SocketAddr, stream: TcpStream) -> Box<dyn Stream> {
        use std::os::fd::AsRawFd;
        let socket = stream.as_raw_fd();
        let followed = Arc::new(Mutex::new(Followed::Open(socket)));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((to, Arc::clone(&followed)));
        Box::new(Watched::new(stream, linux::Follower { socket, followed }))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn follow(&self, _: SocketAddr, stream: TcpStream) -> Box<dyn Stream> {
        Box::new(stream)
    }

    /// Of all connections to this place; `None` where the system does not tell.
    pub fn all(&self, to: SocketAddr) -> Option<Packets> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = all.iter().filter(|(other, _)| *other == to).map(|(_, one)| {
            match &*one.lock().unwrap_or_else(PoisonError::into_inner) {
                #[cfg(target_os = "linux")]
                Followed::Open(socket) => linux::count(*socket),
                Followed::Ended(packets) => *packets,
            }
        });
        cfg!(target_os = "linux").then(|| counted.fold(Packets::default(), Packets::add))
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::RawFd;

    use super::*;

    pub struct Follower {
        pub socket: RawFd,
        pub followed: Arc<Mutex<Followed>>,
    }

    impl Watcher for Follower {}

    impl Drop for Follower {
        /// The descriptor is another's after this: nobody may ask it any more.
        fn drop(&mut self) {
            let packets = count(self.socket);
            *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Followed::Ended(packets);
        }
    }

    /// Places in `struct tcp_info` (linux/tcp.h), as words of 32 bits. An older kernel leaves out the last ones.
    const TOTAL_RETRANS: usize = 25;
    const MIN_RTT: usize = 37;
    const DATA_SEGS_IN: usize = 38;
    const DATA_SEGS_OUT: usize = 39;
    /// Those that the other side had got already (RFC 2883).
    const DSACK_DUPS: usize = 54;
    const RCV_OOOPACK: usize = 56;

    pub fn count(socket: RawFd) -> Packets {
        let mut info = [0_u32; 64];
        let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or_default();
        // SAFETY: the socket is open as long as it is followed, and the kernel writes no more than `length` bytes.
        let asked = unsafe {
            libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
        };
        if asked != 0 {
            return Packets::default();
        }
        let word = |at: usize| info.get(at).copied().unwrap_or_default();
        let again = word(TOTAL_RETRANS).saturating_sub(word(DSACK_DUPS));
        Packets {
            sent: word(DATA_SEGS_OUT).max(again),
            again,
            connections: u32::from(again > 0),
            received: word(DATA_SEGS_IN),
            disordered: word(RCV_OOOPACK),
            // The kernel has all ones until it has measured one.
            round_trip: Duration::from_micros(
                Some(word(MIN_RTT)).filter(|rtt| *rtt != u32::MAX).unwrap_or_default().into(),
            ),
        }
    }
}
