//! The settings of issue 4, point 6, and the target of each.

use authpool::core::limit::reading::Dimension;

use super::setting::{Clients, Setting, Sharing, Target};
use super::tally::Metric;
use super::words::Habit;

/// All of them.
pub fn all() -> Vec<Setting> {
    use Dimension::{InputTokens, Requests, Tokens};
    use Habit::{Anthropic, Gemini, OpenAi};
    let mut settings = Vec::new();
    let loads = [
        (
            "requests",
            Anthropic,
            Requests,
            ["requests-0.9", "requests-0.97", "requests-1.5"],
        ),
        (
            "tokens",
            Anthropic,
            InputTokens,
            ["tokens-0.9", "tokens-0.97", "tokens-1.5"],
        ),
        (
            "openai-requests",
            OpenAi,
            Requests,
            [
                "openai-requests-0.9",
                "openai-requests-0.97",
                "openai-requests-1.5",
            ],
        ),
        (
            "openai-tokens",
            OpenAi,
            Tokens,
            [
                "openai-tokens-0.9",
                "openai-tokens-0.97",
                "openai-tokens-1.5",
            ],
        ),
    ];
    for (_, habit, bound, names) in loads {
        for (name, load) in names.into_iter().zip([0.9, 0.97, 1.5]) {
            let tokens = bound != Requests;
            settings.push(Setting::new(name, habit, bound, load).aims(&stated(load, tokens)));
        }
    }
    let untold = |load: f64| {
        vec![(
            Metric::Upstream429,
            false,
            if load < 1.0 { 2.0 } else { 8.0 },
        )]
    };
    for (name, load) in [("foreign-0.9", 0.9), ("foreign-1.5", 1.5)] {
        let mut setting = Setting::new(name, Anthropic, Requests, load).aims(&untold(load));
        setting.foreign = 0.2;
        settings.push(setting);
    }
    let shared = [
        ("domain-told-0.9", Sharing::Told, 0.9),
        ("domain-told-1.5", Sharing::Told, 1.5),
        ("domain-answers-0.9", Sharing::Answers, 0.9),
        ("domain-answers-1.5", Sharing::Answers, 1.5),
        ("domain-hidden-0.9", Sharing::Hidden, 0.9),
        ("domain-hidden-1.5", Sharing::Hidden, 1.5),
    ];
    for (name, sharing, load) in shared {
        let aims = if sharing == Sharing::Told {
            stated(load, false)
        } else {
            untold(load)
        };
        let mut setting = Setting::new(name, Anthropic, Requests, load).aims(&aims);
        setting.sharing = sharing;
        settings.push(setting);
    }
    for (name, load, most) in [("no-headers-0.9", 0.9, 12.0), ("no-headers-1.5", 1.5, 18.0)] {
        let mut aims = vec![(Metric::Upstream429, false, most)];
        aims.push(if load < 1.0 {
            (Metric::Served, true, 0.995)
        } else {
            (Metric::Goodput, true, 0.98)
        });
        settings.push(Setting::new(name, Gemini, Requests, load).aims(&aims));
    }
    settings.extend(troubles());
    settings.extend(beyond());
    settings
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
