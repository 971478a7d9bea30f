//! How much of the pooled capacity becomes answers, and what it costs in refusals and waits (X5): every strategy and
//! two baselines, on simulated providers with the limits' real semantics, from a start with nothing learned.
//!
//! `cargo bench --bench efficiency` runs every setting with three seeds on virtual time, where an hour takes seconds,
//! and then some of them on real sockets, against the release binary. `-- --setting NAME --strategy NAME --seconds N
//! --seed N --trace --virtual --real` narrows it; names may be cut short. Started by `cargo test`, it runs one short
//! setting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)] // a program to be run by hand
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod baseline;
mod bucket;
mod capacity;
mod check;
mod chooser;
mod driver;
mod load;
mod options;
mod oracle;
mod pooled;
mod process;
mod provider;
mod reader;
mod real;
mod report;
mod setting;
mod settings;
mod tally;
mod trace;
mod words;

use std::time::Duration;

use authpool::core::choice::strategy::Strategy;
use authpool::core::time::Timestamp;

use self::baseline::{AtRandom, InTurn};
use self::chooser::Chooser;
use self::driver::{Driver, START};
use self::options::Options;
use self::oracle::Oracle;
use self::pooled::{Fleet, Pooled};
use self::report::Runs;
use self::setting::Setting;
use self::tally::Figures;

const KEYS: usize = 8;

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Pooled(Strategy),
    InTurn,
    AtRandom,
    Oracle,
}

impl Contender {
    fn all() -> impl Iterator<Item = Self> {
        let pooled = Strategy::ALL.into_iter().map(Self::Pooled);
        pooled.chain([Self::InTurn, Self::AtRandom, Self::Oracle])
    }

    fn name(self) -> String {
        match self {
            Self::Pooled(strategy) => strategy.name().to_owned(),
            Self::InTurn => "baseline-in-turn".to_owned(),
            Self::AtRandom => "baseline-random".to_owned(),
            Self::Oracle => "oracle".to_owned(),
        }
    }

    fn chooser(self, setting: &Setting, seed: u64) -> Box<dyn Chooser> {
        match self {
            Self::Pooled(strategy) => {
                let fleet = Fleet {
                    strategy,
                    weights: &setting.weights(),
                    domains: setting.domains(),
                    habit: setting.habit,
                    max_waiting: if setting.load > 1.0 { 10_000 } else { 1_000 },
                    max_wait: Duration::from_secs(30),
                };
                Box::new(Pooled::new(&fleet, seed, Timestamp::from_micros(START)))
            }
            Self::InTurn => Box::new(InTurn::new(KEYS)),
            Self::AtRandom => Box::new(AtRandom::new(KEYS, seed)),
            Self::Oracle => {
                let plan = setting.plan(START);
                let start = Timestamp::from_micros(START);
                Box::new(Oracle::new(plan, setting.bound, seed, start))
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` starts benchmarks too, to see that they run.
    let full = arguments.iter().any(|argument| argument == "--bench");
    let options = match Options::parse(&arguments, full) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}");
            std::process::exit(2);
        }
    };
    if !full {
        check::all();
    }
    let mut aims = Vec::new();
    let all = settings::all();
    for setting in &all {
        if !options.wants_virtual() || !options.wants_setting(setting.name, &all) {
            continue;
        }
        if let Some(default) = table(setting, &options) {
            aims.push((setting.clone(), default));
        }
    }
    let all = real::settings();
    for setting in all.iter().filter(|_| full && options.wants_real()) {
        if options.wants_setting(setting.name, &all) {
            aims.push((setting.clone(), on_sockets(setting, &options)));
        }
    }
    close(aims);
}

/// What the default strategy reached, beside what it was to reach.
fn close(aims: Vec<(Setting, Vec<Figures>)>) {
    if aims.iter().any(|(setting, _)| !setting.targets.is_empty()) {
        println!("\ntargets of headroom, mean of the seeds");
    }
    let missed: usize = aims
        .into_iter()
        .map(|(setting, figures)| {
            report::targets(&Runs {
                setting: &setting,
                chooser: Strategy::Headroom.name().to_owned(),
                figures,
            })
        })
        .sum();
    println!("{missed} missed");
}

/// Runs all contenders in a setting; returns what the default strategy reached.
fn table(setting: &Setting, options: &Options) -> Option<Vec<Figures>> {
    let contenders = Contender::all().filter(|one| options.wants_strategy(&one.name()));
    let mut default = None;
    for (row, contender) in contenders.enumerate() {
        if row == 0 {
            report::head(setting, capacity::typical(setting));
        }
        let figures = seeds(setting, contender, options);
        if contender == Contender::Pooled(Strategy::Headroom) {
            default = Some(figures.clone());
        }
        report::row(&Runs {
            setting,
            chooser: contender.name(),
            figures,
        });
    }
    default
}

/// One run of the default strategy, in real time.
fn on_sockets(setting: &Setting, options: &Options) -> Vec<Figures> {
    report::head(setting, capacity::typical(setting));
    let seed = options.seeds.first().copied().unwrap_or(1);
    let figures = vec![real::run(
        setting,
        seed,
        options.real_seconds,
        options.trace,
    )];
    report::row(&Runs {
        setting,
        chooser: Strategy::default().name().to_owned(),
        figures: figures.clone(),
    });
    figures
}

/// One run for each seed, side by side unless they are traced.
fn seeds(setting: &Setting, contender: Contender, options: &Options) -> Vec<Figures> {
    let run = |seed: u64| {
        let chooser = contender.chooser(setting, seed);
        let driver = Driver::new(setting, chooser, seed, options.seconds, options.trace());
        driver.run().figures()
    };
    if options.trace {
        return options.seeds.iter().map(|seed| run(*seed)).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = options
            .seeds
            .iter()
            .map(|seed| scope.spawn(move || run(*seed)))
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("a run"));
        joined.collect()
    })
}
