//! What an identity finds inside: whether it enters, what it may open, and what it must not.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, client::Msg};
use tokio::time::Instant;

use super::{
    ask::{Asker, nonsense},
    clock::{Clock, Late},
    converse::{self, Progress, Spoken, Stage},
    dial::Stream,
    identity::Identity,
    login::{self, Login, Refusal},
    session::{Answer, Question, Route},
    speak::Reading,
    tds,
    transfer::{Transfer, transfer},
    wire::excerpt,
};
use crate::plan::{LoginAttempt, Plan, Protocol, Target};

/// A host key, a banner: nothing that a command prints here is longer.
const LONGEST_OUTPUT: usize = 4096;

/// Where a forward leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

impl Place {
    pub fn of(target: &Target) -> Self {
        Self { host: target.host.to_string(), port: target.port }
    }
}

/// What became of the opening of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Open,
    /// The daemon would not.
    Prohibited,
    /// The daemon would, and could not.
    Failed(String),
    /// No answer in time, while the daemon answers other things: it is still trying.
    Trying,
    /// Not seen; why.
    Unseen(String),
}

/// A forward to a target, and what came through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub opened: Opened,
    pub took: Duration,
    /// `None` where no channel was open, or nothing came in time.
    pub reading: Option<Reading>,
    /// What was waited for last.
    pub stage: Stage,
    /// Bytes that came from the target on the first connection.
    pub heard: usize,
    /// `None` where the plan does not consent, or it did not come to it.
    pub login: Option<Login>,
}

impl Forward {
    fn unheard(opened: Opened, took: Duration) -> Self {
        Self { opened, took, reading: None, stage: Stage::Words, heard: 0, login: None }
    }
}

/// What became of a request for something that nobody should get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// With what the server said or did.
    Yes(String),
    No(String),
    Unseen(String),
}

/// Everything that was found after entering.
#[derive(Clone, Debug)]
pub struct Inside {
    pub entered: Answer,
    pub transfer: Transfer,
    /// One a target that the identity may open, in the plan's order.
    pub forwards: Vec<(Target, Forward)>,
    pub unlisted: Vec<(Place, Opened)>,
    pub metadata: Opened,
    pub shell: Granted,
    pub exec: Granted,
    pub pty: Granted,
    pub agent: Granted,
    pub x11: Granted,
    pub remote: Granted,
    pub remote_socket: Granted,
    pub concurrent: Option<Concurrent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrent {
    pub target: String,
    pub asked: usize,
    pub opened: usize,
    pub first_failure: Option<Opened>,
    pub took: Duration,
    /// So many were open long after others that had been asked for later.
    pub late: usize,
    /// Fewer were asked for than wanted; why.
    pub fewer: Option<String>,
}

/// The targets that a user of the plan may open, and those that it may not: an operator may open all.
pub fn reachable(plan: &Plan, identity: &Identity) -> (Vec<Target>, Vec<Target>) {
    let operator = plan.operators.iter().any(|operator| operator.name == identity.user);
    let (mut may, mut may_not): (Vec<Target>, Vec<Target>) = (Vec::new(), Vec::new());
    for tunnel in &plan.tunnels {
        let list = if operator || tunnel.user == identity.user { &mut may } else { &mut may_not };
        list.extend(tunnel.targets.iter().cloned());
    }
    may_not.retain(|target| !may.iter().any(|open| Place::of(open) == Place::of(target)));
    (may, may_not)
}

/// Places that this identity must not reach: the daemon's own port from inside, a target's host on another port, and
/// other users' targets.
pub fn unlisted(plan: &Plan, identity: &Identity, more: &[(String, u16)]) -> Vec<Place> {
    let (may, may_not) = reachable(plan, identity);
    let listed = |place: &Place| may.iter().any(|target| Place::of(target) == *place);
    let mut places = vec![Place { host: "127.0.0.1".to_owned(), port: plan.ssh.port }];
    if let Some(target) = may.first() {
        let host = target.host.to_string();
        let ports = [target.port.wrapping_add(1), 22, 80, 443].into_iter().filter(|port| *port != 0);
        places.extend(ports.map(|port| Place { host: host.clone(), port }).find(|place| !listed(place)));
    }
    places.extend(may_not.iter().map(Place::of));
    places.extend(more.iter().map(|(host, port)| Place { host: host.clone(), port: *port }));
    places.retain(|place| !listed(place));
    places
}

pub struct Visitor<'a> {
    asker: Asker<'a>,
    identity: Arc<Identity>,
}

