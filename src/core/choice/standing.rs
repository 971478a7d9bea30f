//! What bars one subscription for one request, summed over everything that could: the instant it ends, who says so,
//! and when to look again. Law (C6): of all that bars, the latest instant counts.

use std::time::Duration;

use crate::core::time::Timestamp;

/// What ends by an event stands for so much later (C6).
pub const EVENT: Duration = Duration::from_secs(1);

/// Whose bar it is: it sets the code of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A cooldown, an in-flight cap, or the probe of a cooldown.
    Limit,
    /// An ejection, or its probe.
    Ejection,
    /// The probe of a credential's re-check.
    Recheck,
}

/// Why a subscription has no instant at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Its credential is refused for this limit group alone (D7).
    Model,
    /// Quarantined or disabled.
    Other,
    /// It is no candidate for this request: removed, its models do not fit, or an attempt of this request spoke
    /// against it.
    NoCandidate,
}

/// The sum. Starts open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// When all that bars has ended; what ends by an event stands for the instant given for events.
    pub until: Timestamp,
    /// When time alone may have opened it; [`Timestamp::MAX`]: only an event can.
    pub wake: Timestamp,
    /// Whose bar `until` is.
    pub cause: Cause,
    /// Whether the request that takes it is a probe.
    pub probe: bool,
    /// The share of its scarcest limit that would be left (C2).
    pub share: f64,
    /// Beyond what its limits are known to let go (SPEC 16.12).
    pub beyond: bool,
    /// Set: it has no instant.
    pub absence: Option<Absence>,
    barred: bool,
}

impl Standing {
    /// Nothing bars it so far.
    pub const OPEN: Self = Self {
        until: Timestamp::ZERO,
        wake: Timestamp::ZERO,
        cause: Cause::Limit,
        probe: false,
        share: 0.5,
        beyond: false,
        absence: None,
        barred: false,
    };

    /// No instant, for this reason.
    pub const fn absent(absence: Absence) -> Self {
        Self {
            absence: Some(absence),
            wake: Timestamp::MAX,
            ..Self::OPEN
        }
    }

    /// Whether a request may take it now.
    pub const fn is_open(&self) -> bool {
        !self.barred && self.absence.is_none()
    }

    /// Barred until an instant.
    pub fn bar(&mut self, until: Timestamp, cause: Cause) {
        self.event(until, until, cause);
    }

    /// Barred until an event, which stands for an instant. `wake`: when time alone ends it;
    /// [`Timestamp::MAX`]: never.
    pub fn event(&mut self, stands_for: Timestamp, wake: Timestamp, cause: Cause) {
        if !self.barred || self.until < stands_for {
            self.until = stands_for;
            self.cause = cause;
        }
        self.barred = true;
        self.wake = self.wake.max(wake);
    }

    /// No instant that a request could be told or wait for; who waits anyway looks again at `wake`. The model's own
    /// bar gives way to any other reason.
    pub fn remove(&mut self, absence: Absence, wake: Timestamp) {
        if matches!(self.absence, None | Some(Absence::Model)) {
            self.absence = Some(absence);
        }
        self.wake = self.wake.max(wake);
    }
}
