//! The pure core of Azure against an Azure Resource Manager in memory: what it decides is carried out, interrupted and disturbed,
//! and must converge.

mod auto_shutdown;
mod cases;
mod converge;
mod drift;
mod json;
pub mod plans;
mod problems;
mod shows;
#[cfg(feature = "azure")]
mod typed;
mod verdicts;
mod ways;
mod world;
