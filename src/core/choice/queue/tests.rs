//! The order within a lane against an order kept by hand.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::choice::fair::class;
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, SubscriptionIndex};

const STICK: Target = Target::Stick(SubscriptionIndex(0));

#[derive(Clone, Debug)]
enum Step {
    Enter {
        client: u16,
        priority: Priority,
        earlier: u32,
        stick: bool,
        again: bool,
    },
    Leave(usize, bool),
    Retarget(usize, bool),
    Pass(u32),
}

fn steps() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![
        Just(Priority::High),
        Just(Priority::Normal),
        Just(Priority::Low)
    ];
    prop_oneof![
        6 => (0_u16..5, priority, 0_u32..3_000, any::<bool>(), proptest::bool::weighted(0.2))
            .prop_map(|(client, priority, earlier, stick, again)| Step::Enter {
                client, priority, earlier, stick, again
            }),
        2 => (0_usize..64, any::<bool>()).prop_map(|(nth, served)| Step::Leave(nth, served)),
        1 => (0_usize..64, any::<bool>()).prop_map(|(nth, stick)| Step::Retarget(nth, stick)),
        2 => (0_u32..9_000).prop_map(Step::Pass),
    ]
}

/// One who waits, as remembered by hand.
#[derive(Clone, Debug)]
struct Known {
    id: WaiterId,
    stick: bool,
    client: u16,
    priority: Priority,
    turn: (u64, Timestamp, u64),
    /// Where its queue's clock stood when it came.
    came: u64,
    first_since: Timestamp,
}

struct Story {
    queue: Queue,
    /// Turns that were let go before.
    turns: Vec<(u16, Turn)>,
    clock: u64,
    given: HashMap<u16, u64>,
    known: Vec<Known>,
    order: u64,
    now: Timestamp,
}

impl Story {
    fn key(stick: bool) -> LaneKey {
        LaneKey {
            pool: PoolIndex(0),
            group: LimitGroup::none(),
            model: None,
            target: if stick { STICK } else { Target::Any },
            tried: Tried::new(),
            links: None,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enter {
                client,
                priority,
                earlier,
                stick,
                again,
            } => {
                let mut turns = self.turns.iter();
                let had = turns.position(|(own, _)| again && *own == client);
                let turn = had.map(|at| self.turns.swap_remove(at).1);
                let arrival = self.now - Duration::from_millis(earlier.into());
                let waiter = Waiter {
                    arrival,
                    deadline: self.now + Duration::from_secs(30),
                    session: None,
                    entropy: 0,
                    client: ClientIndex(client),
                    priority,
                    turn,
                    size: Size::default(),
                };
                let (id, _) = self
                    .queue
                    .enter(Self::key(stick), waiter, self.now)
                    .unwrap();
                self.order += 1;
                self.come(Known {
                    id,
                    stick,
                    client,
                    priority,
                    turn: (turn.map_or(u64::MAX, Turn::tag), arrival, self.order),
                    came: self.clock,
                    first_since: Timestamp::MAX,
                });
            }
            Step::Leave(nth, served) if !self.known.is_empty() => {
                let gone = self.go(nth);
                if served {
                    let tag = self.tag(&gone);
                    let (turn, _) = self.queue.serve(gone.id, self.now).unwrap();
                    assert_eq!(turn.tag(), tag);
                    self.clock = self.clock.max(tag);
                    if gone.turn.0 == u64::MAX {
                        self.given.insert(gone.client, tag + 1);
                    }
                    self.turns.push((gone.client, turn));
                } else {
                    assert!(self.queue.leave(gone.id, self.now).is_some());
                }
                assert!(self.queue.leave(gone.id, self.now).is_none());
            }
            Step::Retarget(nth, stick) if !self.known.is_empty() => {
                let mut moved = self.go(nth);
                moved.stick = stick;
                let target = Self::key(stick).target;
                self.queue.retarget(moved.id, target, self.now).unwrap();
                self.come(moved);
            }
            Step::Leave(..) | Step::Retarget(..) => {}
            Step::Pass(millis) => self.now = self.now + Duration::from_millis(millis.into()),
        }
    }

    fn tag(&self, own: &Known) -> u64 {
        let given = self.given.get(&own.client).copied().unwrap_or(0);
        match own.turn.0 {
            u64::MAX => own.came.max(given),
            kept => kept,
        }
    }

    fn flow(&self, of: &Known) -> Vec<usize> {
        let alike = |other: &Known| {
            (other.stick, other.client, other.priority) == (of.stick, of.client, of.priority)
        };
        let mut flow: Vec<_> = (0..self.known.len())
            .filter(|at| alike(&self.known[*at]))
            .collect();
        flow.sort_by_key(|at| self.known[*at].turn);
        flow
    }

    fn come(&mut self, mut own: Known) {
        let flow = self.flow(&own);
        match flow.first().map(|first| self.known[*first].clone()) {
            None => own.first_since = own.first_since.min(self.now),
            Some(first) if own.turn < first.turn => {
                own.first_since = own.first_since.min(first.first_since).min(self.now);
            }
            Some(_) => {}
        }
        self.known.push(own);
    }

    fn go(&mut self, nth: usize) -> Known {
        let gone = self.known.swap_remove(nth % self.known.len());
        let now = self.now;
        if let Some(&first) = self.flow(&gone).first() {
            let first = &mut self.known[first];
            first.first_since = first.first_since.min(now);
        }
        gone
    }

    fn check(&mut self) {
        self.queue.reorder(self.now);
        for stick in [false, true] {
            let mut expected = Vec::new();
            for own in self.known.iter().filter(|own| own.stick == stick) {
                let (mut own_class, mut tag) = (0, 0);
                for at in self.flow(own) {
                    let other = &self.known[at];
                    if other.turn <= own.turn {
                        let other_class = class(other.priority, other.first_since, self.now);
                        own_class = other_class.max(own_class);
                        tag = self.tag(other).max(tag) + 1;
                    }
                }
                expected.push((own_class, tag, own.turn.1, own.turn.2, own.id));
            }
            expected.sort_by_key(|own| (own.0, own.1, own.2, own.3));
            let mut expected = expected.into_iter().map(|own| own.4);
            let Some(lane) = self.queue.find(&Self::key(stick)) else {
                assert_eq!(expected.next(), None);
                continue;
            };
            let count = self.known.iter().filter(|own| own.stick == stick).count();
            let head = self.queue.head(lane).map(|(id, _)| id);
            assert_eq!(head, expected.next());
            let line = self.queue.line(lane, self.now);
            let behind: Vec<_> = line.behind().map(|(_, id)| id).collect();
            assert_eq!(behind, expected.take(DEPTH).collect::<Vec<_>>());
            assert_eq!(line.more, DEPTH + 1 < count);
            let mut all = 0;
            let mut next = self.queue.any(lane);
            while let Some(id) = next {
                all += 1;
                next = self.queue.next(id);
            }
            assert_eq!(all, count);
        }
    }
}

proptest! {
    // C5
    #[test]
    fn a_lane_is_in_the_order_of_class_then_turn(steps in proptest::collection::vec(steps(), 1..120)) {
        let mut queue = Queue::new();
        queue.reserve(128, 1);
        let mut story = Story {
            queue,
            turns: Vec::new(),
            clock: 0,
            given: HashMap::new(),
            known: Vec::new(),
            order: 0,
            now: Timestamp::from_micros(1_000_000_000),
        };
        for step in steps {
            story.step(step);
            story.check();
        }
    }
}
