//! The hand-off for programs.

use serde::Serialize;

use super::HandOff;

/// Raised when a field goes away or changes its meaning; new fields may come without it.
const FORMAT_VERSION: u32 = 1;

/// One JSON document, ending in a newline:
///
/// - `format_version`: 1
/// - `bastions[]`: `bastion`, `location` and whose (`region`, `account`, `sandbox`), `plan` (the file), `made`, `address` (null: none yet), `port`, and
///   - `ends`: `kind` (`never`; `after-creation` with `seconds`; `at` with `time` and `seconds_left`)
///   - `next[]`: what to do, in order: `kind` (`destroy`, `apply`, `repair`, `verify`, `add-key`, `test`, `renew`), `text`, and
///     where there is one `tunnel`, `url`, `command`
///   - `path`: `edge_is`, and `edge` and `bastion`: the worst verdict of their checks (`pass`, `unknown`, `fail`)
///   - `tunnels[]`: `user`, `vendor`, `form`, `documentation`, `fields[]` (`label`, `value`), `sources[]` (`network`, `why`),
///     `targets[]` (`name`, `host`, `port`, `speaks`, `light`), `keys[]` (`algorithm`, `fingerprint`, `comment`)
///   - `host_keys[]`: `algorithm`, `fingerprint`, `known_hosts` (a line)
///   - `operators[]`, and `by_hand` (null: no address, or no operator): `operator`, `ssh_config`, `known_hosts_file`, `open`,
///     `trials[]` (`target`, `local_port`, `command`)
///   - `notes[]`: sentences
///   - `verification` (null: none was made): as `verify --output json` has it for one bastion
pub fn json(handoffs: &[HandOff]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        format_version: u32,
        bastions: &'a [HandOff],
    }
    let document = Document { format_version: FORMAT_VERSION, bastions: handoffs };
    // Cannot fail: every map key is a string and nothing refuses to be serialised.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
