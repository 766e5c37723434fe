//! A line of the log for each request to AWS: see `cli::log`.

use std::time::Instant;

use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents, interceptors};
use aws_smithy_runtime_api::{box_error::BoxError, client::orchestrator::Metadata};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

#[derive(Debug)]
pub struct CallLog;

#[derive(Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for CallLog {
    fn name(&self) -> &'static str {
        "CallLog"
    }

    fn read_before_transmit(
        &self,
        _: &interceptors::BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &interceptors::FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(call) = config.load::<Metadata>() else { return Ok(()) };
        let (service, operation) = (call.service(), call.name());
        let ms = config.load::<Sent>().map_or(0, |sent| sent.0.elapsed().as_millis());
        match context.response() {
            Some(response) => {
                let request_id = response.headers().get("x-amzn-requestid").unwrap_or("none");
                tracing::info!(service, operation, status = response.status().as_u16(), ms, request_id, "call");
            }
            None => tracing::info!(service, operation, ms, "call without an answer"),
        }
        Ok(())
    }
}
