//! Addresses that the environment and profiles name, hosts that do not answer, and certificates.

use std::{fs, net::TcpListener, time::Instant};

use super::{Desk, KEYS, aws_plan, azure_plan};
use crate::support::{
    self, Lab,
    program::{self, Run, Victim},
    recorder::Recorder,
    tls::TlsFront,
};

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000001";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("warehouse.yaml", &aws_plan("warehouse", None));
    desk.write("azure.yaml", &azure_plan("sales", SUBSCRIPTION));
    desk
}

fn plan(desk: &Desk, plan: &str, environment: &[(&str, &str)]) -> Run {
    program::run(&mut desk.gangplank(&["plan", plan], &[&KEYS[..], environment].concat()), &Victim::default())
}

/// As compose files and CI leave them.
#[test]
fn a_setting_that_is_empty_counts_as_unset() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let path = lab.gangplank.write(&lab.bastion());
    let proxy = lab.proxy();
    let mut command = lab.gangplank.command(proxy.address());
    command.arg("plan").arg(path).env("AWS_ENDPOINT_URL", "").env("AWS_PROFILE", "").env("AWS_CA_BUNDLE", "");
    command.env("AWS_ENDPOINT_URL_EC2", format!("http://{}", proxy.address()));
    command.env("AWS_ENDPOINT_URL_STS", format!("http://{}", proxy.address()));
    proxy.run(&mut command).expect(0);

    // Nobody else is asked: the way out is a closed port.
    let none = [("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL_EC2", ""), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    let run = plan(&desk(), "warehouse.yaml", &none).expect(1);
    assert!(!run.stderr.contains("panicked"), "{run}");
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    let desk = desk();
    let cases = [
        ("warehouse.yaml", "AWS_ENDPOINT_URL", "nonsense", "\"nonsense\""),
        ("warehouse.yaml", "AWS_ENDPOINT_URL_EC2", "http://", "\"http://\""),
        ("warehouse.yaml", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ftp://x", "\"ftp://x\""),
        ("warehouse.yaml", "HTTPS_PROXY", "gopher://ana:secret@proxy", "\"gopher://***@proxy\""),
        ("azure.yaml", "AZURE_RESOURCE_MANAGER_ENDPOINT", "nonsense", "\"nonsense\""),
        ("azure.yaml", "AZURE_AUTHORITY_HOST", "login.example", "\"login.example\""),
    ];
    for (file, variable, value, told) in cases {
        let run = plan(&desk, file, &[(variable, value)]).expect(1);
        assert!(run.stderr.contains(&format!("{variable} is {told}")), "{run}");
        assert!(!run.stderr.contains("no answer") && !run.stderr.contains("secret"), "{run}");
    }
    desk.write(".aws/config", "[default]\nendpoint_url = nonsense\n");
    let run = plan(&desk, "warehouse.yaml", &[]).expect(1);
    assert!(run.stderr.contains("`endpoint_url` of the profile default is \"nonsense\""), "{run}");
    desk.write(".aws/config", "[default]\nendpoint_url =\nregion = us-east-1\n");
    let run = plan(&desk, "warehouse.yaml", &[("HTTPS_PROXY", "http://127.0.0.1:1")]).expect(1);
    assert!(!run.stderr.contains("panicked") && !run.stderr.contains("endpoint_url"), "{run}");
}

/// A closed port does not open by being asked for a quarter of a minute.
#[test]
fn a_host_that_refuses_is_tried_twice_and_told_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let host = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let address = format!("http://{host}");
    for (file, variable) in [("warehouse.yaml", "AWS_ENDPOINT_URL"), ("azure.yaml", "AZURE_RESOURCE_MANAGER_ENDPOINT")]
    {
        let began = Instant::now();
        let run = plan(&desk(), file, &[(variable, &address)]).expect(1);
        assert!(began.elapsed().as_secs() < 12, "it took {:?}\n{run}", began.elapsed());
        let trying = format!("no answer from {host} (connection refused), trying again\n");
        assert_eq!(run.stderr.matches(&trying).count(), 1, "{run}");
        assert_eq!(run.stderr.matches("no answer from").count(), 2, "the retry, and the error\n{run}");
        assert!(run.stderr.contains("this call changed nothing"), "{run}");
    }
}

/// As behind a proxy that reads TLS.
#[test]
fn the_certificates_of_a_bundle_are_trusted_and_no_others() {
    let Some(moto) = support::moto_or_skip() else { return };
    let Some(python) = support::python() else { return };
    let lab = Lab::new(moto);
    let front = TlsFront::start(&python, lab.account.endpoint());
    let path = lab.gangplank.write(&lab.bastion());
    let bundle = front.authority();
    let run = |bundle: Option<&str>| {
        let mut command = lab.gangplank.command(lab.account.endpoint());
        command.arg("plan").arg(&path).env("AWS_ENDPOINT_URL", front.endpoint());
        command.envs(bundle.map(|bundle| ("AWS_CA_BUNDLE", bundle)));
        program::run(&mut command, &Victim::default())
    };
    run(bundle.to_str()).expect(0);
    let without = run(None).expect(1);
    for text in ["its certificate is not trusted here", "AWS_CA_BUNDLE", "this call changed nothing"] {
        assert!(without.stderr.contains(text), "expected {text:?}\n{without}");
    }
    // The profile's, unless the environment names one.
    super::write(lab.gangplank.home(), ".aws/config", &format!("[default]\nca_bundle = {}\n", bundle.display()));
    run(None).expect(0);

    let (empty, garbage) = (lab.gangplank.home().join("empty.pem"), lab.gangplank.home().join("garbage.pem"));
    fs::write(&empty, "").expect("a writable folder");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n").expect("a writable folder");
    for (file, why) in [
        (empty.to_str(), "which holds no PEM certificate"),
        (garbage.to_str(), "whose certificates cannot be read"),
        (Some("/nowhere/ca.pem"), "which cannot be read"),
    ] {
        let refused = run(file).expect(1);
        let told = format!("AWS_CA_BUNDLE names {}, {why}", file.unwrap_or_default());
        assert!(refused.stderr.contains(&told) && !refused.stderr.contains("panicked"), "{refused}");
    }
}

/// Azure's client takes its certificates from where OpenSSL would.
#[test]
fn azures_certificates_are_named_by_ssl_cert_file() {
    let Some(python) = support::python() else { return support::skip("no Python with cryptography here") };
    let recorder = Recorder::start("{\"value\": []}");
    let front = TlsFront::start(&python, recorder.address);
    let desk = desk();
    let run = |bundle: Option<&str>| {
        let endpoint = front.endpoint();
        let mut environment = super::azure_cli::fake(&desk);
        environment.push(("AZURE_RESOURCE_MANAGER_ENDPOINT", endpoint.as_str()));
        environment.extend(bundle.map(|bundle| ("SSL_CERT_FILE", bundle)));
        program::run(&mut desk.gangplank(&["status", "azure.yaml"], &environment), &Victim::default())
    };
    let refused = run(None).expect(1);
    for text in ["its certificate is not trusted here", "SSL_CERT_FILE"] {
        assert!(refused.stderr.contains(text), "expected {text:?}\n{refused}");
    }
    assert_eq!(recorder.asked(), []);
    run(front.authority().to_str()).expect(0);
}
