//! Rules of `pool.fallback` and `pool.model_aliases` (C7, F10): a fallback is another pool of the same dialect. Pools
//! may fall back to each other in a circle: a request asks each once, breadth first, and only so many of them.

use std::sync::Arc;

use super::Rules;
use crate::config::fault::Place;
use crate::config::value::Text;
use crate::config::wire::Table;
use crate::config::{Glob, PoolConfig, word};
use crate::core::pools::MOST_POOLS;

/// What a pool says of where its requests may fall back to.
#[derive(Default)]
pub(super) struct Fallback {
    /// Of the key; `None`: it is missing.
    place: Option<Place>,
    pools: Vec<Text>,
}

impl Rules<'_> {
    /// The pools that exist, each once, without this one.
    pub(super) fn fallback(&self, table: &mut Table<'_, '_>, own: Option<&Text>) -> Fallback {
        let Some(value) = table.take("fallback") else {
            return Fallback::default();
        };
        let place = value.place.clone();
        let mut pools = value.texts();
        self.without_repetition(&pools);
        pools.retain(|pool| {
            let is_own = own.is_some_and(|own| own.text == pool.text);
            if is_own {
                self.report(&pool.place, "is this pool itself");
            }
            !is_own && self.refer(&self.pools, pool).is_some()
        });
        Fallback {
            place: Some(place),
            pools,
        }
    }

    /// Resolves all of them, when all pools are known: `fallbacks` are those of `pools`, in their order.
    pub(super) fn chains(&self, pools: &mut [(Place, PoolConfig)], fallbacks: &[Fallback]) {
        let lists: Vec<Vec<usize>> = pools
            .iter()
            .zip(fallbacks)
            .map(|((_, own), fallback)| self.same_dialect(own, fallback, pools))
            .collect();
        for (at, ((_, pool), fallback)) in pools.iter_mut().zip(fallbacks).enumerate() {
            pool.fallback = chain(at, &lists);
            if let Some(place) = &fallback.place
                && MOST_POOLS <= pool.fallback.len()
            {
                let all = pool.fallback.len() + 1;
                self.report(
                    place,
                    format!(
                        "leads to {all} pools, this one and those that they fall back to counted: a \
                         request asks at most {MOST_POOLS}"
                    ),
                );
            }
        }
    }

    /// The positions of those that speak its dialect. One that is missing has a fault of its own.
    fn same_dialect(
        &self,
        own: &PoolConfig,
        fallback: &Fallback,
        pools: &[(Place, PoolConfig)],
    ) -> Vec<usize> {
        let mut positions = Vec::new();
        for name in &fallback.pools {
            let mut all = pools.iter().enumerate();
            let Some((at, (_, other))) = all.find(|(_, (_, other))| *other.id == *name.text) else {
                continue;
            };
            if other.dialect == own.dialect {
                positions.push(at);
                continue;
            }
            self.report(
                &name.place,
                format!(
                    "`{}` speaks {}, but `{}` speaks {}: requests fall back within one dialect",
                    other.id,
                    other.dialect.name(),
                    own.id,
                    own.dialect.name()
                ),
            );
        }
        positions
    }

    /// In the order of the file.
    pub(super) fn model_aliases(&self, table: &mut Table<'_, '_>) -> Vec<(Glob, Arc<str>)> {
        let aliases = table
            .take("model_aliases")
            .and_then(|value| value.open_table());
        let Some(aliases) = aliases else {
            return Vec::new();
        };
        let aliases = aliases.into_values().into_iter();
        aliases
            .filter_map(|(asked, sent)| {
                let asked = self.glob(&asked);
                let sent = sent.text()?;
                if !word::glob(&sent.text).is_some_and(|sent| sent.is_literal()) {
                    self.report(
                        &sent.place,
                        "must be the name of one model: 1 to 256 characters without blanks or `*`",
                    );
                    return None;
                }
                Some((asked?, Arc::from(sent.text)))
            })
            .collect()
    }
}

/// Breadth first: a pool's own list before the lists of those in it. `lists`: of every pool, by position.
fn chain(own: usize, lists: &[Vec<usize>]) -> Vec<usize> {
    let mut chain = vec![own];
    let mut asked = 0;
    while let Some(&at) = chain.get(asked) {
        asked += 1;
        for next in lists.get(at).into_iter().flatten() {
            if !chain.contains(next) {
                chain.push(*next);
            }
        }
    }
    chain.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // C7
    #[test]
    fn each_pool_is_asked_once_the_nearest_first() {
        let lists = [vec![1, 2], vec![3, 0], vec![1], vec![3, 2], vec![]];
        assert_eq!(chain(0, &lists), [1, 2, 3]);
        assert_eq!(chain(1, &lists), [3, 0, 2]);
        assert_eq!(chain(3, &lists), [2, 1, 0]);
        assert!(chain(4, &lists).is_empty());
    }
}
