//! `--sandbox`, and `gangplank sandbox`: the embedded cloud in a folder.

use std::{io, path::Path};

use jiff::SignedDuration;

use crate::{
    cli::{
        args::{SANDBOX, SandboxVerb},
        exit::{Error, Exit, print},
        interruption::{Interruption, Phase},
    },
    sandbox::{
        cloud::{Sandbox, State},
        listen,
        store::Folder,
    },
};

/// Opens the sandbox in a folder; a new one is a company's that has a network, a database, and no bastion.
pub fn open(folder: &Path) -> Result<Sandbox, Error> {
    Sandbox::open(folder, State::company).map_err(Error::Sandbox)
}

pub async fn run(verb: &SandboxVerb, folder: Option<&Path>, interruption: &Interruption) -> Result<Exit, Error> {
    let folder = folder.unwrap_or(Path::new(SANDBOX));
    match verb {
        SandboxVerb::Reset => reset(folder)?,
        SandboxVerb::Advance { by } => advance(folder, *by)?,
        SandboxVerb::Listen { port } => {
            listen(open(folder)?, *port, interruption).await?;
            interruption.tell();
            return Ok(Exit::Interrupted);
        }
    }
    Ok(Exit::Done)
}

fn reset(folder: &Path) -> Result<(), Error> {
    Folder::reset(folder).map_err(Error::Sandbox)?;
    print(&format!("The sandbox in {} is forgotten; the next command begins a new one.\n", folder.display()))
}

fn advance(folder: &Path, by: SignedDuration) -> Result<(), Error> {
    Folder::exists(folder).map_err(Error::Sandbox)?;
    let sandbox = open(folder)?;
    sandbox.advance(by).map_err(|error| unwritten(folder, error))?;
    print(&format!("It is {} in the sandbox.\n", sandbox.now()))
}

async fn listen(sandbox: Sandbox, port: u16, interruption: &Interruption) -> Result<(), Error> {
    let listener = listen::bind(port).await.map_err(|error| {
        Error::Io(format!("listening on port {port} of 127.0.0.1 (--port 0 takes a free one)"), error)
    })?;
    let here = listener.local_addr().map_err(|error| Error::Io("listening".to_owned(), error))?;
    print(&format!(
        "AWS_ENDPOINT_URL=http://{here}\nAZURE_RESOURCE_MANAGER_ENDPOINT=http://{here}\n\
         Any credentials do. SSH of each bastion follows when it is up; Ctrl-C ends it.\n"
    ))?;
    // Somebody may have closed the pipe; the sandbox goes on.
    let opened = |vm: &str, to, here| _ = print(&format!("ssh {vm}: {to} answers on {here}\n"));
    let serving = listen::serve(sandbox.clone(), listener, here, opened);
    interruption.enter(Phase::Serving);
    tokio::select! {
        () = serving => {}
        () = interruption.stop().requested() => {}
    }
    sandbox.keep().map_err(|error| Error::Io("keeping the sandbox".to_owned(), error))
}

fn unwritten(folder: &Path, error: io::Error) -> Error {
    Error::Io(format!("keeping the sandbox in {}", folder.display()), error)
}
