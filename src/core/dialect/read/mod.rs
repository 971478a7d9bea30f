//! Reading bodies as they pass: requests for what decides where they go, answers for what they report. Nothing here
//! holds a body or builds a tree of one; bytes pass unchanged whatever is found. Readers are fed pieces cut
//! anywhere, and the cuts change nothing (a property test of each).

pub mod body;
mod decode;
mod json;
mod members;
mod report;
pub mod request;
mod skip;
mod stream;
mod table;
mod text;

/// Ways to cut a body, for tests.
#[cfg(test)]
pub(crate) mod cuts {
    use proptest::prelude::*;

    /// Pieces of these lengths, over and over; empty ones too.
    pub(crate) fn pieces<'a>(body: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        assert!(lengths.iter().any(|&length| length > 0));
        let mut pieces = Vec::new();
        let mut rest = body;
        for &length in lengths.iter().cycle() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        pieces
    }

    /// Lengths of pieces: mostly short, so that every place is cut some day.
    pub(crate) fn lengths() -> impl Strategy<Value = Vec<usize>> {
        let length = prop_oneof![4 => 0usize..9, 1 => 9usize..400];
        prop::collection::vec(length, 1..8).prop_map(|mut lengths| {
            lengths.push(1);
            lengths
        })
    }
}
