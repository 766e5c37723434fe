//! The machine's own script, with a metadata service of its own: which keys it takes, and when it keeps what it has.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use gangplank::{
    cloudinit,
    provider::{aws::keys, azure::keys as azure_keys},
    tags::Tags,
};
use insta::assert_snapshot;

use super::{OPERATOR, metadata::Metadata, read, rsa, text};
use crate::support::{
    self,
    plans::{KEY, ROTATED_KEY},
};

/// The machine's script as the document brings it, for the current user, with folders of its own.
pub struct Machine {
    pub folder: tempfile::TempDir,
    pub metadata: Metadata,
}

/// What one run of the script said and left.
#[derive(Debug)]
pub struct Round {
    pub ok: bool,
    pub said: String,
}

impl Machine {
    /// `None`, said aloud, where a program of the machine's is missing here.
    pub fn new() -> Option<Self> {
        for program in ["/usr/bin/python3", "/usr/bin/ssh-keygen"] {
            if !Path::new(program).exists() {
                support::skip(&format!("no {program} here"));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let plan = read(&text(&[KEY]));
        let document: serde_json::Value = serde_yaml::from_str(&cloudinit::render(&plan).unwrap().text).unwrap();
        for user in ["ana", "fivetran", "secoda"] {
            fs::create_dir_all(folder.path().join("homes").join(user).join(".ssh")).unwrap();
        }
        fs::create_dir(folder.path().join("options")).unwrap();
        for file in document["write_files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let place = match path.rsplit_once('/').unwrap() {
                ("/etc/gangplank/options", user) => folder.path().join("options").join(user),
                (_, "gangplank-keys") => folder.path().join("script"),
                _ => continue,
            };
            fs::write(&place, file["content"].as_str().unwrap()).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let machine = Self { folder, metadata: Metadata::start() };
        machine.metadata.show(&keys::tags(&plan));
        Some(machine)
    }

    pub fn round(&self) -> Round {
        let at = |name: &str| self.folder.path().join(name);
        let output = Command::new("/usr/bin/python3")
            .args(["-I", "-S"])
            .arg(at("script"))
            .env("GANGPLANK_METADATA", self.metadata.address())
            .env("GANGPLANK_OPTIONS", at("options"))
            .env("GANGPLANK_HOMES", at("homes"))
            .env("GANGPLANK_RUN", at("run"))
            .env("GANGPLANK_STATE", at("state/deadline"))
            .env("GANGPLANK_SHUTDOWN", at("shutdown"))
            .env("GANGPLANK_REPORT", "/bin/true")
            // A proxy of the environment is not for the metadata service.
            .env("http_proxy", "http://127.0.0.1:9")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        Round { ok: output.status.success(), said: said.replace(&self.metadata.address(), "SERVICE") }
    }

    pub fn bring(&self, keys: &[&str]) -> Round {
        self.metadata.show(&keys::tags(&read(&text(keys))));
        self.round()
    }

    pub fn path(&self, user: &str) -> std::path::PathBuf {
        self.folder.path().join("homes").join(user).join(".ssh/authorized_keys")
    }

    /// The user's lines; nothing where there is no file. Never anything beside it, and never open to others.
    pub fn accepted(&self, user: &str) -> Vec<String> {
        let path = self.path(user);
        let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        let Ok(text) = fs::read_to_string(&path) else {
            assert!(beside.is_empty(), "{beside:?}");
            return Vec::new();
        };
        assert_eq!(beside, ["authorized_keys"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        text.lines().map(str::to_owned).collect()
    }
}

pub fn line(options: &str, key: &str) -> String {
    let words: Vec<&str> = key.split(' ').take(2).collect();
    format!("restrict,port-forwarding,{options} {}", words.join(" "))
}

pub const SECODA: &str = "permitopen=\"10.20.2.10:5432\"";

#[test]
fn the_machine_takes_added_rotated_and_revoked_keys() {
    let Some(machine) = Machine::new() else { return };
    let first = machine.round();
    assert!(first.ok, "{first:?}");
    assert_snapshot!(first.said, @r#"
    gangplank: ana may enter with SHA256:HMR3IRfuT8i5m5KpiuGgJDOoCBXeo9/Z6YB9YfK0KL0
    gangplank: fivetran may enter with no key
    gangplank: secoda may enter with SHA256:ESy03LOEB695kI2+d+8tJ61LClqtiwqlvIy3Vau/g0I
    "#);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
    assert_eq!(machine.accepted("fivetran"), [""; 0]);
    let both = "permitopen=\"10.20.2.10:5432\",permitopen=\"10.20.2.11:3306\"";
    assert_eq!(machine.accepted("ana"), [line(both, OPERATOR)]);

    let inode = |user| std::os::unix::fs::MetadataExt::ino(&fs::metadata(machine.path(user)).unwrap());
    let (secoda, ana) = (inode("secoda"), inode("ana"));
    let again = machine.round();
    assert_eq!((again.ok, again.said.as_str()), (true, ""));
    assert_eq!(inode("secoda"), secoda, "what says the same is not written again");

    let overlap = machine.bring(&[KEY, ROTATED_KEY]);
    assert!(overlap.ok, "{overlap:?}");
    assert_eq!(machine.accepted("secoda").len(), 2);
    assert_eq!(inode("ana"), ana);
    let rotated = machine.bring(&[ROTATED_KEY]);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, ROTATED_KEY)]);
    assert_snapshot!(rotated.said, @r#"
    gangplank: secoda may enter with SHA256:j7A85mzuO7PnoEopX0Bv0zGShoGTn/S/+YzUrW0Jxqg
    "#);
    let revoked = machine.bring(&[]);
    assert_snapshot!(revoked.said, @r#"
    gangplank: secoda may enter with no key
    "#);
    assert_eq!(machine.accepted("secoda"), [""; 0]);
    for bits in [2048, 4096, 16384] {
        let key = rsa(bits, 3);
        assert!(machine.bring(&[&key, KEY]).ok);
        let mut expected = [line(SECODA, KEY), line(SECODA, &key)];
        expected.sort();
        assert_eq!(machine.accepted("secoda"), expected);
    }
}

/// Whatever the tags are that are no whole set: the machine keeps what it has, says why, and takes the next whole set.
#[test]
fn the_machine_keeps_its_keys_when_the_tags_are_not_a_whole_set() {
    let Some(machine) = Machine::new() else { return };
    let large = rsa(4096, 5);
    assert!(machine.bring(&[&large, KEY]).ok);
    let before = machine.accepted("secoda");
    assert_eq!(before.len(), 2);
    let whole = keys::tags(&read(&text(&[&large, ROTATED_KEY])));
    let digest_of = |keys: &[&str]| keys::tags(&read(&text(keys)))["gangplank:keys"].clone();
    let evil = format!("{}\nssh-ed25519 {}", KEY.trim_end_matches(" vendor"), &ROTATED_KEY[12..80]);
    let evil_set = |user: &str, value: &str| -> Tags {
        // A digest that fits, as somebody who may tag the instance can write it.
        let lines = format!("{user} {value}\n");
        use sha2::Digest;
        let digest: String = sha2::Sha256::digest(lines).iter().take(16).map(|b| format!("{b:02x}")).collect();
        BTreeMap::from([(format!("gangplank:key.{user}.0.0"), value.to_owned()), ("gangplank:keys".to_owned(), digest)])
    };
    let changed = |change: &dyn Fn(&mut Tags)| {
        let mut tags = whole.clone();
        change(&mut tags);
        tags
    };
    let part = |n: usize| whole.keys().filter(|key| key.starts_with("gangplank:key.secoda.")).nth(n).cloned().unwrap();
    let cases: Vec<(&str, Tags)> = vec![
        ("a missing part", changed(&|tags| _ = tags.remove(&part(2)))),
        ("a malformed part", changed(&|tags| _ = tags.insert(part(1), "AAAA".into()))),
        ("a part's name", changed(&|tags| _ = tags.insert("gangplank:key.secoda.x".into(), "AAAA".into()))),
        ("a part's number", changed(&|tags| _ = tags.insert("gangplank:key.secoda.0.x".into(), "AAAA".into()))),
        ("no digest", changed(&|tags| _ = tags.remove("gangplank:keys"))),
        ("the old digest", changed(&|tags| _ = tags.insert("gangplank:keys".into(), digest_of(&[&large, KEY])))),
        ("a key too many", changed(&|tags| _ = tags.insert("gangplank:key.secoda.7.0".into(), KEY[..80].into()))),
        ("nothing of ours", Tags::from([("Name".into(), "x".into())])),
        ("a line break", evil_set("secoda", &evil)),
        ("options", evil_set("secoda", &format!("command=\"reboot\" {}", &KEY[..80]))),
        ("no key", evil_set("secoda", "ssh-ed25519 AAAA")),
    ];
    for (what, tags) in cases {
        machine.metadata.show(&tags);
        let round = machine.round();
        assert!(!round.ok && round.said.starts_with("gangplank: the keys stay as they are: "), "{what}: {round:?}");
        assert_eq!(machine.accepted("secoda"), before, "{what}");
        assert_eq!(machine.accepted("ana").len(), 1, "{what}");
    }
    machine.metadata.show(&whole);
    assert!(machine.round().ok);
    assert_ne!(machine.accepted("secoda"), before);
}

#[test]
fn the_machine_keeps_its_keys_when_nobody_answers() {
    let Some(machine) = Machine::new() else { return };
    machine.metadata.hide_tags();
    let fresh = machine.round();
    assert!(!fresh.ok);
    assert_eq!(machine.accepted("secoda"), [""; 0], "a fresh machine admits nobody");
    assert!(machine.bring(&[KEY]).ok);

    machine.metadata.hide_tags();
    let hidden = machine.round();
    assert_snapshot!(hidden.said, @r#"
    gangplank: the keys stay as they are: meta-data/tags/instance/: HTTP Error 404: Not Found
    "#);
    machine.metadata.refuse_tokens();
    let refused = machine.round();
    assert_snapshot!(refused.said, @r#"
    gangplank: the keys stay as they are: api/token: HTTP Error 403: Forbidden
    "#);
    machine.metadata.stop();
    let down = machine.round();
    assert!(!down.ok && down.said.contains("api/token: "), "{down:?}");
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
}

/// The same script on Azure: its metadata service shows user data, and no tags.
#[test]
fn a_machine_on_azure_takes_its_keys_from_user_data() {
    let Some(machine) = Machine::new() else { return };
    let user_data = |keys: &[&str]| azure_keys::user_data(&read(&text(keys)), None).expect("live keys");
    let expected = |machine: &Machine, key: &str| {
        assert_eq!(machine.accepted("secoda"), [line(SECODA, key)]);
    };
    machine.metadata.show_user_data(&user_data(&[KEY]));
    assert!(machine.round().ok);
    expected(&machine, KEY);
    machine.metadata.show_user_data(&user_data(&[ROTATED_KEY]));
    assert!(machine.round().ok);
    expected(&machine, ROTATED_KEY);
    // Half of it, none of it, something else: the machine keeps what it has.
    let whole = user_data(&[KEY]);
    for broken in [&whole[..whole.len() / 2], "", "#!/bin/sh\n", &whole.replace("secoda", "ana")] {
        machine.metadata.show_user_data(broken);
        let round = machine.round();
        assert!(!round.ok && round.said.contains("the keys stay as they are"), "{round:?}");
        expected(&machine, ROTATED_KEY);
    }
    // Nobody has a key: that is a whole set too.
    machine.metadata.show_user_data(&user_data(&[]));
    assert!(machine.round().ok);
    assert_eq!(machine.accepted("secoda"), Vec::<String>::new());
}

/// Root would write, and give away, a file in another folder.
#[test]
fn a_link_that_a_user_put_in_its_home_is_not_followed() {
    let Some(machine) = Machine::new() else { return };
    assert!(machine.round().ok);
    let (folder, elsewhere) =
        (machine.path("ana").parent().unwrap().to_owned(), machine.folder.path().join("elsewhere"));
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    let round = machine.bring(&[ROTATED_KEY]);
    assert!(!round.ok && round.said.contains("Not a directory"), "{round:?}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, ROTATED_KEY)], "the other users' keys are taken");
}

/// The report's own test has a key in a second file, and a folder beside for as long.
#[test]
fn a_key_in_the_second_file_goes_when_nobody_tests() {
    let Some(machine) = Machine::new() else { return };
    assert!(machine.round().ok);
    let second = machine.path("secoda").with_file_name("gangplank_test");
    let testing = machine.folder.path().join("run/test/secoda");
    fs::write(&second, KEY).unwrap();
    fs::create_dir_all(&testing).unwrap();
    assert!(machine.round().ok && second.exists());
    fs::remove_dir(&testing).unwrap();
    assert!(machine.round().ok && !second.exists());
}
