//! The commands, one file each.

pub mod check;
pub mod classify;
pub mod demo;
pub mod provider;
pub mod serve;
