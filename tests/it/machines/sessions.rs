//! How many sessions one connection really gets: OpenSSH's client ends a session as soon as there is no shell.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use russh::{
    client::{self, Config},
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use tokio::net::TcpSocket;

use super::{Identity, Lab};

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Opens sessions until one is refused, or there are so many.
pub fn at_once(lab: &Lab, from: Ipv4Addr, identity: &Identity, user: &str, most: usize) -> usize {
    let to = (lab.edge.public, lab.port).into();
    lab.internet.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind((from, 0).into()).expect("an address of this namespace");
            let stream = socket.connect(to).await.expect("the bastion");
            let mut session = client::connect_stream(Arc::new(Config::default()), stream, Trusting).await.expect("SSH");
            let key = PrivateKeyWithHashAlg::new(Arc::new(private(&identity.private)), None);
            assert!(session.authenticate_publickey(user, key).await.expect("an answer").success());
            let mut open = Vec::new();
            while open.len() < most {
                match session.channel_open_session().await {
                    Ok(channel) => open.push(channel),
                    Err(_) => break,
                }
            }
            open.len()
        })
    })
}

fn private(path: &Path) -> russh::keys::PrivateKey {
    load_secret_key(path, None).expect("made by ssh-keygen")
}
