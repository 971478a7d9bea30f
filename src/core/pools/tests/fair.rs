//! Priority with ageing, and fairness between clients, over time (C5, SPEC 16.11).

use std::collections::HashMap;

use super::*;

/// One subscription with room for one, which takes this long; clients that offer at fixed rates.
struct Sim {
    world: World,
    service: Duration,
    serving: Option<(Timestamp, Ticket)>,
    waiting: HashMap<WaiterId, (Demand, Timestamp)>,
    /// By client: offered, and how long those who were served waited.
    offered: [u32; 2],
    waits: [Vec<Duration>; 2],
}

impl Sim {
    fn new(service: Duration) -> Self {
        let mut layout = layout(1);
        layout.subscriptions[0].max_in_flight = Some(1);
        layout.pools[0].max_waiting = 10_000;
        Self {
            world: World::new(layout),
            service,
            serving: None,
            waiting: HashMap::new(),
            offered: [0; 2],
            waits: [Vec::new(), Vec::new()],
        }
    }

    fn arrive(&mut self, client: u16, priority: Priority) -> Option<WaiterId> {
        let demand = Demand {
            client: ClientIndex(client),
            priority,
            ..self.world.demand()
        };
        self.offered[usize::from(client)] += 1;
        match self.world.try_acquire(&demand, &Tried::new()) {
            Acquisition::Granted(ticket) => self.serve(&demand, ticket),
            Acquisition::Refused(_) => {}
            Acquisition::MustWait => {
                let (now, out) = (self.world.now, &mut self.world.out);
                let entrance = self.world.pools.enter(&demand, &Tried::new(), now, out);
                self.world.carry_out();
                if let Entrance::Waiting { waiter, deadline } = entrance {
                    self.waiting.insert(waiter, (demand, deadline));
                    return Some(waiter);
                }
            }
        }
        None
    }

    fn serve(&mut self, demand: &Demand, ticket: Ticket) {
        assert!(self.serving.is_none());
        let now = self.world.now;
        self.serving = Some((now + self.service, ticket));
        self.waits[demand.client.at()].push(now.since(demand.arrival));
    }

    /// Until this instant: ends of service and deadlines as they come.
    fn run(&mut self, end: Timestamp) {
        loop {
            while let Some((waiter, ticket)) = self.world.granted.pop() {
                let (demand, _) = self.waiting.remove(&waiter).unwrap();
                self.serve(&demand, ticket);
            }
            let served = self.serving.as_ref().map(|(end, _)| *end);
            let deadline = self.waiting.values().map(|(_, deadline)| *deadline).min();
            let next = [served, deadline].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.world.now = next;
            if served == Some(next) {
                let (_, ticket) = self.serving.take().unwrap();
                self.world.answer(ticket, Verdict::OK);
                continue;
            }
            let mut due = self.waiting.iter();
            let due = due.find(|(_, (_, deadline))| *deadline == next);
            let due = due.map(|(id, _)| *id).unwrap();
            let (pools, out) = (&mut self.world.pools, &mut self.world.out);
            if pools.expire(due, next, out).is_some() {
                self.waiting.remove(&due);
            }
            self.world.carry_out();
        }
        self.world.now = end;
    }
}

