//! A reload while some wait (D7): nobody is lost, whatever changes; and more answers than one section can hold.

use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use crate::core::pools::Layout;
use crate::world::{World, layout, limited};

/// One slot, and room for so many to wait for it.
fn room(max_waiting: usize) -> Layout {
    let mut layout = layout(&[1]);
    layout.pools[0].max_waiting = max_waiting;
    layout
}

/// A second slot by reload, while the first is freed and one leaves.
pub fn raised_cap() {
    let world = World::new(&[1]).allowing(2);
    let held = world.grant();
    let leaving = world.spawn_waiting(world.wait());
    let staying = world.spawn_waiting(world.wait());
    let reloading = world.clone();
    let reloading = thread::spawn(move || drop(reloading.balancer.apply(&layout(&[2]))));
    leaving.abort();
    let _ = block_on(leaving);
    assert_eq!(block_on(staying).unwrap(), Ok(()));
    drop(held);
    reloading.join().unwrap();
    world.is_at_rest();
}

/// A new credential starts without the old one's cooldown, and its cap counts those who still have the old one.
pub fn changed_credential() {
    let world = World::new(&[1]);
    let held = world.grant();
    held.observe(&limited(Some(Duration::from_secs(10))));
    let first = world.spawn_waiting(world.wait());
    let second = world.spawn_waiting(world.wait());
    let mut changed = layout(&[1]);
    changed.subscriptions[0].fingerprint = 2;
    let reloading = world.clone();
    let reloading = thread::spawn(move || drop(reloading.balancer.apply(&changed)));
    drop(held);
    assert_eq!(block_on(first).unwrap(), Ok(()));
    assert_eq!(block_on(second).unwrap(), Ok(()));
    reloading.join().unwrap();
    world.is_at_rest();
}

/// The only subscription goes: who waits has the slot just before, or is told.
pub fn removed() {
    let world = World::new(&[1]);
    let held = world.grant();
    let first = world.spawn_waiting(world.wait());
    let second = world.spawn_waiting(world.wait());
    let reloading = world.clone();
    let reloading = thread::spawn(move || drop(reloading.balancer.apply(&layout(&[]))));
    drop(held);
    let _ = (block_on(first).unwrap(), block_on(second).unwrap());
    reloading.join().unwrap();
    drop(world.balancer.apply(&layout(&[1])));
    world.is_at_rest();
}

/// Room for one, then for two: the second has a way to its answer.
pub fn larger_room() {
    let world = World::of(&room(1));
    let held = world.grant();
    let first = world.spawn_waiting(world.wait());
    let reloading = world.clone();
    let reloading = thread::spawn(move || {
        drop(reloading.balancer.apply(&room(2)));
        assert!(block_on(reloading.acquire()).is_ok());
    });
    drop(held);
    assert_eq!(block_on(first).unwrap(), Ok(()));
    reloading.join().unwrap();
    world.is_at_rest();
}

/// One reload lets more go than one section can tell.
pub fn overflow() {
    const MANY: u32 = 66;
    let world = World::new(&[1]).allowing(MANY + 1);
    let held = world.grant();
    let waiting: Vec<_> = (0..MANY).map(|_| world.wait()).collect();
    let reloading = world.clone();
    let reloading = thread::spawn(move || drop(reloading.balancer.apply(&layout(&[MANY + 1]))));
    for waiting in waiting {
        assert!(block_on(waiting).is_ok());
    }
    drop(held);
    reloading.join().unwrap();
    world.is_at_rest();
}
