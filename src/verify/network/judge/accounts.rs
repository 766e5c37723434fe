//! Users: their keys are accepted, and nothing else is.

use super::{Case, check};
use crate::{
    plan::{PublicKey, UserName},
    verify::{
        Check, Part,
        network::{
            ask::{Account, KeyAnswers},
            session::{Answer, password_like},
        },
    },
};

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    for (user, keys) in case.plan.accounts() {
        let found = case.evidence.accounts.iter().find(|account| account.user == *user);
        checks.extend(keys_of(case, user, keys, found));
        checks.push(refuses_none(case, user, found));
        checks.push(refuses_stranger(case, user, found));
        checks.push(refuses_password(case, user, found));
    }
    checks
}

fn not_asked(case: &Case<'_>) -> String {
    case.stopped().unwrap_or("not asked").to_owned()
}

fn keys_of(case: &Case<'_>, user: &UserName, keys: &[PublicKey], found: Option<&Account>) -> Vec<Check> {
    let base = |key: Option<&PublicKey>| {
        let about = key.map_or_else(|| user.to_string(), |key| format!("{user} {}", key.fingerprint));
        check("network.key", Part::Bastion, format!("{user}'s key is accepted")).about(about)
    };
    if keys.is_empty() {
        return vec![base(None).unknown("the plan has no key for this user yet: nobody can enter as it")];
    }
    let judged = keys.iter().map(|key| {
        let base = base(Some(key));
        let Some(account) = found else { return base.unknown(not_asked(case)) };
        let Some(answers) = account.keys.iter().find(|answers| answers.fingerprint == key.fingerprint) else {
            return base.unknown("not asked");
        };
        key_check(base, user, answers, account, case.plan.accepts_sha1(user))
    });
    judged.collect()
}

fn key_check(base: Check, user: &UserName, key: &KeyAnswers, account: &Account, sha1: bool) -> Check {
    let mut base = base;
    if !key.comment.is_empty() {
        base = base.seen(format!("key: {}", key.comment));
    }
    for (algorithm, answer) in &key.answers {
        base = base.seen(format!("{algorithm}: {}", words(answer)));
    }
    // The vendor signs with nothing else, as far as the plan knows.
    let sha1 = sha1 && key.answers.iter().any(|(algorithm, _)| algorithm == "ssh-rsa");
    if sha1 {
        base = base.seen("SHA-1 signatures of this key: the plan accepts them (legacy_rsa_sha1)");
    }
    let accepted = |by_sha1: bool| {
        let of = |algorithm: &str| (algorithm == "ssh-rsa") == by_sha1;
        key.answers.iter().any(|(algorithm, answer)| of(algorithm) && *answer == Answer::Yes)
    };
    if accepted(sha1) {
        if account.stranger.0 == Answer::Yes {
            return base.unknown("the server says yes to any key (see network.refuses-unknown-key)");
        }
        return base.pass();
    }
    if let Some((_, unseen)) = key.answers.iter().find(|(_, answer)| !matches!(answer, Answer::Yes | Answer::No(_))) {
        return base.unknown(format!("no answer to the question: {}", words(unseen)));
    }
    if sha1 && accepted(false) {
        return base.fail(
            format!("the daemon refuses {user}'s SHA-1 signatures, which the plan accepts (legacy_rsa_sha1)"),
            "apply the plan; if that changes nothing, something on the machine overrides gangplank's sshd settings",
        );
    }
    if accepted(true) {
        return base.fail(
            "the daemon accepts this RSA key with SHA-1 signatures only, which OpenSSH since 8.8 and current clients do not make",
            "remove PubkeyAcceptedAlgorithms from the machine's sshd settings, or update its sshd",
        );
    }
    base.fail(
        format!(
            "the daemon refuses this key of {user}: it is not in the user's authorized_keys or stands at another user's; \
             the home, .ssh or authorized_keys belongs to somebody else or may be written by others (StrictModes); the user \
             does not exist or is not in AllowUsers; or the daemon does not take this kind of key"
        ),
        "look at the machine's checks of this user: accepted keys, owners and modes, the running sshd's settings; after a \
         changed plan, apply it",
    )
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Yes => "accepted".to_owned(),
        Answer::No(_) => "refused".to_owned(),
        Answer::Asks => "the server asks something back".to_owned(),
        Answer::Ended(_) => "the connection ended".to_owned(),
        Answer::None(why) => why.clone(),
        Answer::Late => "no answer in time".to_owned(),
    }
}

