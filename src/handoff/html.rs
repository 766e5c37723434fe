//! Page.
use super::HandOff;

pub fn html(_: &[HandOff]) -> Result<String, String> {
    Err("not yet".to_owned())
}
