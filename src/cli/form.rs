//! What the vendor's form asks for, filled in.

use std::fmt::Write;

use crate::{
    plan::{FormValue, Plan},
    provider::aws::status::Status,
};

/// Each tunnel's fields, for plans whose bastion has an address. The statuses are in the plans' order.
pub fn fields(plans: &[Plan], statuses: &[Status]) -> String {
    let mut out = String::new();
    for (plan, status) in plans.iter().zip(statuses) {
        let Some(address) = &status.address else { continue };
        for tunnel in &plan.tunnels {
            let form = tunnel.vendor.as_ref().and_then(|v| v.form.as_ref());
            let place = form.map_or_else(String::new, |form| format!("  {}", form.url));
            // Writing to a string cannot fail.
            let _ = writeln!(out, "\n{} tunnel {}{place}", plan.name, tunnel.user);
            let value = |value| match value {
                FormValue::User => tunnel.user.to_string(),
                FormValue::Host => address.clone(),
                FormValue::Port => status.port.to_string(),
            };
            let usual = [("User", FormValue::User), ("Host", FormValue::Host), ("Port", FormValue::Port)];
            let fields: Vec<(&str, FormValue)> = match form {
                Some(form) => form.fields.iter().map(|f| (f.label.as_str(), f.value)).collect(),
                None => usual.to_vec(),
            };
            for (label, what) in fields {
                let _ = writeln!(out, "  {label:<14} {}", value(what));
            }
            if tunnel.keys.is_empty() {
                let _ = writeln!(
                    out,
                    "  Next: fill in the form, put the public key that it shows under `keys` of this tunnel, and apply again."
                );
            }
        }
    }
    out
}
