//! Whose account the credentials are for. STS tells it, and needs no permission for that: "No permissions are required to perform this
//! operation" (GetCallerIdentity, AWS Security Token Service API Reference).

use super::{api::Ec2, retry::Repeat};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    location::AccountId,
    provider::Progress,
};

/// As whom AWS is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    pub account: AccountId,
    /// `arn:aws:sts::111122223333:assumed-role/deploy/ana`
    pub arn: String,
}

/// # Errors
/// STS's refusal or silence.
pub async fn caller(ec2: &Ec2, progress: &Progress<'_>) -> Result<CallerIdentity, CloudError> {
    let send = || ec2.sts.get_caller_identity().send();
    let answer = ec2.call("GetCallerIdentity", Repeat::SAFE, progress, send).await?;
    let account = answer.account().and_then(AccountId::new).ok_or_else(unreadable)?;
    Ok(CallerIdentity { account, arn: answer.arn().unwrap_or_default().to_owned() })
}

fn unreadable() -> CloudError {
    CloudError {
        operation: "GetCallerIdentity".to_owned(),
        kind: ErrorKind::Unreachable,
        code: None,
        request_id: None,
        message: "STS names no account".to_owned(),
        residue: Residue::Nothing,
        remedy: Some("check AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_STS: what answers there is not AWS".to_owned()),
    }
}
