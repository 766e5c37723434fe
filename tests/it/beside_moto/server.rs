//! The world on a loopback port, as far as boto3 needs it.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use gangplank::sandbox::{ec2::World, http::Ask};
use jiff::Timestamp;

pub struct Server {
    pub address: SocketAddr,
    ending: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(world: World) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("bound");
        let (world, ending) = (Arc::new(Mutex::new(world)), Arc::new(AtomicBool::default()));
        let accepting = thread::spawn({
            let ending = Arc::clone(&ending);
            move || {
                for connection in listener.incoming().flatten() {
                    if ending.load(Ordering::SeqCst) {
                        break;
                    }
                    let world = Arc::clone(&world);
                    // boto3 keeps its connection, and closes it when it goes.
                    thread::spawn(move || serve(&connection, &world));
                }
            }
        });
        Self { address, ending, accepting: Some(accepting) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(connection: &TcpStream, world: &Mutex<World>) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    while let Some(ask) = read(&mut reader)? {
        let reply = world.lock().unwrap_or_else(PoisonError::into_inner).answer(Timestamp::UNIX_EPOCH, &ask);
        let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut to = connection;
        to.write_all(head.as_bytes())?;
        to.write_all(b"\r\n")?;
        to.write_all(&reply.body)?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Ask>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let method = line.split(' ').next().unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Ask { method, path: "/".to_owned(), headers, body, ..Ask::default() }))
}
