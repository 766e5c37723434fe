//! What is said to a target through a forward: its protocol's first words, TLS where it offers that, and a login where the
//! plan consents.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    dial::Stream,
    speak::{self, LONGEST_ANSWER, Reading},
    tds,
    tls::{self, NoTls},
    watched::{Watched, Watcher},
};
use crate::plan::{Host, Protocol};

/// How far a conversation came, for those who stop to wait for it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    stage: AtomicUsize,
    heard: AtomicUsize,
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Words,
    Tls,
    Login,
}

impl Progress {
    pub fn enter(&self, stage: Stage) {
        self.0.stage.store(stage as usize, Ordering::Relaxed);
    }

    pub fn stage(&self) -> Stage {
        match self.0.stage.load(Ordering::Relaxed) {
            0 => Stage::Words,
            1 => Stage::Tls,
            _ => Stage::Login,
        }
    }

    /// Bytes that came from the target.
    pub fn heard(&self) -> usize {
        self.0.heard.load(Ordering::Relaxed)
    }
}

impl Watcher for Progress {
    fn heard(&self, bytes: usize) {
        self.0.heard.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A target that has said its first words.
pub struct Spoken {
    pub reading: Reading,
    /// What it said in the clear.
    pub words: Vec<u8>,
    /// The connection, where a login can follow; or why none can.
    pub stream: Result<Box<dyn Stream>, String>,
}

/// Says the protocol's first words and hears the answer. The caller gives it a time.
pub async fn begin(stream: Box<dyn Stream>, speaks: Protocol, host: &Host, progress: &Progress) -> Spoken {
    let mut stream: Box<dyn Stream> = Box::new(Watched::new(stream, progress.clone()));
    let mut words = Vec::new();
    let reading = first_words(&mut *stream, speaks, &mut words).await;
    let tls = match (speaks, &reading) {
        (Protocol::Tls, _) => true,
        (Protocol::Postgres, Reading::Speaks(_)) => words == b"S",
        (Protocol::Sqlserver, Reading::Speaks(_)) => tds::offers_tls(&words),
        _ => false,
    };
    if !tls {
        return Spoken { reading, words, stream: Ok(stream) };
    }
    progress.enter(Stage::Tls);
    let agreed: Result<Box<dyn Stream>, NoTls> = match speaks {
        Protocol::Sqlserver => tds::handshake(stream, host).await,
        _ => match tls::handshake(stream, host, rustls::ALL_VERSIONS).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(no) => Err(no),
        },
    };
    match agreed {
        Ok(stream) => Spoken { reading, words, stream: Ok(stream) },
        Err(NoTls::Disagrees(why)) => {
            let reading = if speaks == Protocol::Tls { Reading::Speaks(format!("TLS: {why}")) } else { reading };
            Spoken { reading, words, stream: Err(format!("no TLS was agreed ({why})")) }
        }
        // A PostgreSQL that closes after its `S` has answered all the same; so has a SQL Server, which ends a handshake
        // without an alert where it knows no version of TLS that is offered.
        Err(NoTls::Ended) if speaks == Protocol::Sqlserver || speaks == Protocol::Postgres && progress.heard() == 1 => {
            Spoken { reading, words, stream: Err("it closed the connection before TLS".to_owned()) }
        }
        Err(NoTls::Ended | NoTls::Other) => {
            let said = if progress.heard() == 0 { "it closed the connection without a word" } else { "no TLS" };
            Spoken { reading: Reading::Other(said.to_owned()), words, stream: Err(said.to_owned()) }
        }
    }
}

async fn first_words(stream: &mut dyn Stream, speaks: Protocol, words: &mut Vec<u8>) -> Reading {
    if let Some(request) = speak::request(speaks) {
        let _ = stream.write_all(&request).await;
        let _ = stream.flush().await;
    }
    loop {
        match speak::read(speaks, words, false) {
            Reading::More => {}
            reading => return reading,
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return speak::read(speaks, words, true),
            Ok(length) => words.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
        words.truncate(LONGEST_ANSWER + 1);
    }
}
