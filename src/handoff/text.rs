//! The hand-off on a terminal: whole, and as the short form that `apply` ends with.

use std::fmt::{Result, Write};

use super::{ByHand, HandOff, Kind, Light, Tunnel};
use crate::{
    style::{Palette, clean},
    verify::summary::summary,
};

/// The width of the labels.
const LABEL: usize = 16;

/// How the host key becomes known; until then there is nothing to compare with.
pub(super) const NO_HOST_KEY: &str = "not known yet: the machine writes it to its console at the end of its boot, and the \
                                      hand-off has it from there a few minutes later; trust no key before";
pub(super) const NO_KEYS: &str = "none yet: it admits nobody";
pub(super) const NO_ADDRESS: &str = "not known yet: apply the plan";

/// Everything, ending in a newline.
pub fn text(handoffs: &[HandOff], palette: &Palette) -> String {
    let mut out = String::new();
    for (i, handoff) in handoffs.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = if i > 0 { writeln!(out) } else { Ok(()) };
        let _ = write_all(&mut out, handoff, palette);
    }
    out
}

/// Each tunnel's form filled in, for bastions that have an address, and the one thing to do where a key is missing.
pub fn fields(handoffs: &[HandOff]) -> String {
    let mut out = String::new();
    for handoff in handoffs.iter().filter(|handoff| handoff.address.is_some()) {
        for tunnel in &handoff.tunnels {
            let place = tunnel.form.as_ref().map_or_else(String::new, |url| format!("  {}", clean(url)));
            let _ = writeln!(out, "\n{} tunnel {}{place}", clean(&handoff.bastion), clean(&tunnel.user));
            let _ = write_fields(&mut out, tunnel);
            let missing = |next: &&super::Next| next.kind == Kind::AddKey && next.tunnel.as_ref() == Some(&tunnel.user);
            if let Some(next) = handoff.next.iter().find(missing) {
                let _ = writeln!(out, "  Next: {}", clean(&next.text));
            }
        }
    }
    out
}

fn write_fields(out: &mut String, tunnel: &Tunnel) -> Result {
    for field in &tunnel.fields {
        let value = field.value.as_deref().unwrap_or(NO_ADDRESS);
        writeln!(out, "  {:<LABEL$} {}", clean(&field.label), clean(value))?;
    }
    Ok(())
}

fn write_all(out: &mut String, of: &HandOff, palette: &Palette) -> Result {
    let Palette { heading, faint, create, warning, .. } = palette;
    let location = of.location.to_string();
    let (bastion, location, plan) = (clean(&of.bastion), clean(&location), clean(&of.plan));
    writeln!(out, "{heading}{bastion}{heading:#}  {location}  {faint}{plan}{faint:#}\n")?;
    match &of.address {
        Some(address) => writeln!(out, "  {:<LABEL$} {} port {}", "address", clean(address), of.port)?,
        None => writeln!(out, "  {:<LABEL$} {NO_ADDRESS}", "address")?,
    }
    writeln!(out, "  {:<LABEL$} {}", "ends", of.ending())?;
    match &of.verification {
        Some(verification) => {
            let color = if verification.failed() == 0 && verification.unknown() == 0 { create } else { warning };
            writeln!(out, "  {:<LABEL$} {color}{}{color:#}", "checks", summary(verification))?;
        }
        None => writeln!(out, "  {:<LABEL$} nothing was checked", "checks")?,
    }
    for note in &of.notes {
        writeln!(out, "  {:<LABEL$} {}", "note", clean(note))?;
    }

    writeln!(out, "\n{heading}Next{heading:#}")?;
    for (i, next) in of.next.iter().enumerate() {
        writeln!(out, "  {}. {}", i + 1, clean(&next.text))?;
        for line in [&next.url, &next.command].into_iter().flatten() {
            writeln!(out, "       {}", clean(line))?;
        }
    }

    for tunnel in &of.tunnels {
        write_tunnel(out, tunnel, palette)?;
    }

    writeln!(out, "\n{heading}Host key{heading:#}, as known_hosts has it")?;
    if of.host_keys.is_empty() {
        writeln!(out, "  {NO_HOST_KEY}")?;
    }
    for key in &of.host_keys {
        writeln!(out, "  {}", clean(&key.known_hosts.clone().unwrap_or_else(|| key.algorithm.clone())))?;
        writeln!(out, "    {faint}{}{faint:#}", key.fingerprint)?;
    }
    match &of.by_hand {
        Some(by_hand) => write_by_hand(out, by_hand, &of.operators, palette),
        None if of.operators.is_empty() => {
            writeln!(out, "\n{heading}Try it by hand{heading:#}\n  nobody can: the plan lists no operator")
        }
        None => Ok(()),
    }
}

