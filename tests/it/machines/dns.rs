//! A name server for a handful of names (RFC 1035), as a private network has one.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub struct Dns {
    names: Arc<Mutex<BTreeMap<String, Ipv4Addr>>>,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Dns {
    pub fn serve(socket: UdpSocket) -> Self {
        let names = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
        let (known, ended) = (Arc::clone(&names), Arc::clone(&stop));
        let server = thread::spawn(move || {
            let mut packet = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut packet) else { continue };
                if let Some(answer) = answer(&packet[..length], &known.lock().unwrap()) {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self { names, stop, server: Some(server) }
    }

    pub fn set(&self, name: &str, address: Ipv4Addr) {
        self.names.lock().unwrap().insert(name.to_owned(), address);
    }

    /// The name is not known any more.
    pub fn forget(&self, name: &str) {
        self.names.lock().unwrap().remove(name);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.server.take().map(JoinHandle::join);
    }
}

/// One question, one answer; `None` for what is no question.
fn answer(query: &[u8], names: &BTreeMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(label).to_lowercase());
    }
    let question = query.get(12..at + 4)?;
    let asks_for_ipv4 = query.get(at..at + 2)? == [0, 1];
    let found = names.get(&name.join("."));
    let address = found.filter(|_| asks_for_ipv4);
    // A response, recursion available; code 3 says that there is no such name.
    let flags = [0x81, if found.is_some() { 0x80 } else { 0x83 }];
    let mut out = [&query[..2], &flags, &[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0], question].concat();
    if let Some(address) = address {
        // The question's name, type A, class IN, for 0 s, 4 bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
