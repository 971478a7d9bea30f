//! Whoever leaves, at whatever step, leaves neither a place, nor a slot, nor a grant behind.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

// C5: a waiter whose client leaves is gone at once
#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_before_it_was_polled_is_gone() {
    let sim = Sim::new(1, Some(1));
    let held = sim.grant(&sim.demand());
    let waiting = sim.wait(&sim.demand());
    assert_eq!(sim.waiting(), 1);
    drop(waiting);
    assert_eq!(sim.waiting(), 0);
    drop(held);
    assert_eq!(sim.in_flight(), 0);
}

// C5
#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_while_it_waits_is_gone_and_the_next_is_served() {
    let sim = Sim::new(1, Some(1));
    let held = sim.grant(&sim.demand());
    let mut first = Box::pin(sim.wait(&sim.demand()));
    let second = sim.wait(&sim.demand());
    let polled = first.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    drop(first);
    drop(held);
    let lease = second.await.unwrap();
    assert_eq!(sim.in_flight(), 1);
    drop(lease);
    assert_eq!(sim.in_flight(), 0);
}

// C5, STYLE Invariants 5 and 9
#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_takes_goes_to_the_next() {
    let sim = Sim::new(1, Some(1));
    let held = sim.grant(&sim.demand());
    let first = sim.wait(&sim.demand());
    let second = sim.wait(&sim.demand());
    drop(held);
    // The grant is on its way to the first, who leaves without looking.
    assert_eq!((sim.in_flight(), sim.waiting()), (1, 1));
    drop(first);
    let lease = second.await.unwrap();
    lease.settle(Outcome::Answered(Verdict::OK), &Usage::default());
    assert_eq!((sim.in_flight(), sim.waiting()), (0, 0));
}

// C5
#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_at_its_deadline_is_gone() {
    let sim = Sim::new(1, Some(1));
    let held = sim.grant(&sim.demand());
    let mut waiting = pin!(sim.wait(&sim.demand()));
    tokio::select! {
        biased;
        () = sim.clock.sleep_until(sim.start + Duration::from_secs(30)) => {}
        _ = &mut waiting => panic!("the deadline comes second here"),
    }
    let polled = waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(_))));
    drop(held);
    assert_eq!((sim.in_flight(), sim.waiting()), (0, 0));
}

// STYLE Invariant 5
#[tokio::test(start_paused = true)]
async fn a_dropped_lease_settles_itself_and_frees_its_probe() {
    let sim = Sim::new(1, None);
    sim.all_answer(1, limited(None));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let probe = sim.grant(&sim.demand());
    assert!(probe.is_probe());
    drop(probe);
    assert_eq!(sim.in_flight(), 0);
    assert!(sim.grant(&sim.demand()).is_probe());
}

// C1, C5, STYLE Invariants 5 and 9: a crowd that leaves at random
#[tokio::test(start_paused = true)]
async fn a_crowd_that_leaves_at_random_leaks_nothing_and_never_exceeds_a_cap() {
    for seed in 0..20 {
        let sim = Arc::new(Sim::new(3, Some(2)));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut tasks = Vec::new();
        for _ in 0..200 {
            let [comes, stays, works] =
                [2_000, 4_000, 300].map(|most| Duration::from_millis(random.u64(..most)));
            let verdict = match random.u8(..10) {
                0 => limited(Some(Duration::from_millis(random.u64(1..900)))),
                1 => limited(None),
                2 => Verdict::of(Class::UpstreamError),
                _ => Verdict::OK,
            };
            let sim = Arc::clone(&sim);
            tasks.push(sim.tasks.clone().spawn(async move {
                tokio::time::sleep(comes).await;
                let demand = sim.demand();
                let work = async {
                    let Ok(lease) = sim.acquire(&demand).await else {
                        return;
                    };
                    assert!(sim.in_flight() <= 6);
                    tokio::time::sleep(works).await;
                    lease.settle(Outcome::Answered(verdict), &Usage::default());
                };
                let _ = tokio::time::timeout(stays, work).await;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!((sim.in_flight(), sim.waiting()), (0, 0), "seed {seed}");
    }
}

// HARDENING 47, STYLE State
#[test]
fn many_threads_share_one_balancer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sim = Arc::new(runtime.block_on(async { Sim::new(2, Some(3)) }));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sim = Arc::clone(&sim);
            std::thread::spawn(move || {
                for round in 0..500 {
                    match sim.balancer.acquire(&sim.demand(), &Tried::new()) {
                        Acquired::Granted(lease) => {
                            assert!(sim.in_flight() <= 6);
                            if round % 3 == 0 {
                                lease.settle(Outcome::Answered(Verdict::OK), &Usage::default());
                            }
                        }
                        Acquired::Waiting(waiting) => drop(waiting),
                        Acquired::Refused(refused) => panic!("{refused:?}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((sim.in_flight(), sim.waiting()), (0, 0));
}
