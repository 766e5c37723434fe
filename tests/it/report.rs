//! The boot report: its script, asked for real; its reader, on hostile consoles; and what is concluded from it.

mod judge;
mod reader;
mod sandbox;
mod script;

use std::sync::Arc;

use gangplank::{
    cloudinit,
    diagnostic::{Source, render},
    plan::{self, Plan},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::plans::{KEY, ROTATED_KEY};

const INSTANCE: &str = "i-0123456789abcdef0";
const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICrRDRN7P5qEyD9023j6L2evWmaL8q2iwvtSVwMlFr/l";
/// When the reports of these tests were made, in Unix seconds.
const MADE: i64 = 1_790_000_000;

/// A vendor with two targets, and an operator.
fn plan_text(key_updates: &str) -> String {
    format!(
        "version: 1
name: warehouse
aws:
  region: us-east-1
  subnet: subnet-0a1b2c3d
  image: debian-13
  instance_type: t4g.nano
  address: elastic
  database_access: [{{security_group: sg-0a1b2c3d, port: 5432}}]
key_updates: {key_updates}
tunnels:
  - user: secoda
    allow_from: [198.51.100.7]
    keys: [\"{KEY}\"]
    targets:
      - {{name: warehouse, host: warehouse.example.internal, port: 5432, speaks: postgres}}
      - {{name: lake, host: 10.20.2.11, port: 5432, speaks: postgres}}
operators:
  - {{name: ana, allow_from: [198.51.100.20], keys: [\"{ROTATED_KEY}\"]}}
"
    )
}

fn read_plan(text: &str) -> Plan {
    let source = Arc::new(Source { path: "plan.yaml".into(), text: text.to_owned() });
    plan::read(source).unwrap_or_else(|problems| panic!("{}", render(&problems, false)))
}

/// What a machine of this plan reports when all is well.
fn good(plan: &Plan) -> Value {
    let access = cloudinit::access(plan).unwrap();
    let accounts: serde_json::Map<String, Value> = plan
        .accounts()
        .map(|(user, keys)| {
            let options = &access.iter().find(|a| a.user == user.as_str()).unwrap().options;
            let account = json!({
                "exists": true, "uid": 1001, "groups": [user.as_str()], "shell": "/usr/sbin/nologin", "locked": true,
                "sudo": false, "home": format!("dir 0700 {user}"), "ssh": format!("dir 0700 {user}"),
                "file": format!("file 0600 {user}"),
                "keys": {
                    "accepted": keys.iter().map(|k| k.fingerprint.clone()).collect::<Vec<_>>(), "other_lines": 0,
                    "options": if keys.is_empty() { vec![] } else { vec![options] },
                },
            });
            (user.to_string(), account)
        })
        .collect();
    let tested = json!({
        "entered": true, "open_files": 65535, "said": [], "log": [],
        "forwards": {"10.20.2.11:5432": true, "warehouse.example.internal:5432": true},
    });
    let self_tests: serde_json::Map<String, Value> = plan
        .accounts()
        .map(|(user, keys)| (user.to_string(), if keys.is_empty() { Value::Null } else { tested.clone() }))
        .collect();
    let time = MADE as f64;
    json!({
        "gangplank": 1, "instance": INSTANCE, "document": cloudinit::render(plan).unwrap().digest, "why": "boot",
        "boot_id": "ad4a3ac8-2c51-4c26-b7d2-d64f71fc8a11", "uptime": 120.5, "time": time,
        "clock": {"skew": 0.4, "synchronised": true},
        "cloud_init": {"status": "done", "errors": [], "warnings": [], "version": "25.1.4"},
        "boot": "ok",
        "deadline": if plan.asks_metadata() { json!({"expires": null, "closed": false}) } else { Value::Null },
        "key_channel": if plan.keys_are_live() { json!({"age": 7, "problem": null}) } else { Value::Null },
        "sshd": good_sshd(time),
        "disk": {"free": 5_000_000_000u64, "free_inodes": 400_000, "read_only": false},
        "accounts": accounts,
        "targets": [
            {"open": "10.20.2.11:5432", "tcp": "ok"},
            {"open": "warehouse.example.internal:5432", "dns": ["10.20.2.10"], "tcp": "ok"},
        ],
        "self_tests": self_tests,
        "guards": {"deny": [], "allow": [], "drops": []},
        "refusals": [],
        "agents": [],
        "updates": "ok",
        "listening": [{"address": "0.0.0.0", "port": 22, "process": "sshd"}],
    })
}

fn good_sshd(time: f64) -> Value {
    json!({
        "running": {
            "pid": 326, "command": "sshd: /usr/sbin/sshd -D [listener] 0 of 50-200 startups", "unit": "ssh.service",
            "read": time - 60.0, "startups": [50, 200], "banner": "SSH-2.0-OpenSSH_10.0p2 Debian-7", "ports": [22],
            "open_files": 65535, "processes": 65535,
        },
        "state": "Id=ssh.service LoadState=loaded ActiveState=active Result=success",
        "changed": {"path": "/etc/ssh/sshd_config.d/00-gangplank.conf", "time": time - 61.0},
        "settings": {
            "allowagentforwarding": "no", "allowstreamlocalforwarding": "no", "allowtcpforwarding": "local",
            "allowusers": "ana secoda", "authenticationmethods": "publickey", "authorizedkeyscommand": "none",
            "authorizedkeysfile": ".ssh/authorized_keys .ssh/gangplank_test", "disableforwarding": "no",
            "clientaliveinterval": "60", "clientalivecountmax": "3", "requiredrsasize": "1024",
            "forcecommand": "/usr/sbin/nologin", "gatewayports": "no", "kbdinteractiveauthentication": "no",
            "maxsessions": "50", "maxstartups": "50:30:200", "passwordauthentication": "no",
            "permitemptypasswords": "no", "permitlisten": "none", "permitrootlogin": "no", "permittty": "no",
            "permittunnel": "no", "permituserenvironment": "no", "permituserrc": "no",
            "persourcemaxstartups": "none", "persourcepenalties": "no", "port": "22",
            "pubkeyacceptedalgorithms": "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256",
            "pubkeyauthentication": "yes", "strictmodes": "yes", "trustedusercakeys": "none", "usepam": "yes",
            "x11forwarding": "no",
        },
        "own_settings": {"ana": {}, "secoda": {}},
        "permit_open": {"ana": [0, 1], "secoda": [0, 1]},
        "by_address": [],
        "host_keys": [HOST_KEY],
    })
}

/// A report's line, as the machine prints it.
fn sealed(report: &Value, seal: &str) -> String {
    let text = report.to_string();
    let open = text.strip_suffix('}').unwrap();
    let checksum: String = Sha256::digest(format!("{seal}\n{open}")).iter().map(|b| format!("{b:02x}")).collect();
    format!("{open},\"sha256\":\"{checksum}\"}}")
}

fn seal_of(report: &Value) -> &str {
    report["document"].as_str().unwrap()
}
