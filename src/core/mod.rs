//! The decisions. No I/O, clock, async, lock, log or global in here: time is a [`time::Timestamp`], randomness a
//! `u64`, consequences are values handed back.

pub mod choice;
pub mod dialect;
pub mod event;
pub mod glob;
pub mod id;
pub mod ledger;
pub mod limit;
pub mod pools;
pub mod sse;
pub mod time;
