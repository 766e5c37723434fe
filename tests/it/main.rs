mod execute;
mod plan;
