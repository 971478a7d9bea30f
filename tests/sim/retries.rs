//! C8's retry budget over windows of ten seconds, as the request path uses it.

use super::*;

/// Fifty requests a second for so long, each of which wants every retry that it can get, up to two.
async fn overloaded(sim: &Sim, seconds: u64) -> (u64, u64) {
    let pool = PoolIndex(0);
    let mut retries = 0;
    for _ in 0..seconds * 50 {
        sim.balancer.arrived(pool);
        retries += u64::from(sim.balancer.charge_retry(pool));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (seconds * 50, retries)
}

// C8, acceptance 3
#[tokio::test(start_paused = true)]
async fn ten_seconds_of_overload_cost_at_most_1_22_tries_a_request_from_a_cold_start() {
    let sim = Sim::new(3, None);
    let (requests, retries) = overloaded(&sim, 10).await;
    let tries = (requests + retries) as f64 / requests as f64;
    assert!(tries <= 1.22, "{tries}");
    assert!(1.18 <= tries, "{tries}");
}

// C8, acceptance 3
#[tokio::test(start_paused = true)]
async fn nor_after_twenty_seconds_of_normal_traffic() {
    let sim = Sim::new(3, None);
    for _ in 0..1_000 {
        sim.balancer.arrived(PoolIndex(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (requests, retries) = overloaded(&sim, 10).await;
    let tries = (requests + retries) as f64 / requests as f64;
    assert!(tries <= 1.22, "{tries}");
}

// C8: HARDENING 20: 60 s at 100/s
#[tokio::test(start_paused = true)]
async fn a_long_outage_costs_a_fifth() {
    let sim = Sim::new(3, None);
    let (requests, retries) = overloaded(&sim, 60).await;
    let tries = (requests + retries) as f64 / requests as f64;
    assert!(tries <= 1.21, "{tries}");
}
