//! The same load on real sockets and in real time: the release binary between clients of this process and the
//! scripted provider, which keeps real limits. What happened is read from the provider's ledger, on the same clock.
//! What is Gemini's on virtual time is worded as OpenAI here, without any header of limits.

mod ledger;
mod wire;

use authpool::clock::Clock;
use authpool::core::limit::reading::Dimension;
use authpool::scripted::{Limits, Options, Provider};

use self::ledger::judge;
use self::wire::{request, send};
use crate::capacity;
use crate::load::{Load, MODELS, SECOND, SHARES, Source};
use crate::process::Process;
use crate::provider;
use crate::setting::Setting;
use crate::tally::{Figures, Span};
use crate::words::Habit;

/// Buckets begin so full: a minute's worth would outlast the run, and where the largest prompt does not fit into the
/// smallest, each key costs a refusal before anything is known of it.
const START: f64 = 0.3;

/// What is run on real sockets.
pub fn settings() -> Vec<Setting> {
    let all = crate::settings::all();
    let wanted = [
        ("requests-0.9", "real-requests-0.9"),
        ("tokens-1.5", "real-tokens-1.5"),
        ("no-headers-0.9", "real-no-headers-0.9"),
        ("no-headers-short-0.9", "real-no-headers-short-0.9"),
        ("burst-cold", "real-burst"),
        ("foreign-0.9", "real-foreign-0.9"),
    ];
    let found = wanted.into_iter().filter_map(|(of, name)| {
        let setting = all.iter().find(|setting| setting.name == of)?;
        let mut setting = Setting {
            name,
            ..setting.clone()
        };
        if setting.stated && setting.burst.is_none() {
            setting.start = START;
        }
        Some(setting)
    });
    found.collect()
}

/// One request and what the client saw.
struct Sent {
    load: Load,
    arrival: u64,
    status: u16,
}

/// Runs a setting for so many seconds; prints the provider's first 429s, if it is to.
pub fn run(setting: &Setting, seed: u64, seconds: u64, trace: bool) -> Figures {
    let clock = Clock::new();
    let provider = Provider::start(Options {
        body_kept: 32,
        clock,
        ..Options::default()
    })
    .expect("a free port");
    let plan = setting.plan(0);
    tell(setting, &provider);
    let folder = tempfile::tempdir().expect("a folder");
    let (config, variables) = configure(setting, plan.accounts.len(), &provider.url());
    let process = Process::start(folder.path(), &config, &variables);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let from = clock.now().as_micros();
    let span = Span {
        from,
        to: from + seconds * SECOND,
        burst: setting.burst.map(|_| from),
        outage: None,
    };
    let (own, others) = loads(setting, seed, &span);
    let sent = runtime.block_on(async {
        let own_number = own.len();
        let through =
            |number, load: &Load| request(setting, number, &client_key(load.client), load);
        let marked = credential(setting.marked_account());
        let direct = |number, load: &Load| request(setting, own_number + number, &marked, load);
        tokio::join!(
            send(own, through, clock, process.address),
            send(others, direct, clock, provider.addr())
        )
        .0
    });
    if trace {
        ledger::trace(&provider, &span);
    }
    let mut tally = judge(setting, &sent, &provider, span);
    if setting.burst.is_some() {
        let mut need = [0; MODELS.len()];
        sent.iter().for_each(|sent| need[sent.load.model] += 1);
        let mut full = provider::Provider::new(plan, seed, 0);
        tally.ideal = Some(capacity::ideal(&mut full, setting.bound, need, 0));
    }
    tally.figures()
}

/// What one key may do of a model.
struct KeyLimit {
    key: usize,
    model: usize,
    /// A minute's worth, by dimension.
    rates: Vec<(Dimension, u64)>,
    /// What the binding bucket holds when full.
    held: u64,
    /// How long its windows are, in seconds; `None`: it fills all the time.
    window: Option<u64>,
}

