//! When to look again at who waits: the earliest instant at which time alone may let one go. Who then goes, `sweep`
//! says. Law: the keeper never sleeps beyond a lane's instant without being told.

use super::Pools;
use super::consequences::Consequences;
use super::sweep::Touch;
use crate::core::time::Timestamp;

impl Pools {
    /// When time alone could let a head go. [`Timestamp::MAX`]: never.
    pub(super) fn next_wake(&self) -> Timestamp {
        let wakes = self.queue.lanes().map(|(_, lane)| lane.wake);
        wakes.min().unwrap_or(Timestamp::MAX)
    }

    /// For the keeper: lets go what is due and returns when to call again; [`Timestamp::MAX`]: only when told so by
    /// [`Consequences::rearm`].
    pub fn arm(&mut self, now: Timestamp, consequences: &mut Consequences) -> Timestamp {
        self.wake(now, consequences);
        self.armed = self.next_wake();
        consequences.rearm = false;
        self.armed
    }

    /// Tells the keeper where it would sleep too long.
    pub(super) fn rearm(&mut self, consequences: &mut Consequences) {
        let next = self.next_wake();
        if next < self.armed {
            self.armed = next;
            consequences.rearm = true;
        }
    }

    /// Grants and refuses what is due by time. `false`: more is due than the consequences hold.
    pub fn wake(&mut self, now: Timestamp, consequences: &mut Consequences) -> bool {
        if self.queue.is_empty() {
            return true;
        }
        if self.next_wake() <= now {
            self.sweep(Touch::All, now, consequences);
        }
        self.next_wake() > now
    }
}
