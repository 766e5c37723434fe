//! The sandbox's EC2, asked by boto3: side by side with moto. Where the two differ is told in `play.rs`, with the reason.

mod play;
mod random;
mod truth;
