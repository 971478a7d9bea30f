//! The bytes of a held body, in order. A small one keeps the pieces as they came. A large one is copied into pages of
//! its own, which go back to the system with it: as pieces of 16 KiB it would stay in the allocator, and every thread
//! would keep the memory of its largest prompts for good.

use std::sync::Arc;

use bytes::Bytes;
use memmap2::MmapMut;

/// Bodies up to this keep their pieces: most prompts, and copying costs 0.3 us a KiB.
const PIECES: usize = 256 * 1024;
/// How much is mapped at once.
const SEGMENT: usize = 1024 * 1024;

/// A body in the making.
#[derive(Debug, Default)]
pub struct Kept {
    pieces: Vec<Bytes>,
    bytes: usize,
    open: Option<Segment>,
}

/// Anonymous pages, filled from the front.
#[derive(Debug)]
struct Segment {
    pages: MmapMut,
    filled: usize,
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        self.pages.get(..self.filled).unwrap_or_default()
    }
}

/// The system has no pages left.
#[derive(Debug, thiserror::Error)]
#[error("no memory for a request's body")]
pub struct Full(#[source] std::io::Error);

impl Kept {
    /// Adds a piece at the end.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn push(&mut self, piece: Bytes) -> Result<(), Full> {
        self.bytes += piece.len();
        if self.bytes <= PIECES {
            self.pieces.push(piece);
            return Ok(());
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let mut segment = match self.open.take() {
                Some(segment) => segment,
                None => Segment {
                    pages: MmapMut::map_anon(SEGMENT).map_err(Full)?,
                    filled: 0,
                },
            };
            let free = segment.pages.get_mut(segment.filled..).unwrap_or_default();
            let taken = free.len().min(rest.len());
            let (now, later) = rest.split_at(taken);
            if let Some(free) = free.get_mut(..taken) {
                free.copy_from_slice(now);
            }
            segment.filled += taken;
            rest = later;
            if segment.filled < SEGMENT {
                self.open = Some(segment);
            } else {
                self.pieces.push(Bytes::from_owner(segment));
            }
        }
        Ok(())
    }

    /// All of it.
    pub fn finish(mut self) -> Arc<[Bytes]> {
        if let Some(segment) = self.open.take() {
            self.pieces.push(Bytes::from_owner(segment));
        }
        self.pieces.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // F5
        #[test]
        fn a_body_is_kept_byte_for_byte_however_it_came(sizes in prop::collection::vec(1usize..400_000, 1..12)) {
            let mut kept = Kept::default();
            let mut whole = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let piece: Vec<u8> = (0..*size).map(|at| (at.wrapping_mul(31) ^ number) as u8).collect();
                whole.extend_from_slice(&piece);
                kept.push(Bytes::from(piece)).unwrap();
            }
            prop_assert_eq!(kept.finish().concat(), whole);
        }
    }
}
