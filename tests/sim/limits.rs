//! Instants: nothing goes before a reset, and nothing later than it must.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Waits for all of them at once and notes when each was answered.
async fn answers(sim: &Arc<Sim>, waits: Vec<Waiting>) -> Vec<(Duration, Result<Lease, Refused>)> {
    let tasks: Vec<_> = waits
        .into_iter()
        .map(|waiting| {
            let sim = Arc::clone(sim);
            sim.tasks.clone().spawn(async move {
                let answer = waiting.await;
                (sim.elapsed(), answer)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

// C5, D4, acceptance 5
#[tokio::test(start_paused = true)]
async fn a_burst_of_fifty_goes_at_the_reset_to_the_millisecond() {
    for subscriptions in [1, 3] {
        let sim = Arc::new(Sim::new(subscriptions, None));
        sim.all_answer(subscriptions, limited(Some(Duration::from_secs(3))));
        let waits = (0..50).map(|_| sim.wait(&sim.demand())).collect();
        for (at, answer) in answers(&sim, waits).await {
            assert_eq!(at, Duration::from_secs(3));
            answer
                .unwrap()
                .settle(Outcome::Answered(Verdict::OK), &Usage::default());
        }
        assert_eq!(sim.in_flight(), 0);
    }
}

// C5: a keeper that sleeps is woken for an earlier instant
#[tokio::test(start_paused = true)]
async fn an_earlier_reset_wakes_the_keeper() {
    let sim = Arc::new(Sim::new(1, None));
    let model = |name: &str| Demand {
        limit_group: LimitGroup::new(name),
        ..sim.demand()
    };
    let per_model = |seconds| Verdict {
        scope: Scope::PER_MODEL,
        ..limited(Some(Duration::from_secs(seconds)))
    };
    sim.grant(&model("slow"))
        .settle(Outcome::Answered(per_model(20)), &Usage::default());
    let slow = sim.wait(&model("slow"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    sim.grant(&model("fast"))
        .settle(Outcome::Answered(per_model(4)), &Usage::default());
    let fast = sim.wait(&model("fast"));
    let answers = answers(&sim, vec![slow, fast]).await;
    assert_eq!(
        [answers[0].0, answers[1].0],
        [20, 5].map(Duration::from_secs)
    );
}

// D5
#[tokio::test(start_paused = true)]
async fn after_a_guess_one_probes_and_the_rest_go_on_its_answer() {
    let sim = Arc::new(Sim::new(1, None));
    sim.all_answer(1, limited(None));
    let probes = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (sim, probes) = (Arc::clone(&sim), Arc::clone(&probes));
        tasks.push(sim.tasks.clone().spawn(async move {
            let lease = sim.acquire(&sim.demand()).await.unwrap();
            let began = sim.elapsed();
            if lease.is_probe() {
                probes.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(700)).await;
                lease.observe(&Verdict::OK, &Readings::NONE);
            }
            lease.settle(Outcome::Answered(Verdict::OK), &Usage::default());
            began
        }));
    }
    let mut began = Vec::new();
    for task in tasks {
        began.push(task.await.unwrap());
    }
    began.sort();
    assert_eq!(probes.load(Ordering::Relaxed), 1);
    assert!(Duration::from_secs(1) <= began[0] && began[0] <= Duration::from_millis(1_201));
    assert!(
        began[1..]
            .iter()
            .all(|at| *at == began[0] + Duration::from_millis(700))
    );
}

// D5
#[tokio::test(start_paused = true)]
async fn a_silent_probe_has_passed_after_five_seconds() {
    let sim = Arc::new(Sim::new(1, None));
    sim.all_answer(1, limited(None));
    let waits = (0..10).map(|_| sim.wait(&sim.demand())).collect();
    let answers = answers(&sim, waits).await;
    let first = answers.iter().map(|(at, _)| *at).min().unwrap();
    let probes = answers
        .iter()
        .filter(|(_, answer)| answer.as_ref().unwrap().is_probe());
    assert_eq!(probes.count(), 1);
    let mut times: Vec<_> = answers.iter().map(|(at, _)| *at - first).collect();
    times.sort_unstable();
    // The others follow slowly (C4): as none is answered, each lets one more go after five seconds.
    for (at, after) in times
        .into_iter()
        .zip([0, 5, 10, 10, 15, 15, 15, 15, 20, 20])
    {
        // Timers are good to a millisecond.
        let late = at - Duration::from_secs(after);
        assert!(late <= Duration::from_millis(3), "{late:?}");
    }
}

// C5, C6: a waiter's own deadline, with nobody freeing anything
#[tokio::test(start_paused = true)]
async fn a_waiter_is_refused_at_its_deadline() {
    let sim = Arc::new(Sim::new(1, Some(1)));
    let _held = sim.grant(&sim.demand());
    let demand = Demand {
        max_wait: Some(Duration::from_millis(2_500)),
        ..sim.demand()
    };
    let refused = sim.acquire(&demand).await.unwrap_err();
    assert_eq!(sim.elapsed(), Duration::from_millis(2_500));
    assert_eq!(
        refused.earliest,
        Some(sim.clock.now() + Duration::from_secs(1))
    );
    assert_eq!(sim.waiting(), 0);
}

// S2, C5
#[tokio::test(start_paused = true)]
async fn a_session_moves_at_the_end_of_stick_wait() {
    let sim = Arc::new(Sim::new(2, Some(1)));
    let session = authpool::core::id::SessionKey([1; 16]);
    let demand = Demand {
        affinity: Affinity::Should(session),
        ..sim.demand()
    };
    let held = sim.grant(&demand);
    let moved = sim.acquire(&demand).await.unwrap();
    assert_ne!(moved.subscription(), held.subscription());
    assert_eq!(sim.elapsed(), Duration::from_secs(2));
}

// C5: as soon as news puts every instant beyond its time
#[tokio::test(start_paused = true)]
async fn bad_news_refuses_at_once() {
    let sim = Arc::new(Sim::new(1, None));
    let [one, two] = [sim.grant(&sim.demand()), sim.grant(&sim.demand())];
    one.settle(
        Outcome::Answered(limited(Some(Duration::from_secs(5)))),
        &Usage::default(),
    );
    let waiting = sim.wait(&sim.demand());
    tokio::time::sleep(Duration::from_secs(1)).await;
    two.observe(&limited(Some(Duration::from_secs(60))), &Readings::NONE);
    let refused = waiting.await.unwrap_err();
    assert_eq!(sim.elapsed(), Duration::from_secs(1));
    assert_eq!(
        refused.earliest,
        Some(sim.clock.now() + Duration::from_secs(60))
    );
}

// C5: waiters live on the runtimes of the data threads, the keeper on another
#[test]
fn a_waiter_may_live_on_another_runtime_than_the_keeper() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let control = runtime();
    let sim = control.block_on(async { Sim::new(1, None) });
    sim.all_answer(1, limited(Some(Duration::from_millis(80))));
    let waiting = sim.wait(&sim.demand());
    let (done, told) = std::sync::mpsc::sync_channel(1);
    let data = std::thread::spawn(move || {
        let lease = runtime().block_on(waiting).unwrap();
        done.send(()).unwrap();
        lease.began()
    });
    control.block_on(async {
        while told.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    });
    let began = data.join().unwrap();
    assert!(sim.start + Duration::from_millis(80) <= began);
    assert_eq!(sim.in_flight(), 0);
}

// STYLE: events go to the ring
#[tokio::test(start_paused = true)]
async fn a_cooldown_is_told_once() {
    let sim = Sim::new(1, None);
    let leases: Vec<_> = (0..20).map(|_| sim.grant(&sim.demand())).collect();
    for lease in leases {
        lease.settle(Outcome::Answered(limited(None)), &Usage::default());
    }
    let mut told = Vec::new();
    sim.records.drain(&mut told);
    assert_eq!(
        told.iter()
            .filter(|record| matches!(record, Record::Event(_)))
            .count(),
        1
    );
}
