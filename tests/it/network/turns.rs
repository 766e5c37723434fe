//! Several machines behind one address.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use super::{bastion::Machine, *};

/// Leads every connection to the next of these ports.
fn in_turn(ports: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (client, to) in listener.incoming().flatten().zip(ports.into_iter().cycle()) {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let ways = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
            for (mut from, mut to) in ways {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    port
}

#[test]
fn machines_that_take_turns_are_one_red_check() {
    let (Some(machine), Some(other)) = (Machine::new(), Machine::new()) else { return };
    let _running = (machine.start(), other.start());
    let (own, foreign) = (machine.plan.ssh.port, other.plan.ssh.port);
    for ports in [[own, foreign], [foreign, own]] {
        let reach = Reach { port: in_turn(ports), ..machine.reach() };
        let checks = run(&machine.plan, &reach);
        assert_eq!(red(&checks), ["network.host-key"], "{checks:#?}");
        let cause = cause(named(&checks, "network.host-key"));
        assert!(cause.contains("several machines answer at this address in turn"), "{cause}");
    }
}
