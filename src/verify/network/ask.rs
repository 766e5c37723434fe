//! Questions about users, as few connections as servers allow: OpenSSH closes a connection at its sixth refusal
//! (`MaxAuthTries`), and since 9.8 turns addresses away that end many connections without entering
//! (`PerSourcePenalties`).

use std::sync::Arc;

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, key::safe_rng};

use super::session::{Answer, Attempt, Question, Route, Session, Stop};
use crate::plan::{self, UserName};

/// Refusals on one connection, of the six that OpenSSH's default takes.
const MOST_REFUSALS: u32 = 5;

/// RFC 8332's names and RFC 4253's, in the order in which one would choose.
pub const RSA: [(&str, Option<HashAlg>); 3] =
    [("rsa-sha2-512", Some(HashAlg::Sha512)), ("rsa-sha2-256", Some(HashAlg::Sha256)), ("ssh-rsa", None)];

/// What was answered about one user.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: UserName,
    pub nothing: Answer,
    /// In the plan's order.
    pub keys: Vec<KeyAnswers>,
    /// A key that nobody has: whether it would do, and whether it enters.
    pub stranger: (Answer, Answer),
    pub password: Answer,
    pub keyboard: Answer,
}

#[derive(Clone, Debug)]
pub struct KeyAnswers {
    pub fingerprint: String,
    pub comment: String,
    /// By signature algorithm.
    pub answers: Vec<(String, Answer)>,
}

/// Asks about one user, over as many connections as it takes.
pub struct Asker<'a> {
    pub route: &'a Route,
    pub user: &'a str,
    pub session: Option<Session>,
    asked: u32,
    refused: u32,
    /// Why nothing is asked any more.
    over: Option<String>,
}

impl<'a> Asker<'a> {
    /// `session`: one that nothing was asked on yet.
    pub fn new(route: &'a Route, user: &'a str, session: Option<Session>) -> Self {
        Self { route, user, session, asked: 0, refused: 0, over: None }
    }

    /// A server that ends a connection in the middle is asked again, once, on a fresh one; one that is silent is not.
    pub async fn ask(&mut self, question: Question) -> Answer {
        loop {
            if let Some(why) = &self.over {
                return Answer::None(why.clone());
            }
            let fresh = match self.fresh().await {
                Ok(fresh) => fresh,
                Err(why) => {
                    self.over = Some(why.clone());
                    return Answer::None(why);
                }
            };
            let Some(session) = &mut self.session else { return Answer::None("no connection".to_owned()) };
            self.asked += 1;
            let answer = session.ask(self.user, question.clone(), &self.route.clock).await;
            match &answer {
                Answer::No(_) => {
                    // RFC 4252 section 5.2's first question is free.
                    self.refused += u32::from(!matches!(question, Question::Nothing));
                    return answer;
                }
                Answer::Yes if matches!(question, Question::WouldDo(..)) => return answer,
                // Nothing can be asked after an entry, nor while the server waits for words.
                Answer::Yes | Answer::Asks => {
                    if !matches!(question, Question::Identity(_)) {
                        self.session = None;
                    }
                    return answer;
                }
                Answer::Late => {
                    self.over = Some("the server had stopped answering".to_owned());
                    self.session = None;
                    return answer;
                }
                Answer::None(_) | Answer::Ended(_) => {
                    self.session = None;
                    if fresh {
                        return answer;
                    }
                }
            }
        }
    }

    /// Makes sure of a connection; whether it is new.
    async fn fresh(&mut self) -> Result<bool, String> {
        let usable = |session: &Session| !session.handle.is_closed();
        if self.refused < MOST_REFUSALS && self.session.as_ref().is_some_and(usable) {
            return Ok(self.asked == 0);
        }
        let Attempt { session, .. } = self.route.attempt().await;
        (self.asked, self.refused) = (0, 0);
        self.session = Some(session.map_err(|stop| why(&stop))?);
        Ok(true)
    }

    pub async fn about(&mut self, user: &UserName, keys: &[plan::PublicKey]) -> Account {
        let nothing = self.ask(Question::Nothing).await;
        let mut answers = Vec::new();
        for key in keys {
            answers.push(self.key(key).await);
        }
        let stranger = match PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519) {
            Ok(key) => {
                let would_do = self.ask(Question::WouldDo(key.public_key().clone(), None)).await;
                (would_do, self.ask(Question::Key(Arc::new(key))).await)
            }
            Err(error) => {
                let why = Answer::None(format!("no key could be made here: {error}"));
                (why.clone(), why)
            }
        };
        let password = self.ask(Question::Password(nonsense())).await;
        let keyboard = self.ask(Question::Keyboard).await;
        Account { user: user.clone(), nothing, keys: answers, stranger, password, keyboard }
    }

    async fn key(&mut self, key: &plan::PublicKey) -> KeyAnswers {
        let mut answers = Vec::new();
        // The plan's keys have been read before: this is for the type's sake.
        let Ok(parsed) = PublicKey::from_openssh(&key.text()) else {
            let unread = Answer::None("this key could not be read here".to_owned());
            answers.push((key.algorithm.clone(), unread));
            return KeyAnswers { fingerprint: key.fingerprint.clone(), comment: key.comment.clone(), answers };
        };
        if parsed.algorithm().is_rsa() {
            for (name, hash) in RSA {
                answers.push((name.to_owned(), self.ask(Question::WouldDo(parsed.clone(), hash)).await));
            }
        } else {
            answers.push((key.algorithm.clone(), self.ask(Question::WouldDo(parsed, None)).await));
        }
        KeyAnswers { fingerprint: key.fingerprint.clone(), comment: key.comment.clone(), answers }
    }
}

/// Text that nobody else knows: a password that nobody has, a line that no server says by chance.
pub fn nonsense() -> String {
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519);
    let text = key.map(|key| key.public_key().fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default();
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Why a connection came to nothing, for those who wanted to ask something on it.
pub fn why(stop: &Stop) -> String {
    match stop {
        Stop::NoConnection(_) => "no TCP connection".to_owned(),
        Stop::Unread(_) => "the server's first words could not be read".to_owned(),
        Stop::Impostor => "the host key is not the bastion's (see network.host-key)".to_owned(),
        Stop::Handshake(why) => format!("the key exchange failed: {why}"),
        Stop::Late => "the key exchange did not end in time".to_owned(),
    }
}
