//! What the figures rest on, looked at whenever `cargo test` starts this: limits that are true to the microsecond,
//! words that the real readers understand, runs that a seed repeats, nothing served beyond what there was.

use authpool::core::choice::strategy::Strategy;
use authpool::core::limit::reading::Dimension;
use authpool::core::limit::verdict::Class;

use super::Contender;
use super::bucket::{Bucket, MINUTE};
use super::driver::{Driver, START};
use super::load::Source;
use super::provider::{Admission, Provider};
use super::reader::read;
use super::setting::Setting;
use super::settings;
use super::tally::{Figures, METRICS, Metric};
use super::trace::Trace;
use super::words::Habit;

/// All of it; panics where something does not hold.
pub fn all() {
    a_stated_wait_is_the_least_that_is_enough();
    answers_are_read_as_they_are_meant();
    a_seed_repeats_a_run();
    nothing_is_served_beyond_what_there_was();
}

fn a_stated_wait_is_the_least_that_is_enough() {
    let mut random = fastrand::Rng::with_seed(7);
    for window in [None, Some((MINUTE / 2, START + 17))] {
        let mut bucket = Bucket::new(Dimension::InputTokens, 4_321, START, window);
        let mut now = START;
        let mut refused = 0;
        for _ in 0..2_000 {
            now += random.u64(0..2_000_000);
            let asked = random.u64(1..400);
            bucket.fill(now);
            let wait = bucket.lacks(asked, now);
            if wait > 0 {
                refused += 1;
                let mut early = bucket.clone();
                early.fill(now + wait - 1);
                assert!(early.remaining() < asked, "{window:?}");
                now += wait;
                bucket.fill(now);
                assert!(bucket.remaining() >= asked, "{window:?}");
            }
            bucket.take(asked);
        }
        assert!(refused > 50, "{window:?}");
    }
}

fn answers_are_read_as_they_are_meant() {
    for setting in settings::all() {
        let mut provider = Provider::new(setting.plan(START), 1, START);
        let mut source = Source::new(1, 1.0);
        let key = 0;
        let mut served = 0;
        let refused = loop {
            let load = source.draw(&[1.0]);
            let true_wait = provider.wait(key, &load, START);
            match provider.admit(key, &load, START) {
                Admission::Served => {
                    served += 1;
                    provider.finish(key, &load, START);
                }
                Admission::Refused { spoken, .. } => break (load, true_wait, spoken),
            }
        };
        assert!(served > 0, "{}", setting.name);
        let (load, true_wait, spoken) = refused;
        let (verdict, _) = read(setting.habit, &spoken, START);
        assert_eq!(verdict.class, Class::RateLimited, "{}", setting.name);
        if setting.flap {
            continue;
        }
        let wait = verdict.wait.map_or(0, |wait| wait.as_micros() as u64);
        let exact = true_wait..=true_wait + 1_000_000;
        assert!(
            exact.contains(&wait),
            "{}: {wait}, {true_wait}",
            setting.name
        );
        let head = provider.head(key, load.model, START);
        let (verdict, readings) = read(setting.habit, &head, START);
        assert_eq!(verdict.class, Class::Ok, "{}", setting.name);
        let stated = readings.dimensions.iter().flatten().count();
        let wanted = match setting.habit {
            Habit::Anthropic => 3,
            Habit::OpenAi => 2,
            Habit::Gemini => 0,
        };
        assert_eq!(stated, wanted, "{}", setting.name);
    }
}

fn a_seed_repeats_a_run() {
    let setting = named("tokens-1.5");
    let headroom = Contender::Pooled(Strategy::Headroom);
    let runs = [(); 2].map(|()| run(&setting, headroom).map(f64::to_bits));
    assert_eq!(runs[0], runs[1]);
}

fn nothing_is_served_beyond_what_there_was() {
    for name in [
        "requests-1.5",
        "openai-tokens-1.5",
        "output-1.5",
        "no-headers-1.5",
    ] {
        let setting = named(name);
        for contender in [Contender::Pooled(Strategy::Headroom), Contender::Oracle] {
            let goodput = run(&setting, contender)[Metric::Goodput as usize];
            assert!(goodput > 0.0 && goodput <= 1.001, "{name}: {goodput}");
        }
    }
}

fn run(setting: &Setting, contender: Contender) -> Figures {
    const SECONDS: u64 = 2 * MINUTE / 1_000_000;
    let chooser = contender.chooser(setting, 1);
    let figures: [f64; METRICS] = Driver::new(setting, chooser, 1, SECONDS, Trace::default())
        .run()
        .figures();
    figures
}

fn named(name: &str) -> Setting {
    let mut all = settings::all().into_iter();
    all.find(|setting| setting.name == name)
        .expect("a setting of that name")
}