impl<'a> Visitor<'a> {
    pub fn new(route: &'a Route, identity: &'a Arc<Identity>) -> Self {
        Self { asker: Asker::new(route, identity.user.as_str(), None), identity: Arc::clone(identity) }
    }

    pub async fn look(mut self, plan: &Plan, concurrent: usize, more: &[(String, u16)], rest: Duration) -> Inside {
        let mut entered = self.enter().await;
        // One connection may be lost by chance.
        if matches!(entered, Answer::Ended(_)) {
            entered = self.enter().await;
        }
        let (mut transfer, quiet) = match entered {
            Answer::Yes => transfer(self.asker.route, &self.identity).await,
            _ => Default::default(),
        };
        let mut forwards = Vec::new();
        for target in reachable(plan, &self.identity).0 {
            let forward = self.forward(&target).await;
            forwards.push((target, forward));
        }
        let mut unlisted_places = Vec::new();
        for place in unlisted(plan, &self.identity, more) {
            let opened = self.open(&place).await.1;
            unlisted_places.push((place, opened));
        }
        let metadata = self.open(&Place { host: "169.254.169.254".to_owned(), port: 80 }).await.1;
        let remote = self.remote().await;
        let remote_socket = self.remote_socket().await;
        // On one channel, as a client would ask: OpenSSH keeps a channel that never ran anything until its connection
        // ends, and MaxSessions may be 1.
        let [pty, agent, x11, exec] = self.wishes([Wish::Pty, Wish::Agent, Wish::X11, Wish::Exec]).await;
        let [shell] = self.wishes([Wish::Shell]).await;
        let concurrent = self.concurrent(&forwards, concurrent).await;
        transfer.rest = quiet.ask(rest, &self.asker.route.clock).await;
        Inside {
            entered,
            transfer,
            forwards,
            unlisted: unlisted_places,
            metadata,
            shell,
            exec,
            pty,
            agent,
            x11,
            remote,
            remote_socket,
            concurrent,
        }
    }

    /// Enters, and makes sure that the session goes on.
    async fn enter(&mut self) -> Answer {
        match self.asker.ask(Question::Identity(Arc::clone(&self.identity))).await {
            Answer::Yes => {
                let banner = self.asker.session.as_ref().and_then(|session| session.banner());
                if self.alive().await || self.asker.route.clock.is_over() { Answer::Yes } else { Answer::Ended(banner) }
            }
            answer => answer,
        }
    }

    /// Makes sure of an entered session: a server may close one in between.
    async fn inside(&mut self) -> Result<(), String> {
        if self.asker.session.as_ref().is_some_and(|session| !session.handle.is_closed()) {
            return Ok(());
        }
        self.asker.session = None;
        match self.asker.ask(Question::Identity(Arc::clone(&self.identity))).await {
            Answer::Yes => Ok(()),
            Answer::None(why) => Err(why),
            Answer::Late => Err(self.asker.route.clock.late()),
            Answer::Ended(_) => Err("the server ended the session".to_owned()),
            Answer::No(_) | Answer::Asks => Err("the identity did not enter".to_owned()),
        }
    }

    async fn open(&mut self, place: &Place) -> (Option<Channel<Msg>>, Opened) {
        if let Err(why) = self.inside().await {
            return (None, Opened::Unseen(why));
        }
        let Some(session) = &self.asker.session else { return (None, Opened::Unseen("no session".to_owned())) };
        let clock = self.asker.route.clock;
        let opening = session.handle.channel_open_direct_tcpip(place.host.as_str(), place.port.into(), "127.0.0.1", 0);
        let opened = match clock.within(opening).await {
            Ok(Ok(channel)) => return (Some(channel), Opened::Open),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => not_open(failure),
            Ok(Err(error)) => Opened::Unseen(excerpt(error.to_string().as_bytes())),
            Err(Late) if self.alive().await => Opened::Trying,
            Err(Late) => Opened::Unseen(format!(
                "{}, and the session answers nothing else meanwhile: sshd waits for the machine's resolver, or the machine or the way \
                 to it hangs",
                clock.late()
            )),
        };
        (None, opened)
    }

