//! How the machine finds the database's address.

use std::net::Ipv4Addr;

use super::*;
use crate::machines::lab::DATABASE_NAME;

const RESOLVER_AGAIN: Change = Script("again resolv.conf");
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 99);

pub const FAULTS: &[Fault] = &[
    fault(
        "the database's name is not known",
        Around(|lab| lab.dns.forget(DATABASE_NAME)),
        Around(|lab| lab.dns.set(DATABASE_NAME, DATABASE)),
        Named(&["machine.target-dns[warehouse]"], "does not find warehouse.internal"),
    ),
    fault(
        "the database's name leads to an address without a database",
        Around(|lab| lab.dns.set(DATABASE_NAME, NOWHERE)),
        Around(|lab| lab.dns.set(DATABASE_NAME, DATABASE)),
        Named(&["machine.target[warehouse]"], "warehouse.internal:5432 does not answer: a security"),
    ),
    fault(
        "/etc/hosts has an old address of the database",
        Script("echo '10.0.2.99 warehouse.internal' >>/etc/hosts"),
        Script("again hosts"),
        Named(&["machine.target[warehouse]"], "warehouse.internal:5432 does not answer: a security"),
    ),
    fault(
        "the resolver is dead",
        Script("echo nameserver 10.0.2.99 >/etc/resolv.conf"),
        RESOLVER_AGAIN,
        Named(&["machine.target-dns[warehouse]"], "the machine's resolver does not find"),
    ),
    fault(
        "the first of two resolvers is dead",
        Script("printf 'nameserver 10.0.2.99\\nnameserver 10.0.1.1\\n' >/etc/resolv.conf"),
        RESOLVER_AGAIN,
        Named(&["network.forward[warehouse]"], "packets from the bastion to warehouse.internal port"),
    ),
    fault(
        "resolv.conf can be read by root only",
        Script("chmod 600 /etc/resolv.conf"),
        Script("chmod 644 /etc/resolv.conf"),
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "names are looked up in no resolver",
        Script("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf"),
        Script("again nsswitch.conf"),
        Named(&["machine.target-dns[warehouse]"], "the machine's resolver does not find"),
    ),
    fault(
        "the first of two addresses of the database is dead",
        Script("printf '10.0.2.99 warehouse.internal\\n10.0.2.5 warehouse.internal\\n' >>/etc/hosts"),
        Script("again hosts"),
        Named(&["machine.target[warehouse]"], "warehouse.internal:5432 does not answer: a security"),
    ),
];
