//! The settings of issue 4, point 6, and the target of each.

use authpool::core::limit::reading::Dimension;

use super::setting::{Clients, Setting, Sharing, Target};
use super::tally::Metric;
use super::words::Habit;

/// All of them.
pub fn all() -> Vec<Setting> {
    let mut settings = headers();
    settings.extend(unseen());
    settings.extend(silent());
    settings.extend(troubles());
    settings.extend(beyond());
    settings
}

/// Limits stated in headers.
fn headers() -> Vec<Setting> {
    use Dimension::{InputTokens, Requests, Tokens};
    use Habit::{Anthropic, OpenAi};
    let settings = [
        ("requests-0.9", Anthropic, Requests, 0.9),
        ("requests-0.97", Anthropic, Requests, 0.97),
        ("requests-1.5", Anthropic, Requests, 1.5),
        ("tokens-0.9", Anthropic, InputTokens, 0.9),
        ("tokens-0.97", Anthropic, InputTokens, 0.97),
        ("tokens-1.5", Anthropic, InputTokens, 1.5),
        ("openai-requests-0.9", OpenAi, Requests, 0.9),
        ("openai-requests-0.97", OpenAi, Requests, 0.97),
        ("openai-requests-1.5", OpenAi, Requests, 1.5),
        ("openai-tokens-0.9", OpenAi, Tokens, 0.9),
        ("openai-tokens-0.97", OpenAi, Tokens, 0.97),
        ("openai-tokens-1.5", OpenAi, Tokens, 1.5),
    ];
    let setting = |(name, habit, bound, load)| {
        let aims = stated(load, bound != Requests);
        Setting::new(name, habit, bound, load).aims(&aims)
    };
    settings.into_iter().map(setting).collect()
}

/// Others use an account, or two keys share one.
fn unseen() -> Vec<Setting> {
    let untold = |load: f64| {
        let most = if load < 1.0 { 2.0 } else { 8.0 };
        vec![(Metric::Upstream429, false, most)]
    };
    let settings = [
        ("foreign-0.9", Sharing::None, 0.9),
        ("foreign-1.5", Sharing::None, 1.5),
        ("domain-told-0.9", Sharing::Told, 0.9),
        ("domain-told-1.5", Sharing::Told, 1.5),
        ("domain-answers-0.9", Sharing::Answers, 0.9),
        ("domain-answers-1.5", Sharing::Answers, 1.5),
        ("domain-hidden-0.9", Sharing::Hidden, 0.9),
        ("domain-hidden-1.5", Sharing::Hidden, 1.5),
    ];
    let setting = |(name, sharing, load)| {
        let aims = match sharing {
            Sharing::Told => stated(load, false),
            _ => untold(load),
        };
        let plain = Setting::new(name, Habit::Anthropic, Dimension::Requests, load).aims(&aims);
        Setting {
            sharing,
            foreign: if sharing == Sharing::None { 0.2 } else { 0.0 },
            ..plain
        }
    };
    settings.into_iter().map(setting).collect()
}

/// No header at all.
fn silent() -> Vec<Setting> {
    let below = [
        (Metric::Upstream429, false, 12.0),
        (Metric::Served, true, 0.995),
    ];
    let beyond = [
        (Metric::Upstream429, false, 18.0),
        (Metric::Goodput, true, 0.98),
    ];
    let of = |name, load| Setting::new(name, Habit::Gemini, Dimension::Requests, load);
    vec![
        of("no-headers-0.9", 0.9).aims(&below),
        of("no-headers-1.5", 1.5).aims(&beyond),
    ]
}

/// X5, and what the issue allows where tokens bind.
fn stated(load: f64, tokens: bool) -> Vec<Target> {
    if load < 1.0 {
        return vec![
            (Metric::Served, true, 0.9995),
            (Metric::Upstream429, false, if tokens { 3.0 } else { 1.0 }),
            (Metric::P99, false, 0.15),
        ];
    }
    vec![
        (Metric::Goodput, true, if tokens { 0.975 } else { 0.985 }),
        (Metric::Upstream429, false, if tokens { 3.0 } else { 2.0 }),
    ]
}

fn troubles() -> Vec<Setting> {
    use Dimension::Requests;
    use Habit::Anthropic;
    let mut flap = Setting::new("flap-0.9", Anthropic, Requests, 0.9).aims(&[(
        Metric::Upstream429,
        false,
        6.0,
    )]);
    flap.flap = true;
    let drained = [(Metric::Drain, false, 1.1)];
    let mut cold = Setting::new("burst-cold", Anthropic, Requests, 0.0).aims(&drained);
    cold.scale = 0.135;
    cold.burst = Some((200, 0));
    let mut warm = Setting::new("burst-warm", Anthropic, Requests, 0.3).aims(&drained);
    warm.scale = 0.135;
    warm.burst = Some((200, 400));
    let mut outage = Setting::new("outage-0.9", Anthropic, Requests, 0.9).aims(&[
        (Metric::OutageTries, false, 1.25),
        (Metric::Recovery, false, 0.5),
    ]);
    outage.outage = Some((200, 210));
    let fair = [
        (Metric::SmallServed, true, 1.0),
        (Metric::SmallP99, false, 0.3),
        (Metric::Jain, true, 0.99),
    ];
    let mut greedy = Setting::new("greedy-1.5", Anthropic, Requests, 1.5).aims(&fair);
    greedy.clients = Clients::Greedy;
    let mut bulk = Setting::new("bulk-1.5", Anthropic, Requests, 1.5).aims(&fair[..2]);
    bulk.clients = Clients::Bulk;
    vec![flap, cold, warm, outage, greedy, bulk]
}

/// What SPEC 16 says it does not cover: measured, without targets of the issue.
fn beyond() -> Vec<Setting> {
    use Dimension::{InputTokens, OutputTokens, Requests};
    use Habit::{Anthropic, Gemini};
    let mut long = Setting::new("long-streams-0.9", Anthropic, Requests, 0.9);
    long.slowness = 20.0;
    let mut change = Setting::new("change-0.7", Anthropic, Requests, 0.7);
    change.change = Some((200, 0.5));
    let empty = [
        ("requests-empty-0.9", Requests, 0.9),
        ("tokens-empty-0.9", InputTokens, 0.9),
        ("tokens-empty-1.5", InputTokens, 1.5),
    ];
    let mut settings: Vec<Setting> = empty
        .into_iter()
        .map(|(name, bound, load)| {
            let mut setting = Setting::new(name, Anthropic, bound, load);
            setting.start = 0.1;
            setting
        })
        .collect();
    let mut short = Setting::new("no-headers-short-0.9", Gemini, Requests, 0.9);
    short.window = 10;
    short.scale = 6.0;
    let together = [
        ("no-headers-aligned-0.9", 0.9, 60, 1.0),
        ("no-headers-aligned-1.5", 1.5, 60, 1.0),
        ("no-headers-aligned-short-0.9", 0.9, 10, 6.0),
    ];
    for (name, load, window, scale) in together {
        let mut aligned = Setting::new(name, Gemini, Requests, load);
        aligned.aligned = true;
        aligned.window = window;
        aligned.scale = scale;
        settings.push(aligned);
    }
    settings.extend([
        change,
        short,
        Setting::new("output-0.9", Anthropic, OutputTokens, 0.9),
        Setting::new("output-1.5", Anthropic, OutputTokens, 1.5),
        Setting::new("no-headers-tokens-0.9", Gemini, InputTokens, 0.9),
        Setting::new("no-headers-tokens-1.5", Gemini, InputTokens, 1.5),
        long,
    ]);
    settings
}