    async fn forward(&mut self, target: &Target) -> Forward {
        let begun = Instant::now();
        let progress = Progress::default();
        let (opened, spoken) = self.speak(target, &progress).await;
        let forward =
            Forward { stage: progress.stage(), heard: progress.heard(), ..Forward::unheard(opened, begun.elapsed()) };
        let Some(spoken) = spoken else { return forward };
        let reading = spoken.reading.clone();
        let login = match (&target.login_attempt, &reading) {
            (Some(attempt), Reading::Speaks(_)) => Some(self.login(target, attempt, spoken).await),
            _ => None,
        };
        Forward { reading: Some(reading), login, ..forward }
    }

    /// Opens a forward and hears the target's first words.
    async fn speak(&mut self, target: &Target, progress: &Progress) -> (Opened, Option<Spoken>) {
        let (channel, opened) = self.open(&Place::of(target)).await;
        let Some(channel) = channel else { return (opened, None) };
        let stream: Box<dyn Stream> = Box::new(channel.into_stream());
        let clock = self.asker.route.clock;
        let spoken = clock.within(converse::begin(stream, target.speaks, &target.host, progress)).await;
        // A silent target is one thing, a bastion that has gone another.
        match spoken {
            Ok(spoken) if matches!(spoken.reading, Reading::Speaks(_)) || self.alive().await => (opened, Some(spoken)),
            Err(Late) if self.alive().await => (opened, None),
            Ok(_) | Err(Late) => {
                (Opened::Unseen("the connection to the bastion ended while the target was asked".to_owned()), None)
            }
        }
    }

    async fn login(&mut self, target: &Target, attempt: &LoginAttempt, spoken: Spoken) -> Login {
        let Spoken { words, stream, .. } = spoken;
        let stream = match stream {
            Ok(stream) => stream,
            Err(why) => return Login::NotTried(why),
        };
        match target.speaks {
            Protocol::Postgres => self.postgres_login(target, attempt, stream).await,
            Protocol::Mysql => self.mysql_login(target, stream, &words).await,
            Protocol::Sqlserver => self.sqlserver_login(target, stream).await,
            Protocol::Tls | Protocol::Tcp => {
                Login::NotTried(format!("no login of {} is spoken here", target.speaks.as_str()))
            }
        }
    }

    async fn postgres_login(&mut self, target: &Target, attempt: &LoginAttempt, mut stream: Box<dyn Stream>) -> Login {
        let clock = self.asker.route.clock;
        let mut login = in_time(&clock, login::postgres(&mut *stream, attempt, true)).await;
        if login == Login::Silent {
            let too_late = || Login::NotTried("whether a smaller login is answered was not seen".to_owned());
            let Some(mut other) = self.again(target).await else { return too_late() };
            let small = in_time(&clock, login::postgres(&mut *other, attempt, false)).await;
            return match small {
                _ if clock.is_over() => too_late(),
                Login::Silent => Login::Hangs,
                Login::Refuses { .. } => small,
                _ => login,
            };
        }
        if matches!(login, Login::Unclear(_)) {
            let Some(other) = self.again(target).await else { return login };
            stream = other;
            login = in_time(&clock, login::postgres(&mut *stream, attempt, false)).await;
        }
        if !matches!(login, Login::Admits { held: true, .. }) {
            return login;
        }
        // Those that wait for a password are connections, too.
        let mut held = vec![stream];
        while held.len() <= RESERVED_BY_POSTGRES {
            let Some(mut stream) = self.again(target).await else { break };
            match in_time(&clock, login::postgres(&mut *stream, attempt, false)).await {
                Login::Refuses { refusal: Refusal::NoConnectionLeft, said } => {
                    let said = format!("{said} (to connection {} at once)", held.len() + 1);
                    return Login::Refuses { refusal: Refusal::NoConnectionLeft, said };
                }
                _ => held.push(stream),
            }
        }
        login
    }

    async fn mysql_login(&mut self, target: &Target, mut first: Box<dyn Stream>, greeting: &[u8]) -> Login {
        let clock = self.asker.route.clock;
        // MySQL greets one more than max_connections, and refuses it after its login unless that is an administrator's.
        let progress = Progress::default();
        let second = self.speak(target, &progress).await.1;
        let login = in_time(&clock, login::mysql(&mut *first, greeting)).await;
        match second {
            Some(Spoken { reading: Reading::Refuses { refusal, said }, .. }) => Login::Refuses { refusal, said },
            Some(Spoken { stream: Ok(mut stream), words, .. }) => {
                let _ = clock.within(login::mysql(&mut *stream, &words)).await;
                login
            }
            _ => login,
        }
    }

