//! What a request cost.

pub mod usage;
