//! Where conversations went before (S1, S2), and whose provider-side state lies where (`must` handles). Two tables,
//! so that sessions never push out handles. Law: all memory is allocated at the start; a full table forgets what
//! was longest unused; a changed size takes a restart.

use crate::core::id::{PoolIndex, SessionKey, SubscriptionIndex};

const NONE: u32 = u32::MAX;

/// A fixed table with the order of use threaded through it: slab, open-addressed index, list.
#[derive(Clone, Debug)]
struct Recent<K, V> {
    entries: Vec<Entry<K, V>>,
    /// Places in `entries`; a power of two of them, at most half in use.
    index: Box<[u32]>,
    seed: u64,
    capacity: usize,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    newer: u32,
    older: u32,
}

/// A key that is already spread, but for what an attacker could have searched for: the seed spoils that.
trait Spread: Copy + Eq {
    fn hash(&self, seed: u64) -> u64;
}

fn spread(key: &SessionKey, salt: u64, seed: u64) -> u64 {
    let wide = u128::from_le_bytes(key.0);
    let [low, high] = [
        wide as u64 ^ seed,
        (wide >> 64) as u64 ^ salt ^ seed.rotate_left(32),
    ];
    let product = u128::from(low) * u128::from(high | 1);
    product as u64 ^ (product >> 64) as u64
}

impl Spread for SessionKey {
    fn hash(&self, seed: u64) -> u64 {
        spread(self, 0, seed)
    }
}

impl Spread for (PoolIndex, SessionKey) {
    fn hash(&self, seed: u64) -> u64 {
        spread(&self.1, u64::from(self.0.0) << 17, seed)
    }
}

impl<K: Spread, V> Recent<K, V> {
    fn new(capacity: u32, seed: u64) -> Self {
        let capacity = capacity.min(NONE / 4) as usize;
        let index = vec![NONE; (capacity * 2).next_power_of_two()];
        Self {
            entries: Vec::with_capacity(capacity),
            index: index.into_boxed_slice(),
            seed,
            capacity,
            newest: NONE,
            oldest: NONE,
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        let (_, place) = self.find(key)?;
        self.entry(place).map(|entry| &entry.value)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, place) = self.find(key)?;
        let entry = self.entries.get_mut(place as usize)?;
        Some(&mut entry.value)
    }

    /// Sets and makes it the newest. Returns what had to go: the same key's former value, or the oldest entry's.
    fn set(&mut self, key: K, value: V) -> Option<V> {
        if self.capacity == 0 {
            return None;
        }
        if let Some((_, place)) = self.find(&key) {
            self.unlink(place);
            self.link_newest(place);
            let entry = self.entries.get_mut(place as usize)?;
            return Some(std::mem::replace(&mut entry.value, value));
        }
        let fresh = Entry {
            key,
            value,
            newer: NONE,
            older: NONE,
        };
        let (place, gone) = if self.entries.len() < self.capacity {
            self.entries.push(fresh);
            ((self.entries.len() - 1) as u32, None)
        } else {
            let place = self.oldest;
            let slot = self.entry(place).and_then(|entry| self.find(&entry.key));
            if let Some((slot, _)) = slot {
                self.vacate(slot);
            }
            self.unlink(place);
            let entry = self.entries.get_mut(place as usize)?;
            (place, Some(std::mem::replace(entry, fresh).value))
        };
        self.link_newest(place);
        self.occupy(&key, place);
        gone
    }

    fn entry(&self, place: u32) -> Option<&Entry<K, V>> {
        self.entries.get(place as usize)
    }

    fn mask(&self) -> usize {
        self.index.len() - 1
    }

    fn home(&self, key: &K) -> usize {
        key.hash(self.seed) as usize & self.mask()
    }

    /// Slot of the index and place in the slab.
    fn find(&self, key: &K) -> Option<(usize, u32)> {
        let mut slot = self.home(key);
        loop {
            let place = *self.index.get(slot)?;
            if self.entry(place)?.key == *key {
                return Some((slot, place));
            }
            slot = (slot + 1) & self.mask();
        }
    }

