//! OpenSSH public keys, as strict as `authorized_keys` is trusting.

use ssh_key::{Algorithm, HashAlg, public::KeyData};

use super::{
    PublicKey,
    fields::{Field, excerpt},
    report::{Read, Report},
};

/// OpenSSH refuses longer moduli (`SSHBUF_MAX_BIGNUM`).
const LARGEST_RSA: u32 = 16384;
const SMALLEST_RSA: u32 = 2048;

const ALGORITHMS: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
];

const EXPECTED: &str = "an OpenSSH public key";
const FORM: &str = "a key is one line like `ssh-ed25519 AAAA... comment`, the content of a .pub file";

pub(super) fn public_key(field: &Field<'_>, report: &mut Report) -> Read<PublicKey> {
    let scalar = field.scalar(EXPECTED, report)?;
    match judge(&scalar.text, scalar.folded) {
        Ok(key) => Ok(key),
        Err(refusal) => {
            let mut problem = field.problem(report, refusal.summary, refusal.label);
            problem.detail = refusal.detail.map(str::to_owned);
            problem.fix = refusal.fix.map(str::to_owned);
            Err(report.push(problem))
        }
    }
}

/// A key that stands in no plan, by a plan's rules.
///
/// # Errors
/// Why no plan takes it.
pub fn parse_key(text: &str) -> Result<PublicKey, String> {
    judge(text, false).map_err(|refusal| refusal.label)
}

struct Refusal {
    summary: &'static str,
    label: String,
    detail: Option<&'static str>,
    fix: Option<&'static str>,
}

impl Refusal {
    fn new(summary: &'static str, label: impl Into<String>, fix: &'static str) -> Self {
        Self { summary, label: label.into(), detail: None, fix: Some(fix) }
    }

    fn because(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }
}

/// `folded`: the text stands on several lines of the file.
fn judge(text: &str, folded: bool) -> Result<PublicKey, Refusal> {
    const NO_KEY: &str = "not a public key";
    let text = text.strip_suffix('\n').unwrap_or(text).trim_matches(' ');
    if text.contains("BEGIN ") && text.contains("PUBLIC KEY") {
        let fix = "convert it with `ssh-keygen -i -f FILE` (add `-m PKCS8` or `-m PEM` for those formats)";
        return Err(Refusal::new(NO_KEY, "this is a public key in another format", fix));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_key = |pair: &[&str]| matches!(pair, [name, data] if ALGORITHMS.contains(name) && data.starts_with("AAAA"));
    if words.windows(2).filter(|pair| is_key(pair)).count() > 1 {
        return Err(Refusal::new(
            "two keys in one entry",
            "a second key follows in the same entry",
            "give each key an entry of its own",
        ));
    }
    if folded || text.contains(['\n', '\r']) {
        let fix = "write the key on one line, as in the .pub file";
        return Err(Refusal::new("a key over several lines", "the key was broken into lines", fix));
    }
    if text.chars().any(char::is_control) {
        let label = "the text holds a control character";
        return Err(Refusal::new("a control character in a key", label, "copy the key from the .pub file again"));
    }
    if text.starts_with("SHA256:") || text.starts_with("MD5:") {
        return Err(Refusal::new(NO_KEY, "this is a fingerprint", FORM));
    }
    let algorithm = words.first().copied().unwrap_or_default();
    if algorithm.contains("-cert-v0") {
        return Err(Refusal::new("a certificate instead of a key", "this is an OpenSSH certificate", FORM)
            .because("A certificate's rights and end are its authority's, and not this plan's, to decide."));
    }
    if !ALGORITHMS.contains(&algorithm) {
        if words.iter().skip(1).any(|word| ALGORITHMS.contains(word)) {
            let label = "options stand before the key";
            return Err(Refusal::new("options before a key", label, "remove everything before the key's type")
                .because("gangplank writes the options itself: what a tunnel may open follows from its targets."));
        }
        let label = if text.starts_with(['/', '~']) || text.ends_with(".pub") {
            "this is a file's name".to_owned()
        } else {
            format!("no known key type stands at its beginning: `{}`", excerpt(algorithm))
        };
        return Err(Refusal::new(NO_KEY, label, FORM));
    }
    if algorithm == "ssh-dss" {
        let fix = "ask for an ed25519 key, or RSA with 2048 bits or more";
        return Err(Refusal::new("a weak key", "this is a DSA key", fix)
            .because("OpenSSH has removed DSA: it would not be accepted."));
    }
    let broken =
        || Refusal::new(NO_KEY, "the key's data is damaged or cut off", "copy the whole line from the .pub file again");
    let key = ssh_key::PublicKey::from_openssh(text).map_err(|_| broken())?;
    let written = words.get(1).copied().unwrap_or_default();
    let openssh = key.to_openssh().map_err(|_| broken())?;
    if openssh.split(' ').nth(1) != Some(written) {
        return Err(broken());
    }
    strong(&key)?;
    Ok(PublicKey {
        algorithm: algorithm.to_owned(),
        base64: written.to_owned(),
        comment: key.comment().trim().to_owned(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    })
}

fn strong(key: &ssh_key::PublicKey) -> Result<(), Refusal> {
    let fix = "ask for an ed25519 key, or RSA with 2048 bits or more";
    match key.key_data() {
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, bits);
            let exponent = rsa.e.as_positive_bytes().unwrap_or_default();
            let odd = exponent.last().is_some_and(|last| last % 2 == 1) && exponent != [1];
            if bits < SMALLEST_RSA {
                return Err(Refusal::new("a weak key", format!("this RSA key has {bits} bits"), fix)
                    .because("RSA keys under 2048 bits can be broken; current OpenSSH versions refuse short ones."));
            }
            if bits > LARGEST_RSA {
                return Err(Refusal::new("a key that is too large", format!("this RSA key has {bits} bits"), fix)
                    .because("OpenSSH reads RSA keys of at most 16384 bits."));
            }
            if !odd {
                return Err(Refusal::new("a weak key", "this RSA key has an impossible exponent", fix));
            }
            Ok(())
        }
        KeyData::Ed25519(_) | KeyData::SkEd25519(_) => Ok(()),
        _ if matches!(key.algorithm(), Algorithm::Ecdsa { .. } | Algorithm::SkEcdsaSha2NistP256) => Ok(()),
        _ => Err(Refusal::new("not a public key", "gangplank does not know this type of key", fix)),
    }
}

/// The bit length of a big-endian number.
fn bits(bytes: &[u8]) -> u32 {
    let significant = bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let leading = significant.first().map_or(0, |first| first.leading_zeros());
    (u32::try_from(significant.len()).unwrap_or(u32::MAX / 8)) * 8 - leading
}
