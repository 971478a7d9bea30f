//! Who serves: what bars a subscription, which of the open ones is best, who waits and who is next, and where a
//! conversation went before.

pub mod chain;
pub mod fair;
pub mod globs;
pub mod queue;
pub mod select;
pub mod session;
pub mod standing;
pub mod strategy;
pub mod tried;
