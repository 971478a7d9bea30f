//! The bars of one holder (a subscription, a quota domain, a provider): cooldowns (D4), quarantine and D7's
//! per-model bar, each with its episodes, its guesses and its probe (D5). Whose bar a verdict is, `pools` decides.
//! Law: whether a bar stands is computed from its facts and `now`; nothing latches and no timer clears it.

use std::time::Duration;

use super::ladder::{Ladder, jittered};
use crate::core::choice::select::{EVERYBODY, mark};
use crate::core::choice::standing::{Absence, Cause, Standing};
use crate::core::id::LimitGroup;
use crate::core::time::Timestamp;

/// Stated waits are kept, up to here (D4).
pub const LONGEST_STATED: Duration = Duration::from_secs(35 * 86_400);
/// A cooldown of so much ends with a probe, like a guess (D5).
const PROBED_FROM: Duration = Duration::from_secs(60);
/// A probe unanswered for so long has passed: limiters refuse at once, models are slow (D5).
pub const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// What set a bar; each kind climbs a ladder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `rate_limited`.
    RateLimited,
    /// `quota_exhausted`.
    QuotaExhausted,
    /// `credential_invalid`: quarantine, or one limit group barred (D7).
    Credential,
}

/// One attempt, as bars see it: the order of takings and observations tells older attempts from newer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its place in the order. From 1.
    pub sequence: u64,
    /// When it was granted.
    pub began: Timestamp,
}

/// A verdict that bars.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Whose verdict.
    pub attempt: Attempt,
    /// The observation's place in the order.
    pub sequence: u64,
    /// When it was observed.
    pub now: Timestamp,
    /// What the answer stated; zero counts as not stated (D4).
    pub wait: Option<Duration>,
    /// For the jitter of a guess.
    pub entropy: u64,
}

/// A bar was set or lengthened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// When it ends.
    pub until: Timestamp,
    /// Whether the answer named the wait.
    pub stated: bool,
    /// Worth telling: a new episode, or a second and more longer than it was.
    pub news: bool,
}

/// What a bar is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Standing,
    /// Over; the next request is its probe.
    Due,
    /// A probe is out, and counts as passed at the instant.
    Probing {
        passes: Timestamp,
    },
    Passed,
}

#[derive(Clone, Debug)]
struct Bar {
    kind: Kind,
    group: Option<LimitGroup>,
    until: Timestamp,
    /// When the present cooldown was first observed.
    observed: Timestamp,
    /// The observation that began the present episode.
    sequence: u64,
    step: u8,
    needs_probe: bool,
    probe: Option<Attempt>,
}

impl Bar {
    fn new(kind: Kind, group: Option<&LimitGroup>) -> Self {
        Self {
            kind,
            group: group.cloned(),
            until: Timestamp::ZERO,
            observed: Timestamp::ZERO,
            sequence: 0,
            step: 0,
            needs_probe: false,
            probe: None,
        }
    }

    fn phase(&self, now: Timestamp) -> Phase {
        if now < self.until {
            return Phase::Standing;
        }
        match self.probe {
            _ if !self.needs_probe => Phase::Passed,
            None => Phase::Due,
            Some(probe) => match probe.began + PROBE_PATIENCE {
                passes if passes <= now => Phase::Passed,
                passes => Phase::Probing { passes },
            },
        }
    }

    fn concerns(&self, group: &LimitGroup) -> bool {
        self.group.as_ref().is_none_or(|own| own == group)
    }

    fn refuse(&mut self, refusal: &Refusal) -> Option<Raised> {
        let same_episode = refusal.attempt.sequence <= self.sequence;
        let stated = refusal
            .wait
            .filter(|wait| !wait.is_zero() && self.kind != Kind::Credential);
        let until = match stated {
            Some(wait) => refusal.now + wait.min(LONGEST_STATED),
            None if same_episode => return None,
            None => refusal.now + self.guess(refusal.entropy),
        };
        if same_episode && until <= self.until {
            return None;
        }
        let news = !same_episode || until.since(self.until) >= Duration::from_secs(1);
        if !same_episode || self.until <= refusal.now {
            self.observed = refusal.now;
        }
        if !same_episode {
            self.sequence = refusal.sequence;
        }
        self.until = self.until.max(until);
        self.probe = None;
        self.needs_probe = stated.is_none() || self.until.since(self.observed) >= PROBED_FROM;
        Some(Raised {
            until: self.until,
            stated: stated.is_some(),
            news,
        })
    }

