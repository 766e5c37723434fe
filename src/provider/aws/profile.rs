//! A profile of the shared configuration files: whether one that somebody named is there, and how it comes to credentials. Pure.

use crate::text::shell_word;

/// A profile that a plan, `--profile` or `AWS_PROFILE` names: it wins over every other source of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProfile {
    pub name: String,
    pub named_by: NamedBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// A plan, or an option of the command line.
    Caller,
    /// `AWS_PROFILE`.
    Environment,
}

/// A profile that somebody named is in no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingProfile {
    pub profile: NamedProfile,
    /// As the reader writes it: `~/.aws/config`.
    pub config_file: String,
    pub credentials_file: String,
    /// The profiles that are there, the likeliest first.
    pub known: Vec<String>,
}

impl NamedProfile {
    /// The caller's wins over the environment's.
    pub fn choose(caller: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        match caller {
            Some(name) => Some(Self { name: name.to_owned(), named_by: NamedBy::Caller }),
            None => env("AWS_PROFILE")
                .filter(|name| !name.is_empty())
                .map(|name| Self { name, named_by: NamedBy::Environment }),
        }
    }
}

impl MissingProfile {
    pub fn new(
        profile: NamedProfile,
        known: impl Iterator<Item = String>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let file = |variable: &str, usual: &str| env(variable).filter(|v| !v.is_empty()).unwrap_or(usual.to_owned());
        let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&profile.name.to_lowercase(), name);
        let mut known: Vec<(f64, String)> = known.map(|name| (likeness(&name.to_lowercase()), name)).collect();
        known.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
        Self {
            config_file: file("AWS_CONFIG_FILE", "~/.aws/config"),
            credentials_file: file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
            known: known.into_iter().map(|(_, name)| name).collect(),
            profile,
        }
    }

    /// `it is in neither ~/.aws/config nor ~/.aws/credentials`
    pub fn where_not(&self) -> String {
        format!("it is in neither {} nor {}", self.config_file, self.credentials_file)
    }

    pub fn remedy(&self) -> String {
        const SHOWN: usize = 5;
        match self.known.as_slice() {
            [] => {
                format!("no profile is there: `aws configure --profile {}` makes one", shell_word(&self.profile.name))
            }
            [only] => format!("name the profile that is there, {only}"),
            known => {
                let more = if known.len() > SHOWN { ", ..." } else { "" };
                let names: Vec<&str> = known.iter().take(SHOWN).map(String::as_str).collect();
                format!("name one of those that are there: {}{more}", names.join(", "))
            }
        }
    }
}

/// What a reader is told whose environment has credentials that a named profile keeps from being used; `None` where it has none.
pub fn unused_credentials(profile: &NamedProfile, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    const OTHERS: &[&str] = &[
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let set: Vec<&str> = OTHERS.iter().copied().filter(|name| env(name).is_some_and(|v| !v.is_empty())).collect();
    let of = match profile.named_by {
        NamedBy::Environment => " of AWS_PROFILE",
        NamedBy::Caller => "",
    };
    let are = if set.len() == 1 { "is" } else { "are" };
    (!set.is_empty()).then(|| format!("the profile {}{of} is used; {} {are} not", profile.name, set.join(", ")))
}

/// Where a profile's credentials begin: what a person does when there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileLogin {
    /// At the end of the chain of `source_profile`: whoever logs in does so with this one.
    pub profile: String,
    pub kind: LoginKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// `sso_session` or `sso_start_url`: `aws sso login`.
    SingleSignOn,
    /// `login_session`: `aws login`.
    ConsoleSession,
    /// `role_arn` with `mfa_serial`: somebody must type a code.
    MfaRole,
    Process,
    Role,
    AccessKeys,
}

/// Longer chains of `source_profile` are loops.
const LONGEST_CHAIN: usize = 20;

impl ProfileLogin {
    /// By the settings of profiles.
    pub fn of(profile: &str, setting: &dyn Fn(&str, &str) -> Option<String>) -> Self {
        let mut name = profile.to_owned();
        let mut of_role = false;
        for _ in 0..LONGEST_CHAIN {
            let has = |key: &str| setting(&name, key).is_some();
            let kind = if has("role_arn") && has("mfa_serial") {
                LoginKind::MfaRole
            } else if has("role_arn") && !has("web_identity_token_file") {
                match setting(&name, "source_profile").filter(|source| *source != name) {
                    Some(source) => {
                        name = source;
                        of_role = true;
                        continue;
                    }
                    None => LoginKind::Role,
                }
            } else if has("sso_session") || has("sso_start_url") {
                LoginKind::SingleSignOn
            } else if has("login_session") {
                LoginKind::ConsoleSession
            } else if has("credential_process") {
                LoginKind::Process
            } else if has("role_arn") {
                LoginKind::Role
            } else if of_role {
                // The keys are there: it is the role that is refused.
                return Self { profile: profile.to_owned(), kind: LoginKind::Role };
            } else {
                LoginKind::AccessKeys
            };
            return Self { profile: name, kind };
        }
        Self { profile: name, kind: LoginKind::Role }
    }

