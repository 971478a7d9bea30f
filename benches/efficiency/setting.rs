//! What a setting is made of: its provider, its load, its clients. Sizes are uneven: 1, 1, 2, 2, 3, 4, 5 and 6 times the
//! limits of the smallest.

use authpool::core::limit::reading::Dimension;

use super::load::SECOND;
use super::provider::Plan;
use super::tally::Metric;
use super::words::Habit;

/// Requests a minute of a size of one, both models together, where requests bind.
const REQUESTS: f64 = 50.0;
/// Prompt tokens a minute of a size of one, where tokens bind.
const TOKENS: f64 = 100_000.0;
/// A dimension that does not bind has this many times what the binding one lets through.
const LOOSE: f64 = 2.5;
/// Of a request, roughly: only what does not bind is sized by them.
const INPUT: f64 = 4_000.0;
const OUTPUT: f64 = 420.0;

/// Keys 2 and 5 may be of one account.
const SHARERS: [usize; 2] = [2, 5];
/// The key that flaps, or whose account others use.
const MARKED: usize = 5;

/// Whether two keys share an account, and who knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each its own.
    None,
    /// The configuration names the domain.
    Told,
    /// The answers name the organisation.
    Answers,
    /// Nothing says so.
    Hidden,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Four, alike.
    Four,
    /// Two, of which the first offers ten times the other's load.
    Greedy,
    /// Two, of which the first has a low priority and offers twice the other's load.
    Bulk,
}

impl Clients {
    /// How much of the load each has.
    pub fn shares(self) -> &'static [f64] {
        match self {
            Self::Four => &[0.25; 4],
            Self::Greedy => &[10.0 / 11.0, 1.0 / 11.0],
            Self::Bulk => &[2.0 / 3.0, 1.0 / 3.0],
        }
    }
}

/// A number that is to be reached: at least, or at most.
pub type Target = (Metric, bool, f64);

/// One setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// As `--setting` takes it.
    pub name: &'static str,
    /// Whose limits.
    pub habit: Habit,
    /// What binds.
    pub bound: Dimension,
    /// Offered load in shares of capacity.
    pub load: f64,
    /// Whether limits are stated in headers.
    pub stated: bool,
    /// Two keys of one account.
    pub sharing: Sharing,
    /// Another consumer takes so much of one account.
    pub foreign: f64,
    /// One key flaps.
    pub flap: bool,
    /// 529 from the first to the second second of the measured time.
    pub outage: Option<(u64, u64)>,
    /// So many requests at once, this many seconds after the start; nothing comes after.
    pub burst: Option<(usize, u64)>,
    /// The limits of one account change: when, in seconds of the measured time, and by which factor.
    pub change: Option<(u64, f64)>,
    /// How full the buckets are at the start: a share.
    pub start: f64,
    /// Who asks.
    pub clients: Clients,
    /// How long windows are, in seconds.
    pub window: u64,
    /// Whether all windows begin together; else each account's at an instant of its own.
    pub aligned: bool,
    /// Multiplies the limits.
    pub scale: f64,
    /// Multiplies the length of answers.
    pub slowness: f64,
    /// What the issue asks of `headroom`.
    pub targets: Vec<Target>,
}

impl Setting {
    /// Plain.
    pub fn new(name: &'static str, habit: Habit, bound: Dimension, load: f64) -> Self {
        Self {
            name,
            habit,
            bound,
            load,
            stated: habit != Habit::Gemini,
            sharing: Sharing::None,
            foreign: 0.0,
            flap: false,
            outage: None,
            burst: None,
            change: None,
            start: 1.0,
            window: 60,
            aligned: false,
            clients: Clients::Four,
            scale: 1.0,
            slowness: 1.0,
            targets: Vec::new(),
        }
    }

    /// With targets; below capacity no client sees a 429.
    pub fn aims(mut self, targets: &[Target]) -> Self {
        self.targets.extend_from_slice(targets);
        if self.load < 1.0 {
            self.targets.push((Metric::Client429, false, 0.0));
        }
        self
    }

    /// The provider that it takes. `from`: when the measured time begins.
    pub fn plan(&self, from: u64) -> Plan {
        let mut sizes = vec![1, 1, 2, 2, 3, 4, 5, 6];
        let mut accounts: Vec<usize> = (0..sizes.len()).collect();
        if self.sharing != Sharing::None {
            let [one, other] = SHARERS;
            accounts[one] = accounts[other];
            sizes[one] = 0;
        }
        let at = |second: u64| from + second * SECOND;
        Plan {
            habit: self.habit,
            stated: self.stated,
            named: self.sharing != Sharing::Hidden,
            sizes,
            accounts,
            rates: self.rates(),
            aligned: self.aligned,
            window: self.window * SECOND,
            start: self.start,
            flap: self.flap.then_some(MARKED),
            outage: self.outage.map(|(begins, ends)| (at(begins), at(ends))),
        }
    }

    /// The account that another consumer uses too, or whose limits change.
    pub fn marked_account(&self) -> usize {
        MARKED
    }

    /// The domain that the configuration names for each key.
    pub fn domains(&self) -> Vec<Option<&'static str>> {
        let named =
            |key| (self.sharing == Sharing::Told && SHARERS.contains(&key)).then_some("shared");
        (0..8).map(named).collect()
    }

    /// What an operator would give each key as its weight.
    pub fn weights(&self) -> [u16; 8] {
        [1, 1, 2, 2, 3, 4, 5, 6]
    }

    fn rates(&self) -> Vec<(Dimension, f64)> {
        let requests = match self.bound {
            Dimension::Requests => REQUESTS,
            Dimension::InputTokens => TOKENS / INPUT * LOOSE,
            Dimension::OutputTokens => REQUESTS * LOOSE,
            Dimension::Tokens => TOKENS / (INPUT + OUTPUT) * LOOSE,
        };
        let of = |bound, tokens: f64| {
            if self.bound == bound {
                return if bound == Dimension::OutputTokens {
                    REQUESTS * OUTPUT
                } else {
                    TOKENS
                };
            }
            let let_through = if self.bound == Dimension::Requests {
                REQUESTS
            } else {
                requests / LOOSE
            };
            let_through * tokens * LOOSE
        };
        let rates = match self.habit {
            Habit::Anthropic => vec![
                (Dimension::Requests, requests),
                (Dimension::InputTokens, of(Dimension::InputTokens, INPUT)),
                (Dimension::OutputTokens, of(Dimension::OutputTokens, OUTPUT)),
            ],
            Habit::OpenAi => vec![
                (Dimension::Requests, requests),
                (
                    Dimension::Tokens,
                    of(Dimension::Tokens, 2.0 * (INPUT + OUTPUT)),
                ),
            ],
            Habit::Gemini => vec![(
                self.bound,
                if self.bound == Dimension::Requests {
                    REQUESTS
                } else {
                    TOKENS
                },
            )],
        };
        let scaled = |(dimension, rate)| (dimension, rate * self.scale);
        rates.into_iter().map(scaled).collect()
    }
}