    async fn sqlserver_login(&self, target: &Target, mut stream: Box<dyn Stream>) -> Login {
        match in_time(&self.asker.route.clock, tds::login(&mut *stream, &target.host)).await {
            // It is smaller than any packet.
            Login::Silent => Login::Hangs,
            login => login,
        }
    }

    /// Another connection to the target, as far as its first words.
    async fn again(&mut self, target: &Target) -> Option<Box<dyn Stream>> {
        self.speak(target, &Progress::default()).await.1?.stream.ok()
    }

    /// Whether the bastion still answers at all; a session that does not is given up.
    async fn alive(&mut self) -> bool {
        let Some(session) = &self.asker.session else { return false };
        let answered = matches!(self.asker.route.clock.within(session.handle.send_ping()).await, Ok(Ok(())));
        let alive = answered && !session.handle.is_closed();
        if !alive {
            self.asker.session = None;
        }
        alive
    }

    async fn remote(&mut self) -> Granted {
        if let Err(why) = self.inside().await {
            return Granted::Unseen(why);
        }
        let Some(session) = &self.asker.session else { return Granted::Unseen("no session".to_owned()) };
        let clock = self.asker.route.clock;
        let answer = clock.within(session.handle.tcpip_forward("127.0.0.1", 0)).await;
        if let Ok(Ok(port)) = answer {
            let _ = clock.within(session.handle.cancel_tcpip_forward("127.0.0.1", port)).await;
            return Granted::Yes(format!("it listens on port {port} for us"));
        }
        self.denied(answer.map(|answer| answer.map(|_| ())))
    }

    async fn remote_socket(&mut self) -> Granted {
        if let Err(why) = self.inside().await {
            return Granted::Unseen(why);
        }
        let Some(session) = &self.asker.session else { return Granted::Unseen("no session".to_owned()) };
        let clock = self.asker.route.clock;
        let path = format!("/tmp/gangplank-{}", nonsense());
        let answer = clock.within(session.handle.streamlocal_forward(path.as_str())).await;
        if let Ok(Ok(())) = answer {
            let _ = clock.within(session.handle.cancel_streamlocal_forward(path.as_str())).await;
            return Granted::Yes(format!("it listened on the socket {path}, whose file may stay there"));
        }
        self.denied(answer)
    }

    fn denied(&mut self, answer: Result<Result<(), russh::Error>, Late>) -> Granted {
        match answer {
            Ok(Ok(())) => Granted::Yes("granted".to_owned()),
            Ok(Err(russh::Error::RequestDenied)) => Granted::No("refused".to_owned()),
            Ok(Err(error)) => Granted::Unseen(excerpt(error.to_string().as_bytes())),
            Err(Late) => {
                self.asker.session = None;
                Granted::Unseen(self.asker.route.clock.late())
            }
        }
    }

    /// Asks for these things on one session channel, one after the other.
    async fn wishes<const N: usize>(&mut self, wishes: [Wish; N]) -> [Granted; N] {
        let clock = self.asker.route.clock;
        let mut channel = match self.session_channel().await {
            Ok(channel) => channel,
            Err(granted) => return wishes.map(|_| granted.clone()),
        };
        let mut late = false;
        let mut granted = wishes.map(|_| Granted::Unseen("not asked: an earlier request had no answer".to_owned()));
        for (granted, wish) in granted.iter_mut().zip(wishes) {
            match clock.within(wish.put(&mut channel)).await {
                Ok(answer) => *granted = answer,
                Err(Late) => {
                    *granted = Granted::Unseen(clock.late());
                    late = true;
                    break;
                }
            }
        }
        // Until the server has closed it, too, it counts towards MaxSessions.
        let closed = clock.within(async {
            let _ = channel.close().await;
            while !matches!(channel.wait().await, Some(ChannelMsg::Close) | None) {}
        });
        if late || closed.await.is_err() {
            self.asker.session = None;
        }
        granted
    }

