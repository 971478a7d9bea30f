//! AWS binary event streams, as far as an answer's meaning needs them: the headers that name an event or an
//! exception, and its payload. Checksums of payloads are not verified: a reader aside need not refuse them.

use std::borrow::Cow;

use super::body::Piece;

/// Length of the part in front of a frame's headers: total length, length of headers, checksum of both.
const PRELUDE: usize = 12;
/// Length of the checksum at a frame's end.
const CHECKSUM: usize = 4;

/// Whether the bytes begin with a frame: the checksum of its first eight bytes says so.
pub(super) fn is_event_stream(body: &[u8]) -> bool {
    let (Some(prelude), Some(checksum)) = (body.get(..8), number(body, 8)) else {
        return false;
    };
    let mut crc = flate2::Crc::new();
    crc.update(prelude);
    crc.sum() == checksum
}

/// The whole frames in order; an exception is an event of its own type's name. Ends at the first broken one.
pub(super) fn events(mut body: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let total = usize::try_from(number(body, 0)?).ok()?;
        let frame = body.get(..total)?;
        body = body.get(total..)?;
        let headers_end = PRELUDE.checked_add(usize::try_from(number(frame, 4)?).ok()?)?;
        let headers = frame.get(PRELUDE..headers_end)?;
        let payload = frame.get(headers_end..total.checked_sub(CHECKSUM)?)?;
        Some(piece(headers, payload))
    })
}

fn piece<'a>(headers: &'a [u8], payload: &'a [u8]) -> Piece<'a> {
    let mut event = None;
    let mut exception = None;
    let mut is_exception = false;
    for (name, value) in (Headers { rest: headers }) {
        match name {
            b":event-type" => event = Some(value),
            b":exception-type" | b":error-code" => exception = Some(value),
            b":message-type" => is_exception = matches!(value, b"exception" | b"error"),
            _ => {}
        }
    }
    if is_exception {
        let kind = String::from_utf8_lossy(exception.unwrap_or_default());
        // The type stands outside the payload: put in as AWS's own JSON protocols do.
        let object = serde_json::json!({
            "__type": kind,
            "message": super::body::tree(payload).unwrap_or_default(),
        });
        return Piece {
            event: Some(Cow::Borrowed("exception")),
            data: Cow::Owned(object.to_string().into_bytes()),
        };
    }
    Piece {
        event: event.map(String::from_utf8_lossy),
        data: Cow::Borrowed(payload),
    }
}

/// The headers of type string, by name.
struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (length, rest) = self.rest.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            let (kind, rest) = rest.split_first()?;
            let size = match kind {
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                5 | 8 => 8,
                9 => 16,
                6 | 7 => {
                    let high = usize::from(*rest.first()?);
                    2 + (high << 8 | usize::from(*rest.get(1)?))
                }
                _ => return None,
            };
            let (value, rest) = rest.split_at_checked(size)?;
            self.rest = rest;
            if *kind == 7 {
                return Some((name, value.get(2..)?));
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut named = Vec::new();
        for (name, value) in headers {
            named.push(name.len() as u8);
            named.extend_from_slice(name.as_bytes());
            named.push(7);
            named.extend_from_slice(&(value.len() as u16).to_be_bytes());
            named.extend_from_slice(value.as_bytes());
        }
        let total = PRELUDE + named.len() + payload.len() + CHECKSUM;
        let mut frame = (total as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&(named.len() as u32).to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&frame);
        frame.extend_from_slice(&crc.sum().to_be_bytes());
        frame.extend_from_slice(&named);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&[0; CHECKSUM]);
        frame
    }

    // D2: event-stream exceptions are verdicts too.
    #[test]
    fn frames_become_events_and_exceptions_keep_their_type() {
        let mut body = frame(
            &[(":message-type", "event"), (":event-type", "metadata")],
            b"{\"usage\":{}}",
        );
        body.extend(frame(
            &[
                (":message-type", "exception"),
                (":exception-type", "throttlingException"),
            ],
            b"{\"message\":\"slow\"}",
        ));
        body.extend(&body.clone()[..20]);
        assert!(is_event_stream(&body));
        let read: Vec<_> = events(&body).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].event.as_deref(), Some("metadata"));
        assert_eq!(read[1].event.as_deref(), Some("exception"));
        let exception = String::from_utf8_lossy(&read[1].data).into_owned();
        assert!(exception.contains("throttlingException"));
    }

    #[test]
    fn broken_frames_end_the_stream_without_harm() {
        let whole = frame(&[(":message-type", "event")], b"{}");
        for cut in 0..whole.len() {
            assert_eq!(events(&whole[..cut]).count(), 0);
        }
        assert!(!is_event_stream(b"data: {}\n\ndata: {}"));
        assert_eq!(events(&[0; 64]).count(), 0);
    }
}
