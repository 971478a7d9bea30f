//! `authpool demo`: the real proxy before a scripted provider, three subscriptions with small limits, and a little
//! traffic, so that a newcomer sees in a minute what it does. Nothing leaves the machine.

mod story;
mod traffic;

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::story::Story;
use self::traffic::Traffic;
use super::Whole;
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Surroundings};
use crate::scripted::{Limits, Options, Provider};
use crate::tasks::Tasks;

const KEY: &str = "demo-client-key-0123456789";
const SUBSCRIPTIONS: [(&str, u64); 3] = [("alpha", 30), ("beta", 40), ("gamma", 50)];
const SUMMARY: Duration = Duration::from_secs(5);

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Stop after so many seconds; exit 0 only if requests failed over and waited and no client saw a 429 or 5xx
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where to serve
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Runs until the time is over or a signal comes.
pub fn run(arguments: &DemoArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return super::unusable(Whole(&error)),
    };
    runtime.block_on(demo(arguments))
}

async fn demo(arguments: &DemoArgs) -> ExitCode {
    let provider = match Provider::start(Options::default()) {
        Ok(provider) => provider,
        Err(error) => {
            return super::unusable(format_args!("the scripted provider cannot start: {error}"));
        }
    };
    for (name, per_minute) in SUBSCRIPTIONS {
        // Little is left at first, so that bursts meet the limit within seconds. One says nothing of its limit, so that
        // it is found by refusals.
        let limits = Limits {
            requests_per_minute: Some(per_minute),
            start_percent: Some(10),
            silent: name == "gamma",
            ..Limits::default()
        };
        provider.script().limit(&credential(name), limits);
    }
    let story = Story::new(Clock::new());
    let app = match start(arguments, provider.addr(), &story) {
        Ok(app) => app,
        Err(code) => return code,
    };
    let Some(address) = app.addresses().first().copied() else {
        return super::unusable("there is no listener");
    };
    story.say(&introduction(&app, address));
    let traffic = Traffic::new(address, KEY);
    let tasks = Tasks::new();
    tasks.spawn(traffic.clone().run(tasks.clone()));
    wait(arguments.seconds, &story, &traffic).await;
    traffic.stop();
    tasks.finished().await;
    app.drain().await;
    let end = story.totals();
    story.say(&end.summary(traffic.refused()));
    let good =
        end.failovers > 0 && end.waited > 0 && traffic.refused() == 0 && traffic.failed() == 0;
    if arguments.seconds.is_none() || good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn start(arguments: &DemoArgs, provider: SocketAddr, story: &Story) -> Result<App, ExitCode> {
    let text = configuration(arguments.listen, provider);
    let config = Config::parse(&text, &Inside).map_err(|error| super::unusable(Whole(&error)))?;
    App::start(config, vec![Box::new(story.clone())])
        .map_err(|error| super::unusable(Whole(&error)))
}

/// A summary every 5 s, until the time is over or somebody has seen enough.
async fn wait(seconds: Option<u64>, story: &Story, traffic: &Traffic) {
    let limit = Duration::from_secs(seconds.unwrap_or(u64::from(u32::MAX)));
    let summaries = async {
        loop {
            tokio::time::sleep(SUMMARY).await;
            story.say(&story.totals().summary(traffic.refused()));
        }
    };
    let interrupted = async {
        match signal(SignalKind::interrupt()) {
            Ok(mut interrupt) => {
                interrupt.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = summaries => {}
        () = interrupted => {}
        () = tokio::time::sleep(limit) => {}
    }
}

fn introduction(app: &App, address: SocketAddr) -> String {
    let admin = app
        .admin_address()
        .map_or_else(String::new, |admin| format!("http://{admin}/metrics"));
    let limits: Vec<String> = SUBSCRIPTIONS
        .iter()
        .map(|(name, per_minute)| format!("{name} {per_minute}/min"))
        .collect();
    format!(
        "authpool demo: one base URL, three subscriptions ({}), a scripted provider inside\n\
         base URL http://{address}/v1\nmetrics  {admin}\ntry it   curl http://{address}/v1/chat/completions \
         -H 'authorization: Bearer {KEY}' -H 'content-type: application/json' \
         -d '{{\"model\":\"gpt-x\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n",
        limits.join(", ")
    )
}

fn configuration(listen: SocketAddr, provider: SocketAddr) -> String {
    let mut text = format!(
        "[server]\nlisten = [\"{listen}\"]\nworkers = 1\ndrain = \"5s\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [[provider]]\nid = \"scripted\"\ndialect = \"openai\"\nbase_url = \"http://{provider}/v1\"\n\
         [[client]]\nid = \"newcomer\"\nkey = {{ env = \"CLIENT\" }}\n\
         [[pool]]\nid = \"pool\"\nsubscriptions = [\"alpha\", \"beta\", \"gamma\"]\n"
    );
    for (name, _) in SUBSCRIPTIONS {
        text.push_str(&format!(
            "[[subscription]]\nid = \"{name}\"\nprovider = \"scripted\"\ncredential = {{ env = \"{name}\" }}\n"
        ));
    }
    text
}

fn credential(name: &str) -> String {
    format!("demo-credential-of-{name}")
}

/// The demo's own surroundings: its keys, and nothing of the machine's.
struct Inside;

impl Surroundings for Inside {
    fn variable(&self, name: &str) -> Option<OsString> {
        if name == "CLIENT" {
            Some(KEY.into())
        } else {
            Some(credential(name).into())
        }
    }

    fn file(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        1
    }

    fn memory_limit(&self) -> Option<u64> {
        None
    }
}

/// Shared by what tells and what sums up.
type Shared<T> = Arc<std::sync::Mutex<T>>;

fn print(text: &str) {
    // Somebody who closed the pipe has seen enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}
