//! What limits us: what an answer means, what it bars and until when.

pub mod headroom;
pub mod scope;
pub mod verdict;
