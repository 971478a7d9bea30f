//! The table, and what stands between the default strategy and the targets.

use super::setting::{Setting, Target};
use super::tally::{Figures, METRICS, Metric};

/// How a metric is printed: its head, and the digits behind the point.
const COLUMNS: [(Metric, &str, usize); METRICS] = [
    (Metric::Goodput, "goodput", 4),
    (Metric::Served, "served", 4),
    (Metric::Client429, "client429", 2),
    (Metric::ClientFaults, "client5xx", 2),
    (Metric::Upstream429, "upstr429", 2),
    (Metric::P50, "p50 s", 3),
    (Metric::P99, "p99 s", 3),
    (Metric::Jain, "jain", 4),
    (Metric::SmallP99, "small p99", 3),
    (Metric::SmallServed, "small", 4),
    (Metric::Drain, "drain", 3),
    (Metric::OutageTries, "tries", 3),
    (Metric::Recovery, "recovery", 3),
];

const WIDTH: usize = 10;

/// The runs of one strategy in one setting, a seed each.
pub struct Runs<'a> {
    /// Which setting.
    pub setting: &'a Setting,
    /// Which strategy or baseline.
    pub chooser: String,
    /// By seed.
    pub figures: Vec<Figures>,
}

impl Runs<'_> {
    /// Over the seeds.
    fn mean(&self, metric: Metric) -> f64 {
        let sum: f64 = self.figures.iter().map(|run| run[metric as usize]).sum();
        sum / self.figures.len() as f64
    }

    /// The least or the most of the seeds: the worse one.
    fn worst(&self, metric: Metric) -> f64 {
        let values = self.figures.iter().map(|run| run[metric as usize]);
        if more_is_better(metric) {
            values.fold(f64::NAN, f64::min)
        } else {
            values.fold(f64::NAN, f64::max)
        }
    }
}

fn more_is_better(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Goodput | Metric::Served | Metric::Jain | Metric::SmallServed
    )
}

/// The columns that a setting fills.
fn columns(setting: &Setting) -> impl Iterator<Item = &'static (Metric, &'static str, usize)> {
    let two = setting.clients.shares().len() == 2;
    COLUMNS.iter().filter(move |(metric, ..)| match metric {
        Metric::SmallP99 | Metric::SmallServed => two,
        Metric::Drain => setting.burst.is_some(),
        Metric::OutageTries | Metric::Recovery => setting.outage.is_some(),
        Metric::Goodput | Metric::Jain => setting.burst.is_none(),
        _ => true,
    })
}

/// The head of a setting's table.
pub fn head(setting: &Setting, rate: f64) {
    println!(
        "\n{}: {:?}, {} bound, load {}, capacity {rate:.2} requests/s",
        setting.name,
        setting.habit,
        setting.bound.name(),
        setting.load
    );
    let names: String = columns(setting)
        .map(|(_, name, _)| format!("{name:>WIDTH$}"))
        .collect();
    println!("  {:<24}{names}", "mean (and worst seed)");
}

/// A strategy's rows: the mean, and below it the worst where it differs.
pub fn row(runs: &Runs<'_>) {
    let line = |value: &dyn Fn(Metric) -> f64| -> String {
        columns(runs.setting)
            .map(|(metric, _, digits)| format!("{:>WIDTH$}", number(value(*metric), *digits)))
            .collect()
    };
    println!(
        "  {:<24}{}",
        runs.chooser,
        line(&|metric| runs.mean(metric))
    );
    if runs.figures.len() > 1 {
        println!("  {:<24}{}", "", line(&|metric| runs.worst(metric)));
    }
}

/// A line for each target of the setting; returns how many are missed.
pub fn targets(runs: &Runs<'_>) -> usize {
    let mut missed = 0;
    for (metric, at_least, wanted) in &runs.setting.targets {
        let target: &Target = &(*metric, *at_least, *wanted);
        let value = runs.mean(target.0);
        let met = if target.1 {
            value >= target.2
        } else {
            value <= target.2
        };
        missed += usize::from(!met);
        let (_, name, digits) = COLUMNS[*metric as usize];
        println!(
            "  {:<24}{name:>WIDTH$} {:>9} {} {wanted:<7} {}",
            runs.setting.name,
            number(value, digits),
            if *at_least { ">=" } else { "<=" },
            if met { "met" } else { "MISSED" }
        );
    }
    missed
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else {
        format!("{value:.digits$}")
    }
}
