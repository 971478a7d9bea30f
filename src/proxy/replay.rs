//! A request's body, kept once and in full, so that every attempt sends the same bytes (F5). Bounded twice: by the
//! limit of one body and by one budget for the process, charged as bytes arrive and given back at commit.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::kept::Kept;
use super::refusal::Reason;
use crate::core::dialect::read::request::RequestReader;
use crate::tasks::Tasks;
use crate::upstream::Outgoing;

/// The budget counts in units of this many bytes: a semaphore of bytes could not count far enough.
const UNIT: u64 = 1024;
const BEGIN_WAIT: Duration = Duration::from_secs(5);
const GAP: Duration = Duration::from_secs(30);
/// The least that a frame costs on the mean: its place in the list, and the framing in the buffer that it is part of.
const FRAME: u64 = 64;
const MEMORY: &str = "the memory for request bodies";

/// What all held bodies together may take. Clones share it.
#[derive(Clone, Debug)]
pub struct BodyMemory(Arc<Semaphore>);

impl BodyMemory {
    /// A budget in bytes, rounded up to KiB.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// What is free, in bytes.
    pub fn free(&self) -> u64 {
        u64::try_from(self.0.available_permits())
            .unwrap_or(u64::MAX)
            .saturating_mul(UNIT)
    }

    /// The first unit, waited for at most 5 s while nothing of the body is read.
    async fn begin(&self) -> Result<Charge, Reason> {
        let permit = match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(BEGIN_WAIT, Arc::clone(&self.0).acquire_owned())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or(Reason::QueueFull(MEMORY))?,
        };
        Ok(Charge {
            permit,
            units: 1,
            bytes: 0,
            frames: 0,
        })
    }
}

/// The part of the budget that one body holds; dropping it gives it back.
#[derive(Debug)]
struct Charge {
    permit: OwnedSemaphorePermit,
    units: u64,
    bytes: u64,
    frames: u64,
}

impl Charge {
    /// One more frame of so many bytes.
    fn add(&mut self, memory: &BodyMemory, bytes: u64) -> Result<(), Reason> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.frames = self.frames.saturating_add(1);
        let cost = self.bytes.max(self.frames.saturating_mul(FRAME));
        let more = cost.div_ceil(UNIT).saturating_sub(self.units);
        if more == 0 {
            return Ok(());
        }
        let units = u32::try_from(more).map_err(|_| Reason::QueueFull(MEMORY))?;
        let permit = Arc::clone(&memory.0)
            .try_acquire_many_owned(units)
            .map_err(|_| Reason::QueueFull(MEMORY))?;
        self.permit.merge(permit);
        self.units += more;
        Ok(())
    }
}

/// A body held whole. Dropping it frees its memory.
#[derive(Debug)]
pub struct Held {
    outgoing: Outgoing,
    bytes: u64,
    _charge: Option<Charge>,
}

impl Held {
    /// One more copy to send: shares the bytes.
    pub fn outgoing(&self) -> Outgoing {
        self.outgoing.clone()
    }

    /// The same with other bytes in this place.
    pub fn outgoing_with(&self, place: &Range<u64>, instead: &Bytes) -> Outgoing {
        self.outgoing.with(place, instead)
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Reads the body to its end, showing each piece to the reader as it comes.
///
/// # Errors
/// Too large, too slow, broken, named `model` twice, or no memory for it. The rest of the body is then left to
/// [`discard`], which is given it through `body`.
pub async fn hold(
    body: &mut Incoming,
    limit: u64,
    memory: &BodyMemory,
    reader: &mut RequestReader,
) -> Result<Held, Reason> {
    if body.is_end_stream() {
        return Ok(Held {
            outgoing: Outgoing::empty(),
            bytes: 0,
            _charge: None,
        });
    }
    if body.size_hint().lower() > limit {
        return Err(Reason::BodyTooLarge { limit });
    }
    let mut charge = memory.begin().await?;
    let mut kept = Kept::default();
    while let Some(frame) = next(body).await? {
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if charge.bytes.saturating_add(length) > limit {
            return Err(Reason::BodyTooLarge { limit });
        }
        charge.add(memory, length)?;
        reader.feed(&frame);
        if let Some(fault) = reader.fault() {
            return Err(Reason::Invalid(fault.to_string().into()));
        }
        kept.push(frame).map_err(|_| Reason::QueueFull(MEMORY))?;
    }
    let bytes = charge.bytes;
    Ok(Held {
        outgoing: Outgoing::held(kept.finish()),
        bytes,
        _charge: Some(charge),
    })
}

/// The next data frame; trailers are dropped (F1). `None`: the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Reason> {
    loop {
        let frame = match tokio::time::timeout(GAP, body.frame()).await {
            Err(_) => return Err(Reason::BodyTimeout),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Reason::Invalid("the request's body broke off".into())),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
}

/// Reads on beside an answer that came early, so that the client gets to read it: a client that is still sending
/// would see a reset instead. At most 64 MiB and 5 s; a body nobody asked for yet (`expect`) is left alone.
pub fn discard(mut body: Incoming, expects_continue: bool, tasks: &Tasks) {
    const MOST: u64 = 64 * 1024 * 1024;
    if expects_continue || body.is_end_stream() {
        return;
    }
    tasks.spawn(async move {
        let read_on = async {
            let mut bytes = 0u64;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame
                    .data_ref()
                    .map_or(0, |data| u64::try_from(data.len()).unwrap_or(0));
                if bytes > MOST {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), read_on).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    // F5, K3: a body in frames of one byte must not take many times what it is charged
    #[tokio::test]
    async fn small_frames_are_charged_for_what_they_take() {
        let memory = BodyMemory::new(1024 * UNIT);
        let mut charge = memory.begin().await.unwrap();
        for _ in 0..1024 {
            charge.add(&memory, 1).unwrap();
        }
        assert_eq!(charge.bytes, 1024);
        assert_eq!(memory.free(), (1024 - 64) * UNIT);
        let refused = (0..1024 * 1024).any(|_| charge.add(&memory, 1).is_err());
        assert!(refused, "by the budget, far from its bytes");
        drop(charge);
        assert_eq!(memory.free(), 1024 * UNIT);
    }
}
