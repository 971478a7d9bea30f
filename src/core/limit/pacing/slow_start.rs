//! One request first, one more for each that is answered (C4, SPEC 16.8): for those of whom nothing is known, and after
//! a probe. A request that is unanswered for long counts as answered: limiters refuse at once, models are slow (D5).

use std::time::Duration;

use crate::core::time::Timestamp;

/// So many at once are no longer slow.
const FAST: usize = 16;

/// How many may be unanswered at once.
#[derive(Clone, Copy, Debug)]
pub struct SlowStart {
    /// Who is unanswered for so long counts as answered.
    patience: Duration,
    allowed: u8,
    /// When the unanswered were sent, the oldest first.
    sent: [Timestamp; FAST],
    len: u8,
}

impl SlowStart {
    /// One.
    pub const fn new(patience: Duration) -> Self {
        Self {
            patience,
            allowed: 1,
            sent: [Timestamp::ZERO; FAST],
            len: 0,
        }
    }

    /// `None`: one more may go. Else when time alone lets one go.
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let sent = self.sent.get(..usize::from(self.len)).unwrap_or_default();
        let old = sent.iter().filter(|sent| self.is_old(**sent, now)).count();
        // Each that is old has left, and lets one more go.
        let allowed = usize::from(self.allowed) + old;
        if sent.len() - old < allowed {
            return None;
        }
        sent.get(old).map(|sent| *sent + self.patience)
    }

    /// One is sent.
    pub fn take(&mut self, now: Timestamp) {
        let sent = self.sent.get(..usize::from(self.len)).unwrap_or_default();
        let old = sent.iter().filter(|sent| self.is_old(**sent, now)).count();
        for _ in 0..old {
            self.remove(0);
            self.grow();
        }
        if let Some(place) = self.sent.get_mut(usize::from(self.len)) {
            *place = now;
            self.len += 1;
        }
    }

    /// One that was sent at the instant was answered without a refusal.
    pub fn answered(&mut self, sent: Timestamp) {
        if self.forget(sent) {
            self.grow();
        }
    }

    /// One that was sent at the instant will not be answered. `false`: it counts no longer.
    pub fn forget(&mut self, sent: Timestamp) -> bool {
        let known = self.sent.get(..usize::from(self.len)).unwrap_or_default();
        let place = known.iter().position(|known| *known == sent);
        if let Some(place) = place {
            self.remove(place);
        }
        place.is_some()
    }

    /// Whether it holds nobody back any more.
    pub fn is_over(&self) -> bool {
        usize::from(self.allowed) >= FAST
    }

    /// Whether fewer are wanted than allowed.
    pub fn is_idle(&self) -> bool {
        self.len < self.allowed / 2
    }

    fn is_old(&self, sent: Timestamp, now: Timestamp) -> bool {
        sent + self.patience <= now
    }

    fn grow(&mut self) {
        self.allowed = self.allowed.saturating_add(1);
    }

    fn remove(&mut self, place: usize) {
        let len = usize::from(self.len);
        if place < len {
            self.sent.copy_within(place + 1..len, place);
            self.len -= 1;
        }
    }
}
