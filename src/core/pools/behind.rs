//! Those behind a blocked head (SPEC 16.10): who of them is asked, and what those who were asked tell of the others. Who
//! of the others moves or is refused for it, `patience` says. Law: of those who are alike but for what they need, at
//! most one is asked and stays for each need.

use std::time::Duration;

use super::Pools;
use super::consequences::Consequences;
use super::decide::Wait;
use super::demand::Size;
use super::sweep::Asked;
use crate::core::choice::queue::{DEPTH, LaneId, Waiter};
use crate::core::choice::standing::EVENT;
use crate::core::time::Timestamp;

/// What those need of one lane who were found blocked, and what they wait for: whoever needs no less is blocked as
/// well, and no sooner ready.
#[derive(Debug)]
pub(super) struct Blocked {
    waits: [Option<((u64, u64), Wait)>; DEPTH + 1],
    len: usize,
    /// How long after its arrival one of the lane waits for nothing else; `None`: there is nothing else.
    patience: Option<Duration>,
}

impl Blocked {
    /// Nobody yet, of a lane whose waiters are so patient.
    pub(super) const fn new(patience: Option<Duration>) -> Self {
        Self {
            waits: [None; DEPTH + 1],
            len: 0,
            patience,
        }
    }

    pub(super) fn add(&mut self, size: &Size, wait: Wait) {
        if let Some(place) = self.waits.get_mut(self.len) {
            *place = Some((size.rough(), wait));
            self.len += 1;
        }
    }

    /// Whether asking would be in vain. Where there is something else to wait for, who needs more may do so earlier:
    /// then only those who need just as much are alike.
    pub(super) fn bars(&self, size: &Size) -> bool {
        let need = size.rough();
        let mut barring = self.barring(size);
        self.is_full() || barring.any(|(own, _)| self.patience.is_none() || *own == need)
    }

    /// Whether it bars everybody.
    pub(super) fn bars_all(&self) -> bool {
        self.is_full() || self.patience.is_none() && self.bars_less()
    }

    /// Whether nobody can need less.
    pub(super) fn bars_less(&self) -> bool {
        self.barring(&Size::default()).next().is_some()
    }

    /// Nothing more can be remembered: nobody else is asked.
    const fn is_full(&self) -> bool {
        self.len > DEPTH
    }

    /// What one waits for in vain, in whose time nobody of them is ready who needs no more than it does; and whether it
    /// needs just as much.
    pub(super) fn beyond(&self, waiter: &Waiter) -> Option<(&Wait, bool)> {
        let limit = self.limit(waiter.deadline, waiter.arrival);
        let mut beyond = self
            .barring(&waiter.size)
            .filter(|(_, wait)| limit < wait.earliest);
        beyond
            .next()
            .map(|(need, wait)| (wait, *need == waiter.size.rough()))
    }

    /// Until when one waits for what the lane waits for.
    pub(super) fn limit(&self, deadline: Timestamp, arrival: Timestamp) -> Timestamp {
        let patience = self.patience.map(|patience| arrival + patience);
        deadline.min(patience.unwrap_or(Timestamp::MAX))
    }

    /// The latest instant of all.
    pub(super) fn latest(&self) -> Timestamp {
        let waits = self.waits.iter().flatten();
        waits
            .map(|(_, wait)| wait.earliest)
            .max()
            .unwrap_or_default()
    }

    fn barring(&self, size: &Size) -> impl Iterator<Item = &((u64, u64), Wait)> {
        let (input, output) = size.rough();
        let waits = self.waits.iter().take(self.len).flatten();
        waits.filter(move |(own, _)| own.0 <= input && own.1 <= output)
    }
}

impl Pools {
    /// SPEC 16.10: those behind a blocked head may go where it does not claim the room. Who needs no less than one
    /// that was found blocked is blocked as well, unless that makes it wait for something else.
    pub(super) fn ask_behind(
        &mut self,
        lane: LaneId,
        blocked: &mut Blocked,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let mut unasked = false;
        while !blocked.bars_all() {
            let line = self.queue.line(lane, now);
            let mut fewer = false;
            for (rank, id) in line.behind() {
                if consequences.is_full() {
                    consequences.overflowed = true;
                    self.wake_lane(lane, now);
                    return;
                }
                let size = self.queue.waiter(id).map(|(own, _)| own.size);
                let Some(size) = size.filter(|size| !blocked.bars(size)) else {
                    continue;
                };
                match self.ask(id, Some(rank), now) {
                    Some(Asked::Goes(pick, via)) => {
                        if !self.grant(lane, id, (pick, via), now, consequences) {
                            self.wake_lane(lane, now + EVENT);
                            return;
                        }
                        fewer = true;
                    }
                    Some(Asked::Leaves(refused)) => {
                        self.refuse(id, refused, now, consequences);
                        fewer = true;
                    }
                    Some(Asked::Moves(wait)) => {
                        self.retarget(id, wait.target, wait.wake, now);
                        fewer = true;
                    }
                    Some(Asked::Stays(wait)) => {
                        blocked.add(&size, wait);
                        self.wake_lane(lane, wait.wake);
                    }
                    None => {}
                }
            }
            unasked = line.more;
            if !fewer || !unasked {
                break;
            }
        }
        if let Some(lane) = self.queue.lane_mut(lane) {
            lane.unasked = unasked && !blocked.bars_less();
        }
    }
}
