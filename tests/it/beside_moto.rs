//! The sandbox's EC2, asked by boto3: side by side with moto, and alone where moto is not what EC2 is.

mod truth;