    /// What a person does about credentials that are not there or have ended.
    pub fn remedy(&self) -> String {
        let profile = shell_word(&self.profile);
        match self.kind {
            LoginKind::SingleSignOn => format!("log in: `aws sso login --profile {profile}`"),
            LoginKind::ConsoleSession => format!("log in: `aws login --profile {profile}`"),
            LoginKind::MfaRole => format!(
                "the profile {profile} wants an MFA code (`mfa_serial`), and gangplank does not ask for codes. Either run `eval \
                 \"$(aws configure export-credentials --profile {profile} --format env)\"`, which asks for it, and then gangplank \
                 without a profile, since a named one wins over these variables; or name a profile whose `credential_process` is \
                 `aws configure export-credentials --profile {profile}`"
            ),
            LoginKind::Process => {
                format!(
                    "repair what the profile {profile} has as `credential_process`; it must print credentials as JSON"
                )
            }
            LoginKind::Role => {
                format!("see whether the role may be assumed: `aws sts get-caller-identity --profile {profile}`")
            }
            LoginKind::AccessKeys => format!("give the profile keys: `aws configure --profile {profile}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings as `PROFILE KEY VALUE`.
    fn login(profile: &str, settings: &'static [(&str, &str, &str)]) -> ProfileLogin {
        ProfileLogin::of(profile, &|profile, key| {
            let found = settings.iter().find(|(p, k, _)| (*p, *k) == (profile, key));
            found.map(|(_, _, value)| (*value).to_owned())
        })
    }

    #[test]
    fn whoever_must_log_in_is_at_the_end_of_the_chain() {
        let sso = login(
            "prod",
            &[("prod", "role_arn", "arn"), ("prod", "source_profile", "base"), ("base", "sso_session", "s")],
        );
        assert_eq!(sso.remedy(), "log in: `aws sso login --profile base`");
        let console = login("ana's", &[("ana's", "login_session", "arn")]);
        assert_eq!(console.remedy(), r"log in: `aws login --profile 'ana'\''s'`");
        let mfa = login(
            "prod",
            &[("prod", "role_arn", "arn"), ("prod", "source_profile", "base"), ("prod", "mfa_serial", "m")],
        );
        assert_eq!(mfa.kind, LoginKind::MfaRole);
        assert!(
            mfa.remedy().contains("aws configure export-credentials --profile prod --format env"),
            "{}",
            mfa.remedy()
        );
        let endless = login(
            "a",
            &[
                ("a", "role_arn", "r"),
                ("a", "source_profile", "b"),
                ("b", "role_arn", "r"),
                ("b", "source_profile", "a"),
            ],
        );
        assert_eq!(endless.kind, LoginKind::Role);
    }

    #[test]
    fn the_callers_profile_wins_and_an_empty_one_is_none() {
        let env = |value: &'static str| move |name: &str| (name == "AWS_PROFILE").then(|| value.to_owned());
        let chosen = NamedProfile::choose(Some("data"), &env("other")).expect("named");
        assert_eq!((chosen.name.as_str(), chosen.named_by), ("data", NamedBy::Caller));
        let chosen = NamedProfile::choose(None, &env("other")).expect("named");
        assert_eq!((chosen.name.as_str(), chosen.named_by), ("other", NamedBy::Environment));
        assert_eq!(NamedProfile::choose(None, &env("")), None);
    }

    #[test]
    fn credentials_that_are_not_used_are_named() {
        let data = |named_by| NamedProfile { name: "data".to_owned(), named_by };
        let env = |name: &str| (name == "AWS_ACCESS_KEY_ID").then(|| "AKIA".to_owned());
        let told = |named_by, env: &dyn Fn(&str) -> Option<String>| unused_credentials(&data(named_by), env);
        assert_eq!(
            told(NamedBy::Environment, &env).as_deref(),
            Some("the profile data of AWS_PROFILE is used; AWS_ACCESS_KEY_ID is not")
        );
        assert_eq!(told(NamedBy::Caller, &|_| Some(String::new())), None);
    }

    #[test]
    fn what_is_there_is_listed_the_likeliest_first() {
        let nope = NamedProfile { name: "prdo".to_owned(), named_by: NamedBy::Caller };
        let known = ["default", "staging", "prod"].map(str::to_owned).into_iter();
        let missing = MissingProfile::new(nope, known, &|_| None);
        assert_eq!(missing.where_not(), "it is in neither ~/.aws/config nor ~/.aws/credentials");
        assert!(missing.remedy().starts_with("name one of those that are there: prod, "), "{}", missing.remedy());
    }
}
