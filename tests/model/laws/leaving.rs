//! A waiter that leaves, at any step: before its first poll, while it waits, with its answer on the way or there,
//! as its time ends. Law: it leaks no slot and no grant, and who stays goes.

use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use crate::sync::undelivered;
use crate::world::{World, limited, stop};

/// Two threads: one leaves, the other frees the slot. All their orders.
pub fn never_polled() {
    let world = World::new(&[1]);
    let held = world.grant();
    let waiting = world.wait();
    let leaving = thread::spawn(move || drop(waiting));
    drop(held);
    leaving.join().unwrap();
    world.is_at_rest();
}

/// The task of the first is aborted while the slot goes round.
pub fn at_any_step() {
    let world = World::new(&[1]);
    let held = world.grant();
    let leaving = world.spawn_waiting(world.wait());
    let staying = world.spawn_waiting(world.wait());
    let freeing = thread::spawn(move || drop(held));
    leaving.abort();
    let _ = block_on(leaving);
    assert_eq!(block_on(staying).unwrap(), Ok(()));
    freeing.join().unwrap();
    world.is_at_rest();
}

/// Nothing is freed: its place is, at once, also where its deadline comes just then.
pub fn at_once() {
    const WAIT: Duration = Duration::from_secs(2);
    let world = World::new(&[1]);
    let held = world.grant();
    let leaving = world.spawn_waiting(world.wait_at_most(WAIT));
    let staying = world.spawn_waiting(world.wait());
    let clock = world.clock;
    let time = thread::spawn(move || clock.advance(WAIT));
    leaving.abort();
    let _ = block_on(leaving);
    assert_eq!(world.waiting(), 1, "the one who stays");
    drop(held);
    assert_eq!(block_on(staying).unwrap(), Ok(()));
    time.join().unwrap();
    world.is_at_rest();
}

/// The slot is freed while the first one's deadline comes: whether it is granted, refused or gone.
pub fn as_it_expires() {
    const WAIT: Duration = Duration::from_secs(2);
    let world = World::new(&[1]);
    let held = world.grant();
    let leaving = world.spawn_waiting(world.wait_at_most(WAIT));
    let staying = world.spawn_waiting(world.wait());
    let freeing = thread::spawn(move || drop(held));
    world.clock.advance(WAIT);
    leaving.abort();
    let _ = block_on(leaving);
    assert_eq!(block_on(staying).unwrap(), Ok(()));
    freeing.join().unwrap();
    world.is_at_rest();
}

/// The same, and the place of the one who leaves is another's before it has left.
pub fn in_anothers_place() {
    const WAIT: Duration = Duration::from_secs(2);
    let world = World::new(&[1]);
    let held = world.grant();
    let leaving = world.spawn_waiting(world.wait_at_most(WAIT));
    let newcomer = world.clone();
    let newcomer = thread::spawn(move || {
        drop(held);
        assert!(block_on(newcomer.acquire()).is_ok());
    });
    world.clock.advance(WAIT);
    leaving.abort();
    let _ = block_on(leaving);
    newcomer.join().unwrap();
    world.is_at_rest();
}

/// The cooldown ends with a probe (D5), and the one who is to be it leaves.
pub fn as_a_probe() {
    let world = World::new(&[1]);
    let held = world.grant();
    held.observe(&limited(None));
    drop(held);
    let cooldown = world.balancer.snapshot().cooldowns[0].remaining;
    let leaving = world.spawn_waiting(world.wait());
    let staying = world.spawn_waiting(world.wait());
    let keeper = world.keeper();
    world.clock.advance(cooldown);
    leaving.abort();
    let _ = block_on(leaving);
    assert_eq!(block_on(staying).unwrap(), Ok(()));
    stop(keeper);
}

/// Nobody leaves: each has one answer, a lease or the refusal of its deadline, and no lease goes to nobody.
pub fn expired_while_granted() {
    const WAIT: Duration = Duration::from_secs(2);
    let before = undelivered();
    let world = World::new(&[1]);
    let held = world.grant();
    let first = world.spawn_waiting(world.wait_at_most(WAIT));
    let second = world.spawn_waiting(world.wait_at_most(WAIT));
    let freeing = thread::spawn(move || drop(held));
    world.clock.advance(WAIT);
    let _ = (block_on(first).unwrap(), block_on(second).unwrap());
    assert_eq!(undelivered(), before, "granted, but told to be refused");
    freeing.join().unwrap();
    world.is_at_rest();
}
