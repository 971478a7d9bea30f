//! A request's body that is held whole, and cloned for each attempt. Hands out small frames: what hyper has taken
//! and not written cannot be taken back from a provider that answers early and reads no further.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The most bytes of one frame.
const FRAME: usize = 64 * 1024;

/// A request's body. A clone starts where the original stands, and shares its bytes.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    frames: Arc<[Bytes]>,
    /// Frames handed out whole.
    done: usize,
    /// Bytes handed out of the frame after those.
    offset: usize,
    left: u64,
    /// `None`: none, or it is behind.
    change: Option<Change>,
}

/// Bytes that go out in place of others.
#[derive(Clone, Debug)]
struct Change {
    /// Bytes to hand out before it.
    before: u64,
    /// How many of the frames' bytes it stands for.
    cut: u64,
    instead: Bytes,
}

impl Outgoing {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The frames one after another, none copied.
    pub fn held(frames: Arc<[Bytes]>) -> Self {
        let left = frames.iter().map(|frame| frame.len() as u64).sum();
        Self {
            frames,
            done: 0,
            offset: 0,
            left,
            change: None,
        }
    }

    /// The same body, of which nothing was handed out yet, with other bytes in this place; shares all the rest.
    /// A place beyond the body changes nothing.
    pub fn with(&self, place: &Range<u64>, instead: &Bytes) -> Self {
        let mut changed = self.clone();
        if place.start <= place.end && place.end <= self.left {
            let cut = place.end - place.start;
            changed.left = self.left - cut + instead.len() as u64;
            changed.change = Some(Change {
                before: place.start,
                cut,
                instead: instead.clone(),
            });
        }
        changed
    }

    /// How many bytes are left to hand out.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn next(&mut self) -> Option<Bytes> {
        if let Some(change) = self.change.take_if(|change| change.before == 0) {
            self.pass_over(change.cut);
            if !change.instead.is_empty() {
                self.left = self.left.saturating_sub(change.instead.len() as u64);
                return Some(change.instead);
            }
        }
        let before = self.change.as_ref().map(|change| change.before);
        let before = before.and_then(|before| usize::try_from(before).ok());
        let piece = self.piece(before.map_or(FRAME, |before| before.min(FRAME)))?;
        self.left = self.left.saturating_sub(piece.len() as u64);
        if let Some(change) = &mut self.change {
            change.before = change.before.saturating_sub(piece.len() as u64);
        }
        Some(piece)
    }

    fn pass_over(&mut self, bytes: u64) {
        let mut rest = bytes;
        while let Some(most) = usize::try_from(rest).ok().filter(|most| *most > 0)
            && let Some(piece) = self.piece(most)
        {
            rest = rest.saturating_sub(piece.len() as u64);
        }
    }

    /// The next bytes of the frames, at least one, at most so many, all of one frame.
    fn piece(&mut self, most: usize) -> Option<Bytes> {
        loop {
            let frame = self.frames.get(self.done)?;
            let rest = frame.len().saturating_sub(self.offset);
            let size = rest.min(most);
            let start = self.offset;
            let piece = frame.slice(start..start + size);
            if size == rest {
                self.done += 1;
                self.offset = 0;
            } else {
                self.offset += size;
            }
            if size > 0 {
                return Some(piece);
            }
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(mut body: Outgoing) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while let Some(piece) = body.next() {
            pieces.push(piece);
            assert_eq!(body.is_end_stream(), body.left == 0);
        }
        pieces
    }

    #[test]
    fn no_body_is_at_its_end_from_the_start() {
        assert!(Outgoing::empty().is_end_stream());
        assert_eq!(Outgoing::empty().size_hint().exact(), Some(0));
        assert!(drain(Outgoing::held(Arc::from([Bytes::new(), Bytes::new()]))).is_empty());
    }

    proptest! {
        // F3
        #[test]
        fn all_bytes_come_out_in_order_and_in_small_frames(
            sizes in proptest::collection::vec(prop_oneof![0usize..10, 65_000usize..200_000], 0..6),
            seed in any::<u8>(),
        ) {
            let mut whole = Vec::new();
            let frames: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(index, size)| Bytes::from(vec![seed.wrapping_add(index as u8); *size]))
                .collect();
            for frame in &frames {
                whole.extend_from_slice(frame);
            }
            let body = Outgoing::held(frames.into());
            prop_assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
            prop_assert_eq!(body.is_end_stream(), whole.is_empty());
            let pieces = drain(body.clone());
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= FRAME));
            prop_assert_eq!(pieces.concat(), whole.clone());
            prop_assert_eq!(drain(body).concat(), whole);
        }

        // F10
        #[test]
        fn a_change_replaces_its_place_and_nothing_else(
            sizes in proptest::collection::vec(prop_oneof![3 => 0usize..4, 1 => 65_000usize..140_000], 1..7),
            (from, to) in any::<(prop::sample::Index, prop::sample::Index)>(),
            instead in proptest::collection::vec(any::<u8>(), 0..5),
        ) {
            let frames: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(index, size)| (0..*size).map(|at| (at * 7 + index) as u8).collect())
                .collect();
            let mut whole = frames.concat();
            let ends = [from.index(whole.len() + 1), to.index(whole.len() + 1)];
            let (start, end) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            let body = Outgoing::held(frames.into());
            let changed = body.with(&(start as u64..end as u64), &Bytes::from(instead.clone()));
            prop_assert_eq!(drain(body).concat(), whole.clone());
            whole.splice(start..end, instead);
            prop_assert_eq!(changed.size_hint().exact(), Some(whole.len() as u64));
            prop_assert_eq!(changed.is_end_stream(), whole.is_empty());
            let pieces = drain(changed.clone());
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= FRAME));
            prop_assert_eq!(pieces.concat(), whole.clone());
            prop_assert_eq!(drain(changed).concat(), whole);
        }
    }
}