    fn occupy(&mut self, key: &K, place: u32) {
        let mut slot = self.home(key);
        while self.index.get(slot).is_some_and(|&taken| taken != NONE) {
            slot = (slot + 1) & self.mask();
        }
        if let Some(free) = self.index.get_mut(slot) {
            *free = place;
        }
    }

    /// Empties a slot and moves up what had been pushed past it.
    fn vacate(&mut self, slot: usize) {
        let mask = self.mask();
        let mut hole = slot;
        let mut probe = slot;
        loop {
            probe = (probe + 1) & mask;
            let place = self.index.get(probe).copied().unwrap_or(NONE);
            let Some(entry) = self.entry(place) else {
                break;
            };
            let home = self.home(&entry.key);
            let travelled = probe.wrapping_sub(home) & mask;
            if travelled >= (probe.wrapping_sub(hole) & mask) {
                self.put(hole, place);
                hole = probe;
            }
        }
        self.put(hole, NONE);
    }

    fn put(&mut self, slot: usize, place: u32) {
        if let Some(slot) = self.index.get_mut(slot) {
            *slot = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(entry) = self.entry(place) else {
            return;
        };
        let (newer, older) = (entry.newer, entry.older);
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let former = self.newest;
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.newer = NONE;
            entry.older = former;
        }
        match self.entries.get_mut(former as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }
}

/// The bindings of `should` sessions. A session is a pool's own: the same conversation may use two pools.
#[derive(Clone, Debug)]
pub struct Sessions(Recent<(PoolIndex, SessionKey), Binding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    subscription: SubscriptionIndex,
    /// Prompt tokens that its latest answer there read from the cache.
    cached: u32,
}

/// What a binding replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A new session; the table had room.
    New,
    /// It was bound there already.
    Kept,
    /// It was bound to another.
    Moved(SubscriptionIndex),
    /// A new session; the longest unused was forgotten, which was bound to this one.
    Evicted(SubscriptionIndex),
}

impl Sessions {
    /// Room for this many, allocated now; 0 remembers none. `seed` is to be secret.
    pub fn new(capacity: u32, seed: u64) -> Self {
        Self(Recent::new(capacity, seed))
    }

    /// Where the session is bound.
    pub fn binding(&self, pool: PoolIndex, session: &SessionKey) -> Option<SubscriptionIndex> {
        let binding = self.0.get(&(pool, *session))?;
        Some(binding.subscription)
    }

    /// Prompt tokens that the session's latest answer read from the cache of the subscription that it is bound to.
    pub fn cached(&self, pool: PoolIndex, session: &SessionKey) -> u32 {
        let binding = self.0.get(&(pool, *session));
        binding.map_or(0, |binding| binding.cached)
    }

    /// Remembers what an answer of that subscription read from the cache.
    pub fn note_cached(
        &mut self,
        pool: PoolIndex,
        session: &SessionKey,
        subscription: SubscriptionIndex,
        cached: u32,
    ) {
        let binding = self.0.get_mut(&(pool, *session));
        if let Some(binding) = binding.filter(|own| own.subscription == subscription) {
            binding.cached = cached;
        }
    }

