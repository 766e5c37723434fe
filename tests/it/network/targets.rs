//! Databases, as far as their first words go.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// Listens on a free port of loopback until the test ends, and returns the port. `serve` has each connection.
pub fn serve(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Reads until the peer has gone.
pub fn drain(mut stream: TcpStream) {
    let mut chunk = [0; 4096];
    while stream.read(&mut chunk).is_ok_and(|length| length > 0) {}
}

fn wait_for(stream: &mut TcpStream, expected: &[u8]) -> bool {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).is_ok() && bytes == expected
}

/// Answers PostgreSQL's SSLRequest with one letter; after an S, a client's TLS with an alert.
pub fn postgres(letter: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        if wait_for(&mut stream, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]) {
            stream.write_all(letter).unwrap();
            if letter == b"S" && stream.read(&mut [0; 5]).is_ok_and(|length| length == 5) {
                let _ = stream.write_all(b"\x15\x03\x01\x00\x02\x02\x28");
            }
        }
        drain(stream);
    })
}

pub fn says(words: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        let _ = stream.write_all(words);
        drain(stream);
    })
}

pub const MYSQL: &[u8] = b"\x0d\0\0\0\x0a8.0.36\0\0\0\0\0\0";
pub const MYSQL_BLOCKED: &[u8] = b"\x0b\0\0\0\xff\x69\x04blocked!";

/// A port that nothing listens on.
pub fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
