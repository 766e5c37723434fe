//! Whose subscription it is: its name and its tenant ("Subscriptions - Get", Azure Resource Manager's REST API, 2022-12-01). It needs
//! `Microsoft.Resources/subscriptions/read`, which Reader and Contributor have.

use serde_json::Value;

use super::{arm::Arm, request::Request, retry::Repeat};
use crate::{cloud_error::CloudError, location::CloudAccount, provider::Progress};

const VERSION: &str = "2022-12-01";

/// # Errors
/// Azure's refusal or silence.
pub async fn subscription(arm: &Arm, id: &str, progress: &Progress<'_>) -> Result<CloudAccount, CloudError> {
    let request = Request::get(format!("/subscriptions/{id}"), VERSION);
    let answer = arm.call(&request, Repeat::SAFE, progress).await?;
    let text = |field: &str| answer.body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    Ok(CloudAccount::Azure {
        subscription: id.to_owned(),
        // What has no name is still told to be there.
        name: Some(text("displayName").unwrap_or("unnamed").to_owned()),
        tenant: text("tenantId").map(str::to_owned),
    })
}
