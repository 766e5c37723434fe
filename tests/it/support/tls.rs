//! TLS with a private certificate authority in front of a plain server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::moto::Python;

/// Ends with this.
pub struct TlsFront {
    port: u16,
    folder: TempDir,
    _process: Python,
}

impl TlsFront {
    pub fn start(python: &Path, upstream: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = upstream.port().to_string();
        let process = Python::start_with(python, "tls_front.py", &[port.as_ref(), folder.path().as_os_str()]);
        Self { port: process.line().parse().expect("tls_front.py prints its port"), folder, _process: process }
    }

    /// `https://localhost:PORT`
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The certificate of the authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