fn refuses_none(case: &Case<'_>, user: &UserName, found: Option<&Account>) -> Check {
    let base = check("network.refuses-none", Part::Bastion, format!("nobody enters as {user} without a key"))
        .about(user.as_str());
    let Some(account) = found else { return base.unknown(not_asked(case)) };
    match &account.nothing {
        Answer::No(methods) => base.seen(format!("refused; methods: {}", methods.join(", "))).pass(),
        Answer::Yes => base.seen("entered without any key or password").fail(
            format!("anybody enters as {user}"),
            "look at the machine's checks of the running sshd's settings (AuthenticationMethods, PermitEmptyPasswords); \
             close the port until it is right",
        ),
        answer => base.unknown(format!("not seen: {}", words(answer))),
    }
}

fn refuses_stranger(case: &Case<'_>, user: &UserName, found: Option<&Account>) -> Check {
    let proves = format!("a key that nobody has does not enter as {user}");
    let base = check("network.refuses-unknown-key", Part::Bastion, proves).about(user.as_str());
    let Some(account) = found else { return base.unknown(not_asked(case)) };
    let (would_do, entered) = &account.stranger;
    let base = base.seen(format!("asked: {}", words(would_do))).seen(format!("tried: {}", words(entered)));
    let fix = "look at the machine's checks of the running sshd's settings (AuthorizedKeysCommand, AuthorizedKeysFile) and \
               at where the address leads: this may be a honeypot";
    match (would_do, entered) {
        (_, Answer::Yes) => base.fail(format!("a new key, made just now, enters as {user}"), fix),
        (Answer::Yes, _) => base.fail(format!("the server says yes to a key of {user} that was made just now"), fix),
        (Answer::No(_), Answer::No(_)) => base.pass(),
        (Answer::No(_), answer) | (answer, _) => base.unknown(format!("not seen: {}", words(answer))),
    }
}

fn refuses_password(case: &Case<'_>, user: &UserName, found: Option<&Account>) -> Check {
    let proves = format!("passwords are neither offered nor taken for {user}");
    let base = check("network.refuses-password", Part::Bastion, proves).about(user.as_str());
    let Some(account) = found else { return base.unknown(not_asked(case)) };
    let answers = [("password", &account.password), ("keyboard-interactive", &account.keyboard)];
    let mut base = base;
    for (method, answer) in answers {
        base = base.seen(format!("{method}: {}", words(answer)));
    }
    let fix = "look at the machine's checks of the running sshd's settings (PasswordAuthentication, \
               KbdInteractiveAuthentication, AuthenticationMethods); restart sshd if its files are right";
    if answers.iter().any(|(_, answer)| **answer == Answer::Yes) {
        return base.fail(format!("a made-up password enters as {user}"), fix);
    }
    let offered =
        [&account.nothing, &account.password, &account.keyboard].into_iter().find_map(|answer| match answer {
            Answer::No(methods) if password_like(methods) => Some(methods.join(", ")),
            _ => None,
        });
    if let Some(methods) = offered {
        let base = base.seen(format!("methods: {methods}"));
        return base.fail("the daemon lets passwords be tried: they can be guessed", fix);
    }
    if account.keyboard == Answer::Asks {
        return base.fail("the daemon asks for a password", fix);
    }
    match answers.iter().find(|(_, answer)| !matches!(answer, Answer::No(_))) {
        Some((method, answer)) => base.unknown(format!("{method} was not seen refused: {}", words(answer))),
        None => base.pass(),
    }
}