    /// A daemon that has MaxSessions open on this connection is asked once more on another.
    async fn session_channel(&mut self) -> Result<Channel<Msg>, Granted> {
        match self.open_session_channel().await {
            Err(Granted::Unseen(_)) => {
                self.asker.session = None;
                self.open_session_channel().await
            }
            answer => answer,
        }
    }

    async fn open_session_channel(&mut self) -> Result<Channel<Msg>, Granted> {
        self.inside().await.map_err(Granted::Unseen)?;
        let Some(session) = &self.asker.session else { return Err(Granted::Unseen("no session".to_owned())) };
        let clock = self.asker.route.clock;
        match clock.within(session.handle.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited))) => {
                Err(Granted::No("no session channel: administratively prohibited".to_owned()))
            }
            // OpenSSH's answer where MaxSessions are open.
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => {
                Err(Granted::Unseen(format!("no session channel: {}", reason(&failure))))
            }
            Ok(Err(error)) => Err(Granted::Unseen(excerpt(error.to_string().as_bytes()))),
            Err(Late) => {
                self.asker.session = None;
                Err(Granted::Unseen(clock.late()))
            }
        }
    }

    /// Opens many forwards to one target and keeps them until all have their answer.
    async fn concurrent(&mut self, forwards: &[(Target, Forward)], wanted: usize) -> Option<Concurrent> {
        let open: Vec<&Target> =
            forwards.iter().filter(|(_, forward)| forward.opened == Opened::Open).map(|(target, _)| target).collect();
        // MySQL counts connections without a login, and blocks their host at max_connect_errors (100 by default).
        let target = open.iter().find(|target| target.speaks != Protocol::Mysql).or(open.first())?;
        let careful = target.speaks == Protocol::Mysql && wanted > MOST_MYSQL;
        let fewer = careful.then(|| {
            format!("{MOST_MYSQL} and not {wanted}: MySQL blocks a host that connects 100 times without a login")
        });
        let asked = if careful { MOST_MYSQL } else { wanted };
        self.inside().await.ok()?;
        let session = self.asker.session.as_ref()?;
        let clock = self.asker.route.clock;
        let begun = Instant::now();
        let host = target.host.to_string();
        let openings = (0..asked).map(|_| async {
            let opening = session.handle.channel_open_direct_tcpip(host.as_str(), target.port.into(), "127.0.0.1", 0);
            (clock.within(opening).await, begun.elapsed())
        });
        let (results, times): (Vec<_>, Vec<_>) = join_all(openings).await.into_iter().unzip();
        let took = begun.elapsed();
        let is_open = |result: &Result<_, Late>| matches!(result, Ok(Ok(_)));
        let opened = results.iter().filter(|result| is_open(result)).count();
        let open_after: Vec<_> =
            results.iter().zip(times).filter(|(result, _)| is_open(result)).map(|(_, time)| time).collect();
        let failures = results.into_iter().filter_map(|result| match result {
            Ok(Ok(_)) => None,
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Some(not_open(failure)),
            Ok(Err(error)) => Some(Opened::Unseen(excerpt(error.to_string().as_bytes()))),
            Err(Late) => Some(Opened::Trying),
        });
        let mut first_failure = failures.reduce(|first, _| first);
        if first_failure == Some(Opened::Trying) && !self.alive().await {
            first_failure = Some(Opened::Unseen(clock.late()));
        }
        Some(Concurrent {
            target: target.name.clone(),
            asked,
            opened,
            first_failure,
            took,
            late: late(&open_after),
            fewer,
        })
    }
}

/// sshd begins to connect in the order in which it is asked, and a lost first packet of a connection is sent again after a
/// second (RFC 6298, section 2): who is that much later than one that came after it has lost one.
const SENT_AGAIN: Duration = Duration::from_millis(900);

/// How many of these, by when each was open, were overtaken.
fn late(open_after: &[Duration]) -> usize {
    let overtaken = |(at, time): (usize, &Duration)| {
        open_after.iter().skip(at + 1).any(|later| *time >= later.saturating_add(SENT_AGAIN))
    };
    open_after.iter().enumerate().filter(|one| overtaken(*one)).count()
}

/// A tenth of what MySQL takes.
const MOST_MYSQL: usize = 10;

/// What PostgreSQL keeps for superusers by default (superuser_reserved_connections): a connection beyond those is one that
/// others can have.
const RESERVED_BY_POSTGRES: usize = 3;

