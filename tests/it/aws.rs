//! The pure core of AWS against an EC2 in memory: what it decides is carried out, interrupted and disturbed, and must converge.

mod cases;
mod converge;
mod drift;
mod ownership;
mod plans;
mod problems;
mod shows;
mod world;

pub use world::Chance;