    /// One step further.
    fn guess(&mut self, entropy: u64) -> Duration {
        self.step = self.step.saturating_add(1);
        match (self.kind, &self.group) {
            (Kind::RateLimited, _) => jittered(Ladder::RATE_LIMITED.rung(self.step), entropy),
            (Kind::QuotaExhausted, _) => jittered(Ladder::QUOTA_EXHAUSTED.rung(self.step), entropy),
            (Kind::Credential, None) => Ladder::QUARANTINE.rung(self.step),
            (Kind::Credential, Some(_)) => Ladder::MODEL.rung(self.step),
        }
    }

    fn weigh(&self, now: Timestamp, event: Timestamp, standing: &mut Standing) {
        let cause = match self.kind {
            Kind::Credential => Cause::Recheck,
            Kind::RateLimited | Kind::QuotaExhausted => Cause::Limit,
        };
        match self.phase(now) {
            Phase::Standing if self.kind != Kind::Credential => standing.bar(self.until, cause),
            Phase::Standing if self.group.is_some() => standing.remove(Absence::Model, self.until),
            Phase::Standing => standing.remove(Absence::Other, self.until),
            Phase::Due => standing.probe = true,
            Phase::Probing { passes } => standing.event(event, passes, cause),
            Phase::Passed => {}
        }
    }
}

/// What taking makes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// It is a probe.
    pub probes: bool,
    /// It is the first after a probe that passed by being unanswered.
    pub passed: bool,
}

impl Taken {
    /// Of two holders.
    pub const fn and(self, other: Self) -> Self {
        Self {
            probes: self.probes || other.probes,
            passed: self.passed || other.passed,
        }
    }
}

/// How an attempt leaves the bars that it was the probe of, and those that it came after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `ok`: a probe passes, and the steps of bars that had ended before it began are forgotten (D4).
    Success,
    /// `client_error`: a probe passes (D5).
    Passed,
    /// Neither passed nor refused: the probe is free again (D5).
    Neither,
}

/// The bars of one holder. Bounded: among bars of limit groups the one that ends first makes room.
#[derive(Clone, Debug)]
pub struct Bars {
    bars: Vec<Bar>,
    limit_groups: usize,
}

/// All-models bars are one of each kind.
const KINDS: usize = 3;

impl Bars {
    /// Room for this many bars of limit groups, allocated now, beside those for all models.
    pub fn new(limit_groups: usize) -> Self {
        Self {
            bars: Vec::with_capacity(limit_groups + KINDS),
            limit_groups,
        }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.bars.is_empty()
    }

    /// The marks of those whom a bar stops, or whose probe is awaited.
    pub fn doubts(&self, now: Timestamp) -> u64 {
        let loud = self
            .bars
            .iter()
            .filter(|bar| bar.phase(now) != Phase::Passed);
        loud.fold(0, |marks, bar| {
            marks | bar.group.as_ref().map_or(EVERYBODY, mark)
        })
    }

    /// Adds what bars this limit group to the sum. `event`: what an event stands for.
    pub fn weigh(
        &self,
        group: &LimitGroup,
        now: Timestamp,
        event: Timestamp,
        standing: &mut Standing,
    ) {
        for bar in self.bars.iter().filter(|bar| bar.concerns(group)) {
            bar.weigh(now, event, standing);
        }
    }

    /// The same for bars that stop all models, for those who ask about no request in particular.
    pub fn weigh_all_models(&self, now: Timestamp, standing: &mut Standing) {
        for bar in self.bars.iter().filter(|bar| bar.group.is_none()) {
            bar.weigh(now, now, standing);
        }
    }

    /// A verdict against this holder; `group`: `None` stops all models. `None`: it changes nothing (D4).
    pub fn refuse(
        &mut self,
        kind: Kind,
        group: Option<&LimitGroup>,
        refusal: &Refusal,
    ) -> Option<Raised> {
        let known = self
            .bars
            .iter_mut()
            .find(|bar| bar.kind == kind && bar.group.as_ref() == group);
        if let Some(bar) = known {
            return bar.refuse(refusal);
        }
        let mut bar = Bar::new(kind, group);
        let raised = bar.refuse(refusal);
        self.insert(bar);
        raised
    }

    fn insert(&mut self, bar: Bar) {
        let grouped = |bar: &Bar| bar.group.is_some();
        if grouped(&bar) && self.bars.iter().filter(|bar| grouped(bar)).count() >= self.limit_groups
        {
            let first = self
                .bars
                .iter()
                .enumerate()
                .filter(|(_, bar)| grouped(bar))
                .min_by_key(|(_, bar)| bar.until);
            let Some((place, _)) = first else { return };
            self.bars.swap_remove(place);
        }
        self.bars.push(bar);
    }

