//! The EC2 instance metadata service as far as instance tags and its clock go, session tokens required.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use gangplank::tags::Tags;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};

const TOKEN: &str = "token-of-this-session";

#[derive(Clone, Debug)]
enum State {
    Tags(Tags),
    /// Azure's, which knows no tokens.
    UserData(String),
    /// As where the instance's metadata options hide them.
    Hidden,
    /// As where the service itself is switched off.
    Forbidden,
    Stopped,
}

pub struct Metadata {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// How far its clock is ahead.
    ahead: Arc<Mutex<SignedDuration>>,
    server: Option<JoinHandle<()>>,
    /// Opens a connection to this address, from where it can be reached.
    knock: Box<dyn Fn(SocketAddr) + Send + Sync>,
}

impl Metadata {
    /// On a free loopback port.
    pub fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), |address| drop(TcpStream::connect(address)))
    }

    pub fn serve(listener: TcpListener, knock: impl Fn(SocketAddr) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::Hidden));
        let ahead = Arc::new(Mutex::new(SignedDuration::ZERO));
        let (shared, clock) = (Arc::clone(&state), Arc::clone(&ahead));
        let server = thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.lock().unwrap().clone();
                if matches!(state, State::Stopped) {
                    return;
                }
                // A client that goes away is its own affair.
                let _ = stream.and_then(|stream| answer(stream, &state, Timestamp::now() + *clock.lock().unwrap()));
            }
        });
        Self { address, state, ahead, server: Some(server), knock: Box::new(knock) }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn show(&self, tags: &Tags) {
        let mut tags = tags.clone();
        tags.insert("Name".to_owned(), "somebody else's".to_owned());
        self.set(State::Tags(tags));
    }

    pub fn show_user_data(&self, text: &str) {
        use base64ct::{Base64, Encoding};
        self.set(State::UserData(Base64::encode_string(text.as_bytes())));
    }

    pub fn hide_tags(&self) {
        self.set(State::Hidden);
    }

    pub fn refuse_tokens(&self) {
        self.set(State::Forbidden);
    }

    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub fn set_clock(&self, ahead: SignedDuration) {
        *self.ahead.lock().unwrap() = ahead;
    }

    /// Nobody listens any more.
    pub fn stop(&self) {
        self.set(State::Stopped);
        (self.knock)(self.address);
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap() = state;
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.stop();
        let _ = self.server.take().map(JoinHandle::join);
    }
}

fn answer(stream: TcpStream, state: &State, now: Timestamp) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut header = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        header += &line.to_lowercase();
        header.push('\n');
    }
    let (status, body) = respond(request.trim_end_matches(" HTTP/1.1"), &header, state);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).expect("a year of four digits");
    let length = body.len();
    write!(&stream, "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn respond(request: &str, header: &str, state: &State) -> (&'static str, String) {
    const FOLDER: &str = "GET /latest/meta-data/tags/instance/";
    if matches!(state, State::Forbidden) {
        return ("403 Forbidden", String::new());
    }
    if let State::UserData(data) = state {
        const PATH: &str = "GET /metadata/instance/compute/userData?api-version=2021-01-01&format=text";
        return match (request == PATH, header.contains("metadata: true\n")) {
            (true, true) => ("200 OK", data.clone()),
            (true, false) => ("400 Bad Request", String::new()),
            (false, _) => ("404 Not Found", String::new()),
        };
    }
    if request == "PUT /latest/api/token" {
        let asked = header.contains("x-aws-ec2-metadata-token-ttl-seconds: ");
        return if asked { ("200 OK", TOKEN.to_owned()) } else { ("400 Bad Request", String::new()) };
    }
    if !header.contains(&format!("x-aws-ec2-metadata-token: {TOKEN}\n")) {
        return ("401 Unauthorized", String::new());
    }
    match (state, request.strip_prefix(FOLDER)) {
        (State::Tags(tags), Some("")) => ("200 OK", tags.keys().cloned().collect::<Vec<_>>().join("\n")),
        (State::Tags(tags), Some(key)) if tags.contains_key(key) => ("200 OK", tags[key].clone()),
        _ => ("404 Not Found", "not found".to_owned()),
    }
}
