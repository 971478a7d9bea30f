//! The lowest and the highest value that an account had since an instant (SPEC 16.2). Law: what is told holds every
//! value since then; beyond the room for turns it holds some more.

use crate::core::time::Timestamp;

/// Turns that are told apart.
const TURNS: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    at: Timestamp,
    value: f64,
}

/// One side: the lowest values, or by the sign the highest. Later turns are less extreme than earlier ones.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    turns: [Turn; TURNS],
    len: u8,
}

impl Side {
    /// Notes a value; all that it outdoes is forgotten.
    fn push(&mut self, at: Timestamp, value: f64) {
        let outdone = |turn: &&Turn| value <= turn.value;
        let kept = usize::from(self.len);
        let gone = self.turns.iter().take(kept).rev().take_while(outdone);
        let mut kept = kept - gone.count();
        if kept == TURNS {
            // The oldest two become one, as extreme as the older and as young as the other.
            let value = self.turns.first().map_or(value, |oldest| oldest.value);
            self.turns.copy_within(1.., 0);
            if let Some(oldest) = self.turns.first_mut() {
                oldest.value = value;
            }
            kept -= 1;
        }
        if let Some(turn) = self.turns.get_mut(kept) {
            *turn = Turn { at, value };
        }
        self.len = u8::try_from(kept + 1).unwrap_or(u8::MAX);
    }

    fn since(&self, at: Timestamp) -> Option<f64> {
        let mut turns = self.turns.iter().take(usize::from(self.len));
        turns.find(|turn| at <= turn.at).map(|turn| turn.value)
    }

    fn shift(&mut self, by: f64) {
        for turn in &mut self.turns {
            turn.value += by;
        }
    }
}

/// Both sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extremes {
    lows: Side,
    /// With the sign turned.
    highs: Side,
}

impl Extremes {
    /// Notes a value that the account has now.
    pub fn note(&mut self, at: Timestamp, value: f64) {
        self.lows.push(at, value);
        self.highs.push(at, -value);
    }

    /// The lowest and the highest value noted at or after the instant; `None`: none was.
    pub fn since(&self, at: Timestamp) -> Option<(f64, f64)> {
        Some((self.lows.since(at)?, -self.highs.since(at)?))
    }

    /// The account was mistaken by so much all the time.
    pub fn shift(&mut self, by: f64) {
        self.lows.shift(by);
        self.highs.shift(-by);
    }

    /// It may have been mistaken by so much at any time.
    pub fn raise(&mut self, by: f64) {
        self.highs.shift(-by);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // 16.2
        #[test]
        fn what_is_told_holds_every_value_since(values in prop::collection::vec(-50_i32..50, 1..60), from in 0_usize..60) {
            let mut extremes = Extremes::default();
            for (at, value) in values.iter().enumerate() {
                extremes.note(Timestamp::from_micros(at as u64), f64::from(*value));
            }
            let from = from % values.len();
            let (low, high) = extremes.since(Timestamp::from_micros(from as u64)).unwrap();
            let since = values.iter().skip(from);
            let (least, most) = (since.clone().min().unwrap(), since.max().unwrap());
            prop_assert!(low <= f64::from(*least) && f64::from(*most) <= high);
            if values.len() <= TURNS {
                prop_assert_eq!((low, high), (f64::from(*least), f64::from(*most)));
            }
        }
    }

    #[test]
    fn nothing_is_told_of_what_is_to_come() {
        let mut extremes = Extremes::default();
        extremes.note(Timestamp::from_micros(5), 1.0);
        assert_eq!(extremes.since(Timestamp::from_micros(6)), None);
    }
}