    /// A request of this limit group takes the subscription: it becomes the probe of what is due, and what has
    /// passed unanswered is marked so.
    pub fn take(&mut self, group: &LimitGroup, attempt: Attempt) -> Taken {
        let mut taken = Taken::default();
        for bar in self.bars.iter_mut().filter(|bar| bar.concerns(group)) {
            match bar.phase(attempt.began) {
                Phase::Due => {
                    bar.probe = Some(attempt);
                    taken.probes = true;
                }
                Phase::Passed => {
                    taken.passed |= bar.needs_probe;
                    bar.needs_probe = false;
                    bar.probe = None;
                }
                Phase::Standing | Phase::Probing { .. } => {}
            }
        }
        taken
    }

    /// An attempt of this limit group ended without a verdict against these bars. `recovered` is told the limit
    /// group of each bar whose probe passed. Returns whether anything changed.
    pub fn end(
        &mut self,
        group: &LimitGroup,
        attempt: Attempt,
        ending: Ending,
        now: Timestamp,
        mut recovered: impl FnMut(Option<&LimitGroup>),
    ) -> bool {
        let mut changed = false;
        for bar in self.bars.iter_mut().filter(|bar| bar.concerns(group)) {
            let awaited = bar.needs_probe && bar.until <= now;
            if bar.probe == Some(attempt) {
                changed = true;
                bar.needs_probe = ending == Ending::Neither && bar.phase(now) != Phase::Passed;
                bar.probe = None;
            }
            // What is left of it tells stragglers of its episode from newer attempts.
            if ending == Ending::Success
                && bar.until <= attempt.began
                && bar.sequence < attempt.sequence
            {
                bar.step = 0;
                bar.needs_probe = false;
                bar.probe = None;
            }
            if awaited && !bar.needs_probe && ending != Ending::Neither {
                changed = true;
                recovered(bar.group.as_ref());
            }
        }
        changed
    }

    /// D7, on reload: the re-check of a refused credential is due at once. Returns whether one was not.
    pub fn recheck(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for bar in self
            .bars
            .iter_mut()
            .filter(|bar| bar.kind == Kind::Credential && now < bar.until)
        {
            bar.until = now;
            changed = true;
        }
        changed
    }

    /// Whether a verdict against this limit group was observed at or after the instant.
    pub fn refused_since(&self, group: &LimitGroup, since: Timestamp) -> bool {
        self.bars
            .iter()
            .any(|bar| bar.concerns(group) && bar.kind != Kind::Credential && since <= bar.observed)
    }

    /// Whether a bar stands for this limit group that was observed after the attempt had begun.
    pub fn refused_after(&self, group: &LimitGroup, attempt: Attempt, now: Timestamp) -> bool {
        self.bars
            .iter()
            .any(|bar| bar.concerns(group) && attempt.sequence < bar.sequence && now < bar.until)
    }

    /// Two holders become one: of two bars the later instant stays.
    pub fn merge(&mut self, other: &Self) {
        for theirs in &other.bars {
            let same = |bar: &&mut Bar| bar.kind == theirs.kind && bar.group == theirs.group;
            match self.bars.iter_mut().find(same) {
                Some(ours) if ours.until < theirs.until => *ours = theirs.clone(),
                Some(_) => {}
                None => self.insert(theirs.clone()),
            }
        }
    }

    /// What bars at the instant, in no order.
    pub fn summaries(&self, now: Timestamp) -> impl Iterator<Item = Summary<'_>> {
        self.bars.iter().filter_map(move |bar| {
            let stage = match bar.phase(now) {
                Phase::Standing => Stage::Standing { until: bar.until },
                Phase::Due | Phase::Probing { .. } => Stage::HalfOpen,
                Phase::Passed => return None,
            };
            Some(Summary {
                kind: bar.kind,
                group: bar.group.as_ref(),
                stage,
            })
        })
    }

    /// How many bars are remembered.
    pub fn len(&self) -> usize {
        self.bars.len()
    }
}

/// One bar, for those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// What set it.
    pub kind: Kind,
    /// `None`: all models.
    pub group: Option<&'a LimitGroup>,
    /// Whether it stands.
    pub stage: Stage,
}

/// How far a bar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It bars until the instant.
    Standing {
        /// When it ends.
        until: Timestamp,
    },
    /// Over, but its probe is still to come or out.
    HalfOpen,
}
