//! Whose identity a run has, and how the clouds are reached: profiles, logins, endpoints and certificates, through the program as
//! people run it.

mod azure_cli;
mod endpoints;
mod logins;
mod profiles;

use std::{fs, process::Command};

use tempfile::TempDir;

/// The program in an empty home, with an environment of its own; no cloud is behind it.
struct Desk {
    home: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { home: TempDir::new().expect("a temporary folder") }
    }

    /// Writes a file beneath the home.
    fn write(&self, path: &str, text: &str) {
        write(self.home.path(), path, text);
    }

    fn gangplank(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command.args(arguments).envs(environment.iter().copied());
        command
    }
}

fn write(home: &std::path::Path, path: &str, text: &str) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().expect("beneath the home")).expect("a writable folder");
    fs::write(path, text).expect("a writable folder");
}

/// Keys that sign in any world that checks none.
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIA0000100000000001"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")];

/// A plan whose ids are nobody's.
fn aws_plan(name: &str, profile: Option<&str>) -> String {
    let profile = profile.map(|profile| format!("  profile: {profile}\n")).unwrap_or_default();
    format!(
        "version: 1\nname: {name}\naws:\n  region: us-east-1\n{profile}  subnet: subnet-0123456789abcdef0\n  image: debian-13\n  \
         instance_type: t4g.nano\n  database_access: [{{security_group: sg-0123456789abcdef0, port: 5432}}]\ntunnels:\n  - user: vendor\n    \
         allow_from: [198.51.100.7/32]\n    keys: []\n    targets: [{{name: db, host: 10.20.2.10, port: 5432}}]\n"
    )
}

fn azure_plan(name: &str, subscription: &str) -> String {
    format!(
        "version: 1\nname: {name}\nazure:\n  subscription: {subscription}\n  location: westeurope\n  resource_group: rg-{name}\n  \
         network: {{address_space: 10.60.0.0/16, bastion_subnet: 10.60.1.0/27}}\n  edge: public_address\n  size: Standard_B1s\n  \
         image: debian-13\ntunnels:\n  - user: vendor\n    allow_from: [198.51.100.7/32]\n    keys: []\n    \
         targets: [{{name: db, host: 10.20.2.10, port: 5432}}]\n"
    )
}
