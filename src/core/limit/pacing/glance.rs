//! The scan's look at one domain (X2): what its gauge alone can tell, without touching the row. Law: it says "open" only
//! where [`Book::room`] would, with the same share.

use super::{Book, Group, NONE};
use crate::core::limit::reading::DIMENSIONS;
use crate::core::time::Timestamp;

/// The rows of one limit group, by domain.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    book: &'a Book,
    /// `None`: nothing is known of the group.
    places: Option<&'a [u32]>,
}

/// What a request takes of each dimension, in single precision.
pub type Rough = [f32; DIMENSIONS];

impl Book {
    /// Where a scan for one limit group looks.
    pub fn column(&self, group: Option<Group>) -> Column<'_> {
        let places = group.and_then(|group| {
            let from = group.0 as usize * self.domains;
            self.places.get(from..from + self.domains)
        });
        Column { book: self, places }
    }
}

impl Column<'_> {
    /// The share that would be left. `None`: there is no room, or its row has to be asked.
    #[inline]
    pub fn glance(&self, domain: u32, amounts: &Rough, now: Timestamp) -> Option<f32> {
        let place = self.places.and_then(|places| places.get(domain as usize));
        match place {
            Some(&row) if row != NONE => {
                let gauge = self.book.gauges.get(row as usize)?;
                gauge.glance(amounts, now)
            }
            _ => {
                let configured = self.book.configured.get(domain as usize)?;
                configured.is_empty().then_some(0.5)
            }
        }
    }
}
