//! One client of the daemon, from its first question to its last channel.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodSet, Pty,
    keys::{Algorithm, PublicKey},
    server::{Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey},
};
use tokio::time::sleep;

use super::{Entered, Visit, kinds};
use crate::sandbox::machine::{
    Answer, Speech,
    config::IDENTIFICATION,
    permit::{self, Grants},
    speak::speak,
};

/// Linux gives up on a connection that nothing answers (tcp(7), tcp_syn_retries).
const GIVES_UP: Duration = Duration::from_secs(127);
/// What may be typed into a shell before its line ends.
const LONGEST_LINE: usize = 4096;
/// Where remote forwards are said to listen that ask for any port.
const ANY_PORT: u32 = 40_000;

pub struct Client {
    visit: Visit,
    entered: Arc<Entered>,
    handle: Arc<Mutex<Option<Handle>>>,
    asked: usize,
    refused: usize,
    grants: Option<Grants>,
    /// Session channels, with what was typed into a shell.
    sessions: BTreeMap<ChannelId, Option<String>>,
}

impl Client {
    pub(super) fn new(visit: Visit, entered: Arc<Entered>, handle: Arc<Mutex<Option<Handle>>>) -> Self {
        Self { visit, entered, handle, asked: 0, refused: 0, grants: None, sessions: BTreeMap::new() }
    }

    /// A refusal, which counts towards MaxAuthTries unless it is the first question of all (auth2.c, userauth_finish).
    async fn refuse(&mut self, user: &str, free: bool) -> Auth {
        let settings = self.visit.machine.settings(user, Some(self.visit.source));
        self.refused += usize::from(!free);
        if self.refused >= settings.number("maxauthtries") {
            let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(handle) = handle {
                let said = "Too many authentication failures".to_owned();
                // A client that is gone needs no word.
                let _ = handle.disconnect(Disconnect::ProtocolError, said, String::new()).await;
            }
        }
        let mut methods = MethodSet::empty();
        for kind in kinds(&permit::methods(&settings)) {
            methods.push(kind);
        }
        Auth::Reject { proceed_with_methods: Some(methods), partial_success: false }
    }

    async fn key(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Auth {
        self.asked += 1;
        let Visit { machine, source, now, .. } = &self.visit;
        match permit::enters(machine, user, key, algorithm.as_str(), *source, *now) {
            Some(options) => {
                let shell = machine.accounts.get(user).map(|account| account.shell.clone()).unwrap_or_default();
                let settings = machine.settings(user, Some(*source));
                self.grants = Some(Grants { settings, options, shell });
                Auth::Accept
            }
            None => self.refuse(user, false).await,
        }
    }

    fn granted(&self, what: impl Fn(&Grants) -> bool) -> bool {
        self.grants.as_ref().is_some_and(what)
    }

    /// What the machine finds at a place.
    fn connect(&self, host: &str, port: u32) -> Answer {
        let Ok(port) = u16::try_from(port) else { return Answer::Refused };
        let Visit { machine, around, .. } = &self.visit;
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => match around.resolve(host).ok().and_then(|all| all.into_iter().next()) {
                Some(address) => address,
                None => return Answer::Refused,
            },
        };
        if address.is_loopback() && machine.listens(port) {
            return Answer::Accepts(Speech::Says(format!("{IDENTIFICATION}\r\n")));
        }
        around.connect(SocketAddr::new(address, port))
    }

    /// Runs what a session asks for, or what runs in its place, and ends the channel.
    fn run(&mut self, channel: ChannelId, command: Option<&str>, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        let Some(grants) = &self.grants else { return session.close(channel) };
        let command = grants.forced().or(command);
        if command.is_none() && permit::run(&grants.shell, None).1 == 0 {
            self.sessions.insert(channel, Some(String::new()));
            return Ok(());
        }
        let (said, status) = permit::run(&grants.shell, command);
        self.end(channel, said, status, session)
    }

    fn end(
        &mut self,
        channel: ChannelId,
        said: String,
        status: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if !said.is_empty() {
            session.data(channel, said.into_bytes())?;
        }
        session.exit_status_request(channel, status)?;
        session.eof(channel)?;
        self.sessions.remove(&channel);
        session.close(channel)
    }
}

