//! Every schedule with at most so many preemptions, depth first. A preemption takes the turn from one who could go on;
//! where the running one waits or ends, each successor is tried. Most faults show with two or three of them.

use std::cell::Cell;
use std::rc::Rc;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// The scheduler.
pub struct Bounded {
    preemptions: usize,
    most: usize,
    explored: usize,
    /// The decisions of the present schedule.
    decisions: Vec<Decision>,
    /// How many of them are made.
    depth: usize,
    preempted: usize,
    all: Rc<Cell<bool>>,
}

/// Who could go next; the one at `taken` does, those before it have.
struct Decision {
    choices: Vec<TaskId>,
    taken: usize,
}

impl Bounded {
    /// Gives up after `most` schedules. The flag tells afterwards whether these were all.
    pub fn new(preemptions: usize, most: usize) -> (Self, Rc<Cell<bool>>) {
        let all = Rc::new(Cell::new(false));
        let scheduler = Self {
            preemptions,
            most,
            explored: 0,
            decisions: Vec::new(),
            depth: 0,
            preempted: 0,
            all: Rc::clone(&all),
        };
        (scheduler, all)
    }

    /// To the next schedule; `false`: there is none.
    fn step(&mut self) -> bool {
        while let Some(last) = self.decisions.last_mut() {
            last.taken += 1;
            if last.taken < last.choices.len() {
                return true;
            }
            self.decisions.pop();
        }
        false
    }
}

impl Scheduler for Bounded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.explored > 0 && !self.step() {
            self.all.set(true);
            return None;
        }
        if self.explored >= self.most {
            return None;
        }
        self.explored += 1;
        self.depth = 0;
        self.preempted = 0;
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        let runnable: Vec<TaskId> = runnable.iter().map(|task| task.id()).collect();
        let current = current.filter(|current| runnable.contains(current));
        if self.depth == self.decisions.len() {
            let free = current.is_none() || self.preempted < self.preemptions;
            let others = runnable
                .iter()
                .copied()
                .filter(|task| Some(*task) != current);
            let choices = current.into_iter().chain(others.filter(|_| free)).collect();
            self.decisions.push(Decision { choices, taken: 0 });
        }
        let decision = self.decisions.get(self.depth)?;
        let next = *decision.choices.get(decision.taken)?;
        assert!(runnable.contains(&next), "a schedule cannot be repeated");
        self.depth += 1;
        self.preempted += usize::from(current.is_some_and(|current| current != next));
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
