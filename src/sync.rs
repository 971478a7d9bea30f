//! What threads of the balancer meet at. The one place that says whose locks, channels and wake-ups these are: the
//! model checker (`tests/model`) builds the balancer upon its own module of this name, where a scheduler decides at
//! each of them who goes next.

pub use std::sync::{Mutex, MutexGuard};
pub use tokio::sync::{Notify, oneshot};