fn answer(granted: bool, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
    if granted { session.channel_success(channel) } else { session.channel_failure(channel) }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, russh::Error> {
        let first = self.asked == 0;
        self.asked += 1;
        Ok(self.refuse(user, first).await)
    }

    /// Nobody on these machines has a password.
    async fn auth_password(&mut self, user: &str, _: &str) -> Result<Auth, russh::Error> {
        self.asked += 1;
        Ok(self.refuse(user, false).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        self.asked += 1;
        let settings = self.visit.machine.settings(user, Some(self.visit.source));
        if response.is_none() && permit::methods(&settings).contains(&"keyboard-interactive") {
            let prompts = vec![("Password: ".into(), false)].into();
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        }
        Ok(self.refuse(user, false).await)
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        let auth = self.key(user, offer.public_key, offer.algorithm).await;
        // Nothing is granted to a key that has not signed.
        self.grants = None;
        Ok(auth)
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(self.key(user, key.public_key, key.algorithm).await)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        self.entered.tell();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let most = self.grants.as_ref().map_or(0, |grants| grants.settings.number("maxsessions"));
        if self.sessions.len() >= most {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        self.sessions.insert(channel.id(), None);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if !self.granted(|grants| grants.opens(host, port)) {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        match self.connect(host, port) {
            Answer::Accepts(speech) => {
                reply.accept().await;
                tokio::spawn(speak(channel.into_stream(), speech));
            }
            Answer::Refused => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            Answer::Silent => {
                tokio::spawn(async move {
                    sleep(GIVES_UP).await;
                    reply.reject(ChannelOpenFailure::ConnectFailed).await;
                });
            }
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let allowed = self.granted(|grants| grants.sockets("local"));
        let failure =
            if allowed { ChannelOpenFailure::ConnectFailed } else { ChannelOpenFailure::AdministrativelyProhibited };
        reply.reject(failure).await;
        Ok(())
    }

    async fn tcpip_forward(&mut self, host: &str, port: &mut u32, _: &mut Session) -> Result<bool, russh::Error> {
        let granted = self.granted(|grants| grants.listens(host, *port));
        if granted && *port == 0 {
            *port = ANY_PORT;
        }
        Ok(granted)
    }

    async fn cancel_tcpip_forward(&mut self, host: &str, port: u32, _: &mut Session) -> Result<bool, russh::Error> {
        Ok(self.granted(|grants| grants.listens(host, port)))
    }

    async fn streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, russh::Error> {
        Ok(self.granted(|grants| grants.sockets("remote")))
    }

    async fn cancel_streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, russh::Error> {
        Ok(self.granted(|grants| grants.sockets("remote")))
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        answer(self.granted(Grants::terminal), channel, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        answer(self.granted(Grants::x11), channel, session)
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Session) -> Result<bool, russh::Error> {
        Ok(self.granted(Grants::agent))
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.run(channel, None, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(command).into_owned();
        self.run(channel, Some(&command), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.run(channel, Some(name), session)
    }

    /// What is typed into a shell.
    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some(Some(typed)) = self.sessions.get_mut(&channel) else { return Ok(()) };
        typed.push_str(&String::from_utf8_lossy(data));
        if typed.len() > LONGEST_LINE && !typed.contains('\n') {
            return self.end(channel, String::new(), 1, session);
        }
        let shell = self.grants.as_ref().map(|grants| grants.shell.clone()).unwrap_or_default();
        while let Some(Some(typed)) = self.sessions.get_mut(&channel) {
            let Some((line, rest)) = typed.split_once('\n').map(|(line, rest)| (line.to_owned(), rest.to_owned()))
            else {
                break;
            };
            *typed = rest;
            let (said, status) = permit::run(&shell, Some(&line));
            if line.trim() == "exit" {
                return self.end(channel, said, status, session);
            }
            session.data(channel, said.into_bytes())?;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        match self.sessions.get(&channel) {
            Some(Some(_)) => self.end(channel, String::new(), 0, session),
            _ => Ok(()),
        }
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.sessions.remove(&channel);
        Ok(())
    }
}