async fn in_time(clock: &Clock, login: impl Future<Output = Login>) -> Login {
    clock.within(login).await.unwrap_or(Login::Silent)
}

fn not_open(failure: ChannelOpenFailure) -> Opened {
    match failure {
        ChannelOpenFailure::AdministrativelyProhibited => Opened::Prohibited,
        failure => Opened::Failed(reason(&failure)),
    }
}

fn reason(failure: &ChannelOpenFailure) -> String {
    match failure {
        ChannelOpenFailure::AdministrativelyProhibited => "administratively prohibited".to_owned(),
        ChannelOpenFailure::ConnectFailed => "connect failed".to_owned(),
        ChannelOpenFailure::UnknownChannelType => "unknown channel type".to_owned(),
        ChannelOpenFailure::ResourceShortage => "resource shortage".to_owned(),
        ChannelOpenFailure::Other { code, .. } => format!("reason {code}"),
    }
}

/// What is asked for on a session channel.
#[derive(Clone, Copy)]
enum Wish {
    Shell,
    Exec,
    Pty,
    Agent,
    X11,
}

impl Wish {
    /// A shell and a command are proven by what they print: a daemon with `ForceCommand` grants both requests and runs
    /// something else. The other requests' answers are the daemon's own.
    async fn put(self, channel: &mut Channel<Msg>) -> Granted {
        // The shell adds up to the marker: what is only echoed does not hold it.
        let (left, right) = (nonsense(), nonsense());
        let marker = format!("{left}{right}");
        let command = format!("echo {left}''{right}");
        let asked = match self {
            Wish::Shell => channel.request_shell(true).await,
            Wish::Exec => channel.exec(true, command.as_str()).await,
            Wish::Pty => channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await,
            Wish::Agent => channel.agent_forward(true).await,
            Wish::X11 => {
                channel.request_x11(true, true, "MIT-MAGIC-COOKIE-1", "00112233445566778899aabbccddeeff", 0).await
            }
        };
        if asked.is_err() {
            return Granted::Unseen("the connection ended".to_owned());
        }
        let runs = matches!(self, Wish::Shell | Wish::Exec);
        let mut output: Vec<u8> = Vec::new();
        let mut status = None;
        let mut answered = false;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Failure) => return Granted::No("refused".to_owned()),
                Some(ChannelMsg::Success) if !runs => return Granted::Yes("the daemon granted it".to_owned()),
                Some(ChannelMsg::Success) if !answered => {
                    answered = true;
                    if matches!(self, Wish::Shell) {
                        let _ = channel.data_bytes(format!("{command}\nexit\n").into_bytes()).await;
                    }
                    let _ = channel.eof().await;
                }
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    let room = LONGEST_OUTPUT.saturating_sub(output.len());
                    output.extend_from_slice(data.get(..room).unwrap_or(&data));
                    if output.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                        return Granted::Yes("it ran a command of ours and printed its result".to_owned());
                    }
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => status = Some(exit_status),
                Some(ChannelMsg::Close) => {
                    return ended(answered, &output, status);
                }
                None => return Granted::Unseen("the connection ended".to_owned()),
                Some(_) => {}
            }
        }
    }
}

/// Something ended that was not our command. Only an unhappy end is a refusal's.
fn ended(answered: bool, output: &[u8], status: Option<u32>) -> Granted {
    let said = excerpt(output.trim_ascii());
    let said = if said.is_empty() { "nothing".to_owned() } else { format!("\"{said}\"") };
    match status {
        Some(status) if answered && status != 0 => {
            Granted::No(format!("it said {said} and ended with status {status}"))
        }
        Some(_) => Granted::Unseen(format!("something ended well that is not our command; it said {said}")),
        None => Granted::Unseen(format!("the server closed the channel without a status; it said {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_overtaken_has_lost_a_packet_and_who_only_waits_has_not() {
        let times = |all: &[u64]| all.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        for (open_after, expected) in [
            (&[1, 2, 3, 4][..], 0),
            // A resolver that takes its time holds up all that follow.
            (&[10, 1010, 2010, 3010], 0),
            (&[1030, 20, 1040, 30, 31], 2),
            (&[3020, 1020, 20], 2),
            (&[500, 20], 0),
            (&[], 0),
        ] {
            assert_eq!(late(&times(open_after)), expected, "{open_after:?}");
        }
    }
}
