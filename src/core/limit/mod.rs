//! What limits us: what an answer means, what it bars and until when.

pub mod breaker;
pub mod ejection;
pub mod headroom;
pub mod ladder;
pub mod pacing;
pub mod reading;
pub mod retry;
pub mod rules;
pub mod scope;
pub mod verdict;