fn write_tunnel(out: &mut String, tunnel: &Tunnel, palette: &Palette) -> Result {
    let Palette { heading, faint, create, update, delete, warning, .. } = palette;
    let vendor = tunnel.vendor.as_ref().map_or_else(String::new, |vendor| format!("  {}", clean(vendor)));
    writeln!(out, "\n{heading}Tunnel {}{heading:#}{vendor}", clean(&tunnel.user))?;
    write_fields(out, tunnel)?;
    if let Some(form) = &tunnel.form {
        writeln!(out, "  {:<LABEL$} {}", "the form", clean(form))?;
    }
    if let Some(documentation) = &tunnel.documentation {
        writeln!(out, "  {:<LABEL$} {}", "documentation", clean(documentation))?;
    }
    let mut label = "admits";
    for source in &tunnel.sources {
        writeln!(out, "  {label:<LABEL$} {}  {faint}{}{faint:#}", clean(&source.network), clean(&source.why))?;
        label = "";
    }
    label = "keys";
    if tunnel.keys.is_empty() {
        writeln!(out, "  {label:<LABEL$} {warning}{NO_KEYS}{warning:#}")?;
    }
    for key in &tunnel.keys {
        let (algorithm, comment) = (clean(&key.algorithm), clean(&key.comment));
        let line = format!("{algorithm} {}  {faint}{comment}{faint:#}", clean(&key.fingerprint));
        writeln!(out, "  {label:<LABEL$} {}", line.trim_end())?;
        label = "";
    }
    writeln!(out, "  In the data source's own form, exactly so:")?;
    let width = tunnel.targets.iter().map(|target| clean(&target.name).chars().count()).max().unwrap_or(0);
    for target in &tunnel.targets {
        let color = match target.light {
            Light::Pass => create,
            Light::Unknown => update,
            Light::Fail => delete,
        };
        let (name, host, light) = (clean(&target.name), clean(&target.host), target.light);
        let sign = light.sign();
        writeln!(
            out,
            "    {color}{sign}{color:#} {name:<width$}  host {host}  port {}  {faint}{}, {}{faint:#}",
            target.port,
            target.speaks,
            light.word()
        )?;
    }
    Ok(())
}

fn write_by_hand(out: &mut String, by_hand: &ByHand, operators: &[String], palette: &Palette) -> Result {
    let Palette { heading, faint, .. } = palette;
    writeln!(out, "\n{heading}Try it by hand{heading:#} as {}, with this in ~/.ssh/config", clean(&by_hand.operator))?;
    for line in by_hand.ssh_config.lines() {
        writeln!(out, "  {}", clean(line))?;
    }
    writeln!(out, "  {faint}the host key's lines belong in {}{faint:#}", by_hand.known_hosts_file)?;
    let others: Vec<_> = operators.iter().filter(|name| **name != by_hand.operator).map(|name| clean(name)).collect();
    if !others.is_empty() {
        writeln!(out, "  {faint}with another User and IdentityFile also for {}{faint:#}", others.join(", "))?;
    }
    writeln!(out, "\n  {}", by_hand.open)?;
    let width = by_hand.trials.iter().map(|trial| trial.command.chars().count()).max().unwrap_or(0);
    for trial in &by_hand.trials {
        writeln!(out, "  {:<width$}  {faint}{}{faint:#}", trial.command, clean(&trial.target))?;
    }
    Ok(())
}
