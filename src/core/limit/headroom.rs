//! What a provider last said is left of one dimension.

use std::borrow::Cow;
use std::time::Duration;

/// One reading: limit, remaining and reset of one dimension (corpus, Headroom).
#[derive(Clone, Debug, PartialEq)]
pub struct Headroom {
    /// The header's own word in snake case: `requests`, `input_tokens`, `unified_5h`.
    pub dimension: Cow<'static, str>,
    /// The stated limit; finite and not negative. `None`: a remaining without a limit.
    pub limit: Option<f64>,
    /// What is left; finite and not negative. Utilisation headers read as limit 1 and 1 less the utilisation.
    pub remaining: f64,
    /// Until the reset; zero where it is past; `None` where it is not stated or unreadable.
    pub reset: Option<Duration>,
}
