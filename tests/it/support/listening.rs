//! The sandbox's EC2 on loopback, as other programs reach a sandbox that listens.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use gangplank::sandbox::{
    call::{Call, Fate, Fates},
    cloud::{Sandbox, State},
    ec2::World,
    listen,
};
use jiff::Timestamp;
use tokio::sync::oneshot;

/// Ends with this.
pub struct Listening {
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

/// Nothing happens to calls but their answers.
struct Fair;

impl Fates for Fair {
    fn of(&mut self, _: &Call, _: &mut State) -> Fate {
        Fate::Answered
    }

    fn after(&mut self, _: &Call, _: &State) {}
}

impl Listening {
    /// A world whose machines do not boot: they are moto's neither.
    pub fn start(world: World) -> Self {
        let (told, address) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut state = State::company();
                state.ec2 = world;
                let sandbox = Sandbox::at_the_mercy_of(Box::new(Fair), state, Timestamp::now());
                let listener = listen::bind(0).await.expect("a free loopback port");
                let here = listener.local_addr().expect("bound");
                told.send(here).expect("whoever started this waits");
                tokio::select! {
                    () = listen::serve(sandbox, listener, here, |_, _, _| {}) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address: address.recv().expect("it listens"), end: Some(end), serving: Some(serving) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}