/// The limits of every key and model. Keys of one account have no common limits here.
fn limits(setting: &Setting) -> Vec<KeyLimit> {
    let plan = setting.plan(0);
    let window = (plan.habit == Habit::Gemini).then_some(setting.window);
    let mut limits = Vec::new();
    for (key, account) in plan.accounts.iter().enumerate() {
        for (model, share) in SHARES.into_iter().enumerate() {
            let size = plan.sizes[*account] as f64 * share;
            let whole =
                |(dimension, rate): &(Dimension, f64)| (*dimension, (rate * size).round() as u64);
            let rates: Vec<(Dimension, u64)> = plan.rates.iter().map(whole).collect();
            let bound = rates.iter().find(|(own, _)| *own == setting.bound);
            let minute = bound.map_or(0, |(_, rate)| *rate);
            limits.push(KeyLimit {
                key,
                model,
                rates,
                held: minute * window.unwrap_or(60) / 60,
                window,
            });
        }
    }
    limits
}

fn tell(setting: &Setting, provider: &Provider) {
    for limit in limits(setting) {
        let rate = |wanted: Dimension| {
            let (_, rate) = limit.rates.iter().find(|(own, _)| *own == wanted)?;
            Some(*rate)
        };
        let told = Limits {
            model: Some(MODELS[limit.model].to_owned()),
            requests_per_minute: rate(Dimension::Requests),
            requests_burst: limit.window.map(|_| limit.held),
            tokens_per_minute: rate(Dimension::Tokens),
            input_tokens_per_minute: rate(Dimension::InputTokens),
            output_tokens_per_minute: rate(Dimension::OutputTokens),
            window_seconds: limit.window,
            start_percent: Some((setting.start * 100.0) as u64),
            reserves_max_tokens: setting.habit == Habit::OpenAi,
            silent: !setting.stated,
            ..Limits::default()
        };
        provider.script().limit(&credential(limit.key), told);
    }
}

fn credential(key: usize) -> String {
    format!("credential-of-key-{key}")
}

fn client_key(client: usize) -> String {
    format!("client-{client}-key-for-benchmarks-0123456789")
}

fn configure(setting: &Setting, keys: usize, url: &str) -> (String, Vec<(String, String)>) {
    let (dialect, base) = match setting.habit {
        Habit::Anthropic => ("anthropic", url.to_owned()),
        Habit::OpenAi | Habit::Gemini => ("openai", format!("{url}/v1")),
    };
    let max_waiting = if setting.load > 1.0 { 10_000 } else { 1_000 };
    let names: Vec<String> = (0..keys).map(|key| format!("\"s{key}\"")).collect();
    let mut config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n\
         [[provider]]\nid = \"p\"\ndialect = \"{dialect}\"\nbase_url = \"{base}\"\n\
         [[pool]]\nid = \"pool\"\nmax_waiting = {max_waiting}\nsubscriptions = [{}]\n",
        names.join(", ")
    );
    let mut variables = Vec::new();
    for key in 0..keys {
        config.push_str(&format!(
            "[[subscription]]\nid = \"s{key}\"\nprovider = \"p\"\ncredential = {{ env = \"KEY{key}\" }}\n"
        ));
        variables.push((format!("KEY{key}"), credential(key)));
    }
    for client in 0..setting.clients.shares().len() {
        config.push_str(&format!(
            "[[client]]\nid = \"c{client}\"\nkey = {{ env = \"CLIENT{client}\" }}\n"
        ));
        variables.push((format!("CLIENT{client}"), client_key(client)));
    }
    (config, variables)
}

/// What is asked, and when.
type Arrivals = Vec<(u64, Load)>;

/// Everything that will be asked: through authpool, and by another consumer of one account.
fn loads(setting: &Setting, seed: u64, span: &Span) -> (Arrivals, Arrivals) {
    let mut source = Source::new(seed, setting.slowness);
    let clients = setting.clients.shares();
    if let Some((count, _)) = setting.burst {
        let burst = (0..count).map(|_| (span.from, source.draw(clients)));
        return (burst.collect(), Vec::new());
    }
    let simulated = provider::Provider::new(setting.plan(0), seed, 60 * SECOND);
    let rates = capacity::of(setting, &source, &simulated);
    let mut others = Source::new(seed ^ 0xf0e1, 1.0);
    (
        poisson(&mut source, rates.pool * setting.load, clients, span),
        poisson(&mut others, rates.foreign, &[1.0], span),
    )
}

fn poisson(source: &mut Source, rate: f64, clients: &[f64], span: &Span) -> Arrivals {
    let mut arrivals = Vec::new();
    if rate <= 0.0 {
        return arrivals;
    }
    let mut at = span.from + source.gap(rate);
    while at < span.to {
        arrivals.push((at, source.draw(clients)));
        at += source.gap(rate);
    }
    arrivals
}
