//! The same load on real sockets and in real time: the release binary between clients of this process and the
//! scripted provider, which keeps real limits. What happened is read from the provider's ledger, on the same clock.

use std::time::Duration;

use authpool::clock::Clock;
use authpool::core::limit::reading::Dimension;
use authpool::scripted::{Limits, Options, Provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::capacity;
use super::chooser::Fault;
use super::load::{Load, MAX_TOKENS, MODELS, SECOND, SHARES, Source};
use super::process::Process;
use super::provider::{self, cost};
use super::setting::Setting;
use super::tally::{Fate, Figures, Span, Tally};
use super::words::Habit;

/// Buckets begin so full: a minute's worth would outlast the run.
const START: f64 = 0.1;
/// Of windows, where nothing is stated.
const WINDOW: u64 = 10;
/// How long a client has patience beyond what the pool makes him wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events of an answer's stream.
const EVENTS: u64 = 20;

/// What is run on real sockets.
pub fn settings() -> Vec<Setting> {
    let all = super::settings::all();
    let wanted = [
        ("requests-0.9", "real-requests-0.9"),
        ("tokens-1.5", "real-tokens-1.5"),
        ("no-headers-0.9", "real-no-headers-0.9"),
        ("burst-cold", "real-burst"),
        ("foreign-0.9", "real-foreign-0.9"),
    ];
    let found = wanted.into_iter().filter_map(|(of, name)| {
        let setting = all.iter().find(|setting| setting.name == of)?;
        let mut setting = Setting {
            name,
            ..setting.clone()
        };
        if !setting.stated {
            // The scripted provider does not speak Gemini; a window has whole requests for the smallest key too.
            setting.scale = 1.2;
        }
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

/// Runs a setting for so many seconds.
pub fn run(setting: &Setting, seed: u64, seconds: u64) -> Figures {
    let clock = Clock::new();
    let provider = Provider::start(Options {
        body_kept: 32,
        clock,
        ..Options::default()
    })
    .expect("a free port");
    let plan = setting.plan(0);
    limit(setting, &plan, &provider);
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
    let mut tally = judge(setting, &sent, &provider, span);
    if setting.burst.is_some() {
        let mut need = [0; MODELS.len()];
        sent.iter().for_each(|sent| need[sent.load.model] += 1);
        let mut full = provider::Provider::new(plan, seed, 0);
        tally.ideal = Some(capacity::ideal(&mut full, setting.bound, need, 0));
    }
    tally.figures()
}

/// The limits of every key and model.
fn limit(setting: &Setting, plan: &provider::Plan, provider: &Provider) {
    let windowed = plan.habit == Habit::Gemini;
    for (key, account) in plan.accounts.iter().enumerate() {
        for (model, share) in MODELS.into_iter().zip(SHARES) {
            let rate = |wanted: Dimension| {
                let (_, rate) = plan.rates.iter().find(|(own, _)| *own == wanted)?;
                Some((rate * plan.sizes[*account] as f64 * share).round() as u64)
            };
            let requests = rate(Dimension::Requests);
            let limits = Limits {
                model: Some(model.to_owned()),
                requests_per_minute: requests,
                requests_burst: requests
                    .map(|limit| limit * WINDOW / 60)
                    .filter(|_| windowed),
                tokens_per_minute: rate(Dimension::Tokens),
                input_tokens_per_minute: rate(Dimension::InputTokens),
                output_tokens_per_minute: rate(Dimension::OutputTokens),
                window_seconds: windowed.then_some(WINDOW),
                start_percent: Some((setting.start * 100.0) as u64),
                reserves_max_tokens: plan.habit == Habit::OpenAi,
                silent: !plan.stated,
                ..Limits::default()
            };
            provider.script().limit(&credential(key), limits);
        }
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

/// Sends each at its instant, worded by `request` with its number, and waits for all answers.
async fn send(
    arrivals: Arrivals,
    request: impl Fn(usize, &Load) -> Vec<u8>,
    clock: Clock,
    address: std::net::SocketAddr,
) -> Vec<Sent> {
    let tasks = authpool::tasks::Tasks::new();
    let mut running = Vec::with_capacity(arrivals.len());
    for (number, (at, load)) in arrivals.into_iter().enumerate() {
        clock
            .sleep_until(authpool::core::time::Timestamp::from_micros(at))
            .await;
        let request = request(number, &load);
        running.push(tasks.spawn(async move {
            let arrival = clock.now().as_micros();
            let asked = tokio::time::timeout(PATIENCE, ask(address, &request)).await;
            let status = asked.ok().and_then(Result::ok).unwrap_or(0);
            Sent {
                load,
                arrival,
                status,
            }
        }));
    }
    let mut sent = Vec::with_capacity(running.len());
    for task in running {
        sent.extend(task.await);
    }
    sent
}

/// One request as bytes: its number first, so that the ledger keeps it.
fn request(setting: &Setting, number: usize, key: &str, load: &Load) -> Vec<u8> {
    let (path, header) = match setting.habit {
        Habit::Anthropic => ("/v1/messages", "x-api-key: "),
        Habit::OpenAi | Habit::Gemini => ("/v1/chat/completions", "authorization: Bearer "),
    };
    let (delay, gap) = (load.head / 1_000, load.length / 1_000 / EVENTS);
    let (model, input) = (MODELS[load.model], load.input);
    let begin = format!(
        r#"{{"n":{number},"model":"{model}","max_tokens":{MAX_TOKENS},"stream":true,"scripted":{{"output_tokens":{EVENTS},"input_tokens":{input},"delay_ms":{delay},"gap_ms":{gap}}},"messages":[{{"role":"user","content":"{number} "#
    );
    let end = r#""}]}"#;
    let padding = (load.bytes as usize).saturating_sub(begin.len() + end.len());
    let body = format!("{begin}{}{end}", "x".repeat(padding));
    format!(
        "POST {path} HTTP/1.1\r\nhost: authpool\r\n{header}{key}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends a request on a connection of its own and reads its answer to the end.
async fn ask(address: std::net::SocketAddr, request: &[u8]) -> std::io::Result<u16> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket.write_all(request).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    let status = answer
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(status.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

/// What the provider's ledger and the clients' statuses come to.
fn judge(setting: &Setting, sent: &[Sent], provider: &Provider, span: Span) -> Tally {
    let mut tally = Tally {
        taken: vec![0.0; setting.clients.shares().len()],
        supply: supply(setting, &span),
        span,
        ..Tally::default()
    };
    for sent in sent {
        tally.fates.push(Fate {
            arrival: sent.arrival,
            client: sent.load.client,
            units: cost(setting.bound, &sent.load),
            wait: None,
            fault: fault(sent.status),
        });
    }
    for entry in provider.ledger().entries() {
        let at = entry.at.as_micros();
        let measured = (span.from..span.to).contains(&at);
        let Some(number) = number(&entry.body).filter(|number| *number < sent.len()) else {
            if entry.status == 200 && measured {
                // Another consumer's.
                tally.supply -= match setting.bound {
                    Dimension::Requests => 1.0,
                    _ => entry.input_tokens as f64,
                };
            }
            continue;
        };
        tally.attempts += 1;
        tally.upstream += u64::from(entry.status == 429);
        if entry.status != 200 {
            continue;
        }
        let fate = &mut tally.fates[number];
        if sent[number].status == 200 {
            fate.wait = Some(at.saturating_sub(fate.arrival));
        }
        tally.drained = tally.drained.max(at);
        if measured {
            tally.taken[fate.client] += fate.units;
        }
    }
    tally
}

fn fault(status: u16) -> Option<Fault> {
    match status {
        200 => None,
        429 => Some(Fault::Limited),
        529 => Some(Fault::Overloaded),
        _ => Some(Fault::Unavailable),
    }
}

/// The number that a body begins with.
fn number(body: &[u8]) -> Option<usize> {
    let digits = body.strip_prefix(br#"{"n":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// What the buckets hold at first and gain in the time.
fn supply(setting: &Setting, span: &Span) -> f64 {
    let plan = setting.plan(0);
    let rates = plan.rates.iter().filter(|(own, _)| *own == setting.bound);
    let rate: f64 = rates.map(|(_, rate)| rate).sum();
    let limit = rate * plan.sizes.iter().sum::<u64>() as f64;
    let seconds = (span.to - span.from) as f64 / SECOND as f64;
    limit * (setting.start + seconds / 60.0)
}
