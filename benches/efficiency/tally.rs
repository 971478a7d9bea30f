//! What happened, counted, and what it comes to. Goodput, waits and fairness are of the measured time; refusals, the
//! clients' and the provider's, count from the very start, when nothing has been learned.

use super::chooser::Fault;
use super::load::SECOND;

/// What is reported of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Units served in the measured time, of all that the limits held and gained in it.
    Goodput,
    /// Of the units asked for in the measured time, those served in the end.
    Served,
    /// 429s that clients saw, per 1,000 requests.
    Client429,
    /// Other failures that clients saw, per 1,000 requests.
    ClientFaults,
    /// 429s of the provider, per 1,000 requests.
    Upstream429,
    /// Seconds from the arrival to the grant that led to an answer: median.
    P50,
    /// The same: 99th percentile.
    P99,
    /// Jain's index of what each client was served, of his fair share or what he asked for if that is less.
    Jain,
    /// The wait of the last client: 99th percentile.
    SmallP99,
    /// Of the last client's requests, those served.
    SmallServed,
    /// From the burst to its last grant, of the ideal time.
    Drain,
    /// Tries per request while everything is answered 529.
    OutageTries,
    /// Seconds from the end of that to the arrival of the last request that fared badly for it.
    Recovery,
}

/// How many there are.
pub const METRICS: usize = 13;

/// By [`Metric`]; not a number where it does not apply.
pub type Figures = [f64; METRICS];

/// A request that waits longer after an outage has not been served as usual.
const LONG: u64 = SECOND / 2;
/// How long after an outage is looked at.
const LOOK: u64 = 20 * SECOND;

/// What happened to one request.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// When it came.
    pub arrival: u64,
    /// Whose it was.
    pub client: usize,
    /// What it takes of what binds.
    pub units: f64,
    /// From arrival to the grant that led to an answer.
    pub wait: Option<u64>,
    /// What it was told instead.
    pub fault: Option<Fault>,
}

/// Of one run.
#[derive(Default)]
pub struct Tally {
    /// Of every request, in the order of arrival.
    pub fates: Vec<Fate>,
    /// 429s of the provider.
    pub upstream: u64,
    /// Attempts.
    pub attempts: u64,
    /// Units that the limiter let through in the measured time, by client.
    pub taken: Vec<f64>,
    /// What there was to take in that time, other consumers' share taken off.
    pub supply: f64,
    /// Attempts and requests while everything was answered 529.
    pub outage: (u64, u64),
    /// The instants that bound the run.
    pub span: Span,
    /// Seconds that the burst takes at best.
    pub ideal: Option<f64>,
    /// When the last of the burst went.
    pub drained: u64,
}

/// The instants that bound a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// The measured time begins.
    pub from: u64,
    /// It ends.
    pub to: u64,
    /// The burst comes.
    pub burst: Option<u64>,
    /// The outage.
    pub outage: Option<(u64, u64)>,
}

impl Tally {
    /// What it comes to.
    pub fn figures(&self) -> Figures {
        let mut figures = [f64::NAN; METRICS];
        let mut put = |metric: Metric, value: f64| figures[metric as usize] = value;
        let all = self.fates.len().max(1) as f64;
        let measured: Vec<&Fate> = self
            .fates
            .iter()
            .filter(|fate| self.measures(fate))
            .collect();
        let taken: f64 = self.taken.iter().sum();
        put(Metric::Goodput, taken / self.supply);
        put(Metric::Served, served(measured.iter().copied()));
        let seen = |wanted: fn(Fault) -> bool| {
            let faults = self.fates.iter().filter_map(|fate| fate.fault);
            faults.filter(|fault| wanted(*fault)).count() as f64 * 1_000.0 / all
        };
        put(Metric::Client429, seen(|fault| fault == Fault::Limited));
        put(Metric::ClientFaults, seen(|fault| fault != Fault::Limited));
        put(Metric::Upstream429, self.upstream as f64 * 1_000.0 / all);
        let waits = measured.iter().filter_map(|fate| fate.wait);
        let waits = sorted(waits);
        put(Metric::P50, quantile(&waits, 0.5));
        put(Metric::P99, quantile(&waits, 0.99));
        let clients = self.taken.len();
        put(Metric::Jain, self.jain(&measured));
        let small = || measured.iter().filter(|fate| fate.client + 1 == clients);
        let waits = sorted(small().filter_map(|fate| fate.wait));
        put(Metric::SmallP99, quantile(&waits, 0.99));
        put(Metric::SmallServed, served(small().copied()));
        put(Metric::Drain, self.drain());
        put(Metric::OutageTries, self.outage_tries());
        put(Metric::Recovery, self.recovery());
        figures
    }

    fn drain(&self) -> f64 {
        let (Some(burst), Some(ideal)) = (self.span.burst, self.ideal) else {
            return f64::NAN;
        };
        if self.fates.iter().any(|fate| fate.fault.is_some()) {
            return f64::INFINITY;
        }
        (self.drained - burst) as f64 / SECOND as f64 / ideal
    }

    fn outage_tries(&self) -> f64 {
        let (attempts, requests) = self.outage;
        attempts as f64 / requests as f64
    }

    fn recovery(&self) -> f64 {
        let Some((_, end)) = self.span.outage else {
            return f64::NAN;
        };
        let after = |fate: &&Fate| (end..end + LOOK).contains(&fate.arrival);
        let badly = |fate: &&Fate| fate.wait.is_none_or(|wait| wait > LONG);
        let fates = self.fates.iter().filter(after).filter(badly);
        let last = fates.map(|fate| fate.arrival - end).max().unwrap_or(0);
        last as f64 / SECOND as f64
    }

    fn measures(&self, fate: &Fate) -> bool {
        (self.span.from..self.span.to).contains(&fate.arrival)
    }

    fn jain(&self, measured: &[&Fate]) -> f64 {
        let mut asked = vec![0.0; self.taken.len()];
        for fate in measured {
            asked[fate.client] += fate.units;
        }
        let fair = fair_shares(&asked, self.supply);
        let shares = self
            .taken
            .iter()
            .zip(fair)
            .map(|(taken, fair)| taken / fair.max(1e-9));
        let (sum, squares, count) = shares.fold((0.0, 0.0, 0.0), |(sum, squares, count), share| {
            (sum + share, squares + share * share, count + 1.0)
        });
        sum * sum / (count * squares)
    }
}

/// What each is due: all that he asks for, or an equal share of what the others leave.
fn fair_shares(asked: &[f64], supply: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by(|one, other| asked[*one].total_cmp(&asked[*other]));
    let mut left = supply;
    let mut shares = vec![0.0; asked.len()];
    for (done, &client) in order.iter().enumerate() {
        shares[client] = asked[client].min(left / (asked.len() - done) as f64);
        left -= shares[client];
    }
    shares
}

fn served<'a>(fates: impl Iterator<Item = &'a Fate>) -> f64 {
    let (mut asked, mut served) = (0.0, 0.0);
    for fate in fates {
        asked += fate.units;
        served += if fate.wait.is_some() { fate.units } else { 0.0 };
    }
    served / asked
}

fn sorted(waits: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut waits: Vec<u64> = waits.collect();
    waits.sort_unstable();
    waits
}

fn quantile(sorted: &[u64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    let value = sorted.get(at.min(sorted.len().saturating_sub(1)));
    value.map_or(f64::NAN, |micros| *micros as f64 / SECOND as f64)
}