fn p99(waits: &[Duration]) -> Duration {
    let mut waits = waits.to_vec();
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

// C5, SPEC 16.11
#[test]
fn a_small_client_waits_no_longer_for_one_that_offers_ten_times_as_much() {
    const SMALL: usize = 0;
    const GREEDY: usize = 1;
    let mut sim = Sim::new(millis(100));
    let begin = sim.world.now;
    for step in 1..=4_000_u32 {
        // 33.3 a second from one, 3.33 from the other, for 10 that can be served.
        sim.run(begin + millis(30) * step);
        sim.arrive(1, Priority::Normal);
        if step % 10 == 0 {
            sim.arrive(0, Priority::Normal);
        }
    }
    let [small, greedy] = &sim.waits;
    assert!(p99(small) <= millis(200), "{:?}", p99(small));
    assert!(
        seconds(25) < p99(greedy),
        "the greedy one queues for itself"
    );
    let total = small.len() + greedy.len();
    assert!(1_195 <= total, "none of the capacity is lost: {total}");
    let share = 1_200.0 - f64::from(sim.offered[SMALL]);
    assert!(share < f64::from(sim.offered[GREEDY]));
    let served = [
        small.len() as f64 / f64::from(sim.offered[SMALL]),
        greedy.len() as f64 / share,
    ];
    let sum: f64 = served.iter().sum();
    let squares: f64 = served.iter().map(|own| own * own).sum();
    let jain = sum * sum / (2.0 * squares);
    assert!(0.99 <= jain, "{jain} {served:?}");
}

// C5: two that offer more than there is get the same
#[test]
fn two_greedy_clients_share_alike_though_one_offers_three_times_as_much() {
    let mut sim = Sim::new(millis(100));
    let begin = sim.world.now;
    for step in 1..=2_000_u32 {
        sim.run(begin + millis(30) * step);
        sim.arrive(0, Priority::Normal);
        for _ in 0..3 {
            sim.arrive(1, Priority::Normal);
        }
    }
    let [one, other] = [&sim.waits[0], &sim.waits[1]].map(|waits| waits.len() as i64);
    assert!((one - other).abs() <= 6, "{one} {other}");
}

// C5: one class up per 10 s, counted from when it is the first of its client
#[test]
fn a_low_priority_waiter_goes_within_twenty_seconds_though_others_keep_coming() {
    for (others, least, most) in [(Priority::Normal, 10, 12), (Priority::High, 20, 22)] {
        let mut sim = Sim::new(seconds(1));
        let begin = sim.world.now;
        let mut low = None;
        for step in 1..=60_u32 {
            sim.run(begin + millis(500) * step);
            sim.arrive(1, others);
            if step == 4 {
                low = sim.arrive(0, Priority::Low);
            }
        }
        assert!(low.is_some());
        let waited = sim.waits[0][0];
        let expected = seconds(least)..=seconds(most);
        assert!(expected.contains(&waited), "{others:?}: {waited:?}");
    }
}

// C5
#[test]
fn classes_come_before_fairness_and_fairness_before_arrival() {
    let mut sim = Sim::new(seconds(1));
    sim.arrive(1, Priority::Normal);
    let order = [
        (1, Priority::Low, 5),
        (1, Priority::Normal, 2),
        (1, Priority::Normal, 3),
        (0, Priority::Normal, 1),
        (0, Priority::Low, 4),
        (1, Priority::High, 0),
    ];
    let mut expected = [None; 6];
    for (client, priority, place) in order {
        expected[place] = sim.arrive(client, priority);
        sim.world.now = sim.world.now + millis(1);
    }
    let (_, held) = sim.serving.take().unwrap();
    sim.world.settle(held, Outcome::Abandoned);
    let mut went = Vec::new();
    while let Some((waiter, ticket)) = sim.world.granted.pop() {
        went.push(Some(waiter));
        sim.world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(went, expected);
}

// C5: what clients wait for elsewhere is nothing to this queue
#[test]
fn a_busy_queue_of_the_pool_does_not_disturb_the_order_of_another() {
    let mut layout = layout(2);
    layout.subscriptions[0].models = vec!["m1".to_owned()];
    layout.subscriptions[0].max_in_flight = Some(1);
    layout.subscriptions[1].models = vec!["m2".to_owned()];
    let mut world = World::new(layout);
    let of = |world: &World, client, model: &str| Demand {
        client: ClientIndex(client),
        ..world.of_model(model)
    };
    let held = world.take();
    let greedy: Vec<_> = (0..3).map(|_| world.wait(&of(&world, 1, "m1"))).collect();
    for _ in 0..100 {
        let other = world.grant(&of(&world, 2, "m2"));
        world.settle(other, Outcome::Abandoned);
    }
    let [small, late] = [2, 3].map(|client| world.wait(&of(&world, client, "m1")));
    world.settle(held, Outcome::Abandoned);
    let mut order = Vec::new();
    while let Some((waiter, ticket)) = world.granted.pop() {
        order.push(waiter);
        world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(order, [greedy[0], small, late, greedy[1], greedy[2]]);
}

// C5: a request that nobody served costs its client nothing
#[test]
fn who_leaves_unserved_does_not_put_its_client_behind() {
    let mut sim = Sim::new(seconds(1));
    sim.arrive(0, Priority::Normal);
    let gone: Vec<_> = (0..50)
        .filter_map(|_| sim.arrive(1, Priority::Normal))
        .collect();
    for waiter in gone {
        assert!(sim.world.leave(waiter));
    }
    let waiters = [(1, 0), (0, 1), (1, 2), (0, 3)];
    let waiters = waiters.map(|(client, _)| sim.arrive(client, Priority::Normal).unwrap());
    let (_, held) = sim.serving.take().unwrap();
    sim.world.settle(held, Outcome::Abandoned);
    let mut order = Vec::new();
    while let Some((waiter, ticket)) = sim.world.granted.pop() {
        order.push(waiter);
        sim.world.settle(ticket, Outcome::Abandoned);
    }
    assert_eq!(order, [waiters[0], waiters[1], waiters[2], waiters[3]]);
}
