//! The client over the world without a network: time stands still but for the client's own pauses, which are free.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gangplank::{
    provider::azure::arm::Arm,
    sandbox::{
        arm::client::client,
        http::{Ask, Reply, Serve, Served},
    },
};

use super::{fault, world::World};

const ENDPOINT: &str = "https://management.azure.com";

#[derive(Clone, Default)]
pub struct Direct(Arc<Mutex<World>>);

impl Direct {
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if towards the public cloud, without a token.
    pub fn arm(&self) -> Arm {
        Arm::new(ENDPOINT.parse().expect("an address"), client(Arc::new(self.clone())), None)
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

impl Serve for Direct {
    fn serve(&self, ask: Ask) -> Served {
        match self.world().serve(&ask) {
            fault::Served::Reply(reply) => Served::Reply(reply),
            fault::Served::Garbage => Served::Reply(Reply::text(200, "<html>hello</html>".to_owned())),
            fault::Served::Lost | fault::Served::Kill => Served::Lost,
        }
    }
}
