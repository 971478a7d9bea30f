//! Where the rings of the data threads meet the sinks. Emptied every 20 ms, and before each scrape.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::records::{Names, Record, Records, Sink};

/// Fans records out. Clones share the sinks.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    rings: Vec<Records>,
    names: ArcSwap<Names>,
    sinks: Mutex<Sinks>,
}

struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
    batch: Vec<Record>,
}

impl Hub {
    /// Over the rings that will be emptied, in this order.
    pub fn new(rings: Vec<Records>, names: Arc<Names>, sinks: Vec<Box<dyn Sink>>) -> Self {
        let sinks = Mutex::new(Sinks {
            sinks,
            batch: Vec::with_capacity(1024),
        });
        Self(Arc::new(Inner {
            rings,
            names: ArcSwap::new(names),
            sinks,
        }))
    }

    /// Gives indices new meanings, after those that were recorded under the old ones were told.
    pub fn rename(&self, names: Arc<Names>) {
        self.pump();
        self.0.names.store(names);
    }

    /// Empties the rings into the sinks. Called on the control thread only: sinks may write.
    pub fn pump(&self) {
        let mut guard = self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let Sinks { sinks, batch } = &mut *guard;
        for ring in &self.0.rings {
            ring.drain(batch);
        }
        if batch.is_empty() {
            return;
        }
        let names = self.0.names.load();
        for sink in sinks.iter_mut() {
            sink.take(batch, &names);
        }
        batch.clear();
    }

    /// How many records found their ring full since the start.
    pub fn dropped(&self) -> u64 {
        self.0.rings.iter().map(Records::dropped).sum()
    }
}