    /// Binds the session and makes it the most recently used.
    pub fn bind(
        &mut self,
        pool: PoolIndex,
        session: SessionKey,
        subscription: SubscriptionIndex,
    ) -> Bound {
        let known = self.0.get(&(pool, session)).copied();
        let warm = known.filter(|known| known.subscription == subscription);
        let binding = warm.unwrap_or(Binding {
            subscription,
            cached: 0,
        });
        match self.0.set((pool, session), binding) {
            Some(_) if warm.is_some() => Bound::Kept,
            Some(former) if known.is_some() => Bound::Moved(former.subscription),
            Some(former) => Bound::Evicted(former.subscription),
            None => Bound::New,
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

/// Whose state lies where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleOwner {
    /// There.
    Known(SubscriptionIndex),
    /// Never seen, or forgotten.
    Unknown,
    /// Another client's: to be answered like an unknown one (S3).
    NotYours,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handle {
    owner_tag: u64,
    subscription: SubscriptionIndex,
    pool: PoolIndex,
}

/// The handles seen in answers.
#[derive(Clone, Debug)]
pub struct Handles(Recent<SessionKey, Handle>);

impl Handles {
    /// Room for this many, allocated now; 0 remembers none. `seed` is to be secret.
    pub fn new(capacity: u32, seed: u64) -> Self {
        Self(Recent::new(capacity, seed))
    }

    /// Remembers whose it is. Another client's handle stays the other's. Returns whether it is a new one, and whose
    /// pool's handle made room for it.
    pub fn remember(
        &mut self,
        handle: SessionKey,
        owner_tag: u64,
        subscription: SubscriptionIndex,
        pool: PoolIndex,
    ) -> (bool, Option<PoolIndex>) {
        let known = self.0.get(&handle).copied();
        if known.is_some_and(|known| known.owner_tag != owner_tag) {
            return (false, None);
        }
        let value = Handle {
            owner_tag,
            subscription,
            pool,
        };
        let gone = self.0.set(handle, value).map(|gone| gone.pool);
        (self.0.capacity > 0, gone)
    }

    /// Whose it is.
    pub fn owner(&self, handle: &SessionKey, owner_tag: u64) -> HandleOwner {
        match self.0.get(handle) {
            None => HandleOwner::Unknown,
            Some(known) if known.owner_tag != owner_tag => HandleOwner::NotYours,
            Some(known) => HandleOwner::Known(known.subscription),
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const POOL: PoolIndex = PoolIndex(0);

    fn key(number: u8) -> SessionKey {
        SessionKey([number; 16])
    }

    proptest! {
        // S1, S2: the table against a list kept by hand
        #[test]
        fn the_longest_unused_goes_first(
            capacity in 0_u32..9,
            seed: u64,
            uses in proptest::collection::vec((0_u8..14, 0_u16..4), 0..200),
        ) {
            let mut sessions = Sessions::new(capacity, seed);
            let mut model: VecDeque<(u8, u16)> = VecDeque::new();
            for (number, subscription) in uses {
                sessions.bind(POOL, key(number), SubscriptionIndex(subscription));
                model.retain(|(other, _)| *other != number);
                model.push_front((number, subscription));
                model.truncate(capacity as usize);
                prop_assert_eq!(sessions.len(), model.len());
                for other in 0..14 {
                    let expected = model.iter().find(|(known, _)| *known == other);
                    prop_assert_eq!(
                        sessions.binding(POOL, &key(other)),
                        expected.map(|(_, subscription)| SubscriptionIndex(*subscription))
                    );
                }
            }
        }
    }

    // S2
    #[test]
    fn a_session_is_a_pools_own() {
        let mut sessions = Sessions::new(4, 1);
        assert_eq!(
            sessions.bind(POOL, key(1), SubscriptionIndex(3)),
            Bound::New
        );
        assert_eq!(sessions.binding(PoolIndex(1), &key(1)), None);
        assert_eq!(
            sessions.bind(POOL, key(1), SubscriptionIndex(3)),
            Bound::Kept
        );
        let moved = sessions.bind(POOL, key(1), SubscriptionIndex(4));
        assert_eq!(moved, Bound::Moved(SubscriptionIndex(3)));
    }

    // S3
    #[test]
    fn a_handle_belongs_to_who_saw_it_first() {
        let mut handles = Handles::new(2, 7);
        handles.remember(key(1), 10, SubscriptionIndex(0), POOL);
        handles.remember(key(1), 11, SubscriptionIndex(1), POOL);
        assert_eq!(
            handles.owner(&key(1), 10),
            HandleOwner::Known(SubscriptionIndex(0))
        );
        assert_eq!(handles.owner(&key(1), 11), HandleOwner::NotYours);
        assert_eq!(handles.owner(&key(2), 10), HandleOwner::Unknown);
        handles.remember(key(2), 10, SubscriptionIndex(0), POOL);
        handles.remember(key(3), 10, SubscriptionIndex(0), POOL);
        assert_eq!(handles.owner(&key(1), 10), HandleOwner::Unknown);
        assert_eq!(handles.len(), 2);
    }
}
