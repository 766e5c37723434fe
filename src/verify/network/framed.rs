//! A stream whose TLS handshake travels in TDS packets, a flight in a message (\[MS-TDS\] 2.2.6.5).

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    dial::Stream,
    tds::{HEADER, PACKET, TLS, packets},
};

pub struct Framed {
    stream: Box<dyn Stream>,
    framing: bool,
    /// What was written since the last flush.
    flight: Vec<u8>,
    /// What is being sent of it.
    packets: Vec<u8>,
    /// Of the packet that is being read, as far as it has come.
    header: Vec<u8>,
    /// Bytes of it that are still to come.
    left: usize,
}

/// More than any handshake's flight.
const LONGEST_FLIGHT: usize = 64 * 1024;

impl Framed {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, framing: true, flight: Vec::new(), packets: Vec::new(), header: Vec::new(), left: 0 }
    }

    /// The handshake is over.
    pub fn end(&mut self) {
        self.framing = false;
    }

    /// Reads at most this much; what it gives is empty at the end.
    fn poll_some(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Vec<u8>>> {
        let mut bytes = vec![0; most.min(PACKET)];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().to_vec()))
    }
}

impl AsyncRead for Framed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.framing {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        while self.left == 0 {
            let missing = HEADER.saturating_sub(self.header.len());
            let read = ready!(self.poll_some(cx, missing))?;
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.header.extend(read);
            if let [kind, _, high, low, _, _, _, _] = *self.header {
                if kind != TLS {
                    let what = rustls::Error::General(format!("it answers in a packet of type {kind:#x}"));
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
                }
                self.left = usize::from(u16::from_be_bytes([high, low])).saturating_sub(HEADER);
                self.header.clear();
            }
        }
        let most = self.left.min(buffer.remaining());
        let read = ready!(self.poll_some(cx, most))?;
        self.left -= read.len();
        buffer.put_slice(&read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.framing {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if self.flight.len() > LONGEST_FLIGHT {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        self.flight.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.packets.is_empty() {
            self.packets = packets(TLS, &mem::take(&mut self.flight));
        }
        while !self.packets.is_empty() {
            let this = &mut *self;
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.packets))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.packets.drain(..written);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
