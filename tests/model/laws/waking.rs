//! Who stays is woken: by a slot that is freed, by time that passes. A lost wake-up is a deadlock, since time stands
//! where a law leaves it. Law: at no time are more held than the caps allow.

use std::time::Duration;

use shuttle::future::{block_on, spawn};
use shuttle::thread;

use crate::world::{World, limited, stop};

const COOLDOWN: Duration = Duration::from_millis(100);

/// They ask while the slot is freed: one may find it, or enter just before or after.
pub fn freed_slot() {
    let world = World::new(&[1]);
    let held = world.grant();
    let (first, second) = (world.clone(), world.clone());
    let first = spawn(async move { first.acquire().await.map(drop) });
    let second = spawn(async move { second.acquire().await.map(drop) });
    drop(held);
    assert_eq!(block_on(first).unwrap(), Ok(()));
    assert_eq!(block_on(second).unwrap(), Ok(()));
    world.is_at_rest();
}

pub fn one_slot() {
    contend(&[1]);
}

pub fn two_slots() {
    contend(&[2]);
}

/// One holds, two more threads acquire, wait and settle, and another asks and may leave.
fn contend(caps: &[u32]) {
    let world = World::new(caps);
    let held = world.grant();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let world = world.clone();
            thread::spawn(move || assert!(block_on(world.acquire()).is_ok()))
        })
        .collect();
    let leaver = world.clone();
    let leaving = spawn(async move { leaver.acquire().await.map(drop) });
    leaving.abort();
    drop(held);
    let _ = block_on(leaving);
    for thread in threads {
        thread.join().unwrap();
    }
    world.is_at_rest();
}

/// They ask before, while and after the cooldown ends. Time stands at its very end.
pub fn cooldown_ended() {
    let world = World::new(&[2]);
    let held = world.grant();
    held.observe(&limited(Some(COOLDOWN)));
    drop(held);
    let keeper = world.keeper();
    let (first, second) = (world.clone(), world.clone());
    let first = spawn(async move { first.acquire().await.map(drop) });
    let second = spawn(async move { second.acquire().await.map(drop) });
    world.clock.advance(COOLDOWN);
    assert_eq!(block_on(first).unwrap(), Ok(()));
    assert_eq!(block_on(second).unwrap(), Ok(()));
    stop(keeper);
    world.is_at_rest();
}

/// The keeper sleeps to the end of one cooldown, or is about to, when the other subscription reports a shorter one.
pub fn nearer_instant() {
    let world = World::new(&[1, 1]);
    let (one, other) = (world.grant(), world.grant());
    one.observe(&limited(Some(2 * COOLDOWN)));
    drop(one);
    let waiting = world.spawn_waiting(world.wait());
    let keeper = world.keeper();
    let reporting = thread::spawn(move || {
        other.observe(&limited(Some(COOLDOWN)));
        drop(other);
    });
    reporting.join().unwrap();
    world.clock.advance(COOLDOWN);
    assert_eq!(block_on(waiting).unwrap(), Ok(()));
    stop(keeper);
}

/// The keeper has nothing to sleep to, or is about to find that, when the first waiter comes.
pub fn newcomer() {
    let world = World::new(&[1]);
    let held = world.grant();
    held.observe(&limited(Some(COOLDOWN)));
    drop(held);
    let keeper = world.keeper();
    let waiting = world.spawn_waiting(world.wait());
    world.clock.advance(COOLDOWN);
    assert_eq!(block_on(waiting).unwrap(), Ok(()));
    stop(keeper);
    world.is_at_rest();
}
