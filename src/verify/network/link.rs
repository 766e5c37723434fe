//! A connection to the server, up to its algorithms, by our own reader: the SSH library only meets what has passed it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    clock::Clock,
    dial::Stream,
    wire::{self, Greeting, KexInit, Malformed},
};

/// What we call ourselves, in the greeting.
pub const IDENTIFICATION: &str = concat!("SSH-2.0-gangplank_", env!("CARGO_PKG_VERSION"));

/// What a server may send on one connection; an honest one needs a hundredth of it.
const MOST_BYTES: u64 = 8 << 20;

/// Why a server's words could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    Silent,
    /// The connection ended, and what was said before.
    Closed(Option<String>),
    Malformed(Malformed),
}

/// A server's words in the clear, and the connection if they were in order.
pub struct Greeted {
    pub greeting: Result<Greeting, Unread>,
    /// `None` where no greeting came before it.
    pub kexinit: Option<Result<KexInit, Unread>>,
    pub link: Option<Link>,
}

/// Exchanges identifications and reads the server's algorithms.
pub async fn greet(mut stream: Box<dyn Stream>, clock: &Clock) -> Greeted {
    let ours = format!("{IDENTIFICATION}\r\n");
    // A server that does not read is found silent or closed by the reading.
    let _ = clock.within(stream.write_all(ours.as_bytes())).await;
    let mut bytes = Vec::new();
    let greeting = clock.within(read(&mut *stream, &mut bytes, wire::greeting)).await;
    let (greeting, taken) = match greeting.unwrap_or(Err(Unread::Silent)) {
        Ok(read) => read,
        Err(unread) => return Greeted { greeting: Err(unread), kexinit: None, link: None },
    };
    let mut packets = bytes.split_off(taken);
    match clock.within(read(&mut *stream, &mut packets, wire::kexinit)).await.unwrap_or(Err(Unread::Silent)) {
        Ok(kexinit) => {
            let mut replay = format!("{}\r\n", greeting.identification).into_bytes();
            replay.append(&mut packets);
            let link = Link::new(stream, replay, ours.len(), clock.end);
            Greeted { greeting: Ok(greeting), kexinit: Some(Ok(kexinit)), link: Some(link) }
        }
        Err(unread) => Greeted { greeting: Ok(greeting), kexinit: Some(Err(unread)), link: None },
    }
}

/// Reads until `parse` is satisfied or never will be; `parse` bounds how much that can be.
async fn read<T>(
    stream: &mut dyn Stream,
    bytes: &mut Vec<u8>,
    parse: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
) -> Result<T, Unread> {
    loop {
        if let Some(read) = parse(bytes).map_err(Unread::Malformed)? {
            return Ok(read);
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return Err(Unread::Closed(wire::last_words(bytes))),
            Ok(length) => bytes.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
}

/// A connection for the SSH library, which wants to say and hear everything from the beginning: what was read is read
/// again, what was said is not said twice. It ends by itself: at its time, or when the server has sent too much.
pub struct Link {
    stream: Box<dyn Stream>,
    replay: Vec<u8>,
    replayed: usize,
    /// How many of the first bytes written have been sent already.
    said: usize,
    left: u64,
    end: Pin<Box<Sleep>>,
}

impl Link {
    fn new(stream: Box<dyn Stream>, replay: Vec<u8>, said: usize, end: Instant) -> Self {
        Self { stream, replay, replayed: 0, said, left: MOST_BYTES, end: Box::pin(sleep_until(end)) }
    }

    fn over(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.over(cx)?;
        let this = &mut *self;
        let rest = this.replay.get(this.replayed..).unwrap_or_default();
        if !rest.is_empty() {
            let some = rest.get(..buffer.remaining()).unwrap_or(rest);
            buffer.put_slice(some);
            this.replayed += some.len();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        match this.left.checked_sub(read as u64) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server sends without an end"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.over(cx)?;
        if self.said > 0 {
            let skipped = self.said.min(bytes.len());
            self.said -= skipped;
            return Poll::Ready(Ok(skipped));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
