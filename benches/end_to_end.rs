//! What a request costs through authpool, beside going direct and, where nginx is installed, beside nginx with
//! keep-alive and key injection: requests/s, the proxy's own CPU time per request, and added latency, in one run,
//! alternating, as ratios. The proxy under test has core 0, provider and load share core 1; absolute figures move
//! with machine and load, so only the ratios of one run are worth quoting.
//!
//! `cargo bench --bench end_to_end`; `-- --rounds N` for other than 5 rounds. Traffic stays on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)] // a program to be run by hand
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEY: &str = "client-key-for-benchmarks-0123456789";
const ROUND: Duration = Duration::from_secs(3);
const WARM: Duration = Duration::from_millis(700);
const CONNECTIONS: usize = 16;

/// What is sent over and over.
struct Work {
    name: &'static str,
    body: String,
    unit: &'static str,
    /// Units in one answer: 1, or its events.
    units: f64,
}

fn main() {
    // `cargo test` starts benchmarks too, to see that they run: this one needs the machine for itself.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = rounds();
    pin(std::process::id(), 1);
    let folder = tempfile::tempdir().unwrap();
    let provider = spawn(
        1,
        &["provider", "--listen", "127.0.0.1:0", "--no-record"],
        &[],
        Stdio::piped(),
    );
    let upstream = address(&provider, "listening on http://");
    let authpool = authpool(folder.path(), upstream);
    let nginx = nginx(folder.path(), upstream);
    let contenders = [
        Some(("direct", upstream, None)),
        nginx
            .as_ref()
            .map(|(process, addr)| ("nginx", *addr, Some(process.0.id()))),
        Some(("authpool", authpool.1, Some(authpool.0.0.id()))),
    ];
    for work in works() {
        compare(&work, contenders.iter().flatten().copied(), rounds);
    }
    println!("authpool resident: {} KiB", resident(authpool.0.0.id()));
}

fn rounds() -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    arguments
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(5)
}

fn works() -> Vec<Work> {
    let prompt = |bytes: usize| "x".repeat(bytes);
    let chat = |stream: bool, bytes: usize, tokens: usize| {
        format!(
            r#"{{"model":"gpt-x","stream":{stream},"max_tokens":{tokens},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            prompt(bytes)
        )
    };
    let paced = chat(true, 950, 64).replace(
        "\"max_tokens\":64",
        "\"max_tokens\":64,\"scripted\":{\"gap_ms\":2}",
    );
    let one = |name, body| Work {
        name,
        body,
        unit: "request",
        units: 1.0,
    };
    vec![
        one("1 KiB request, JSON", chat(false, 950, 16)),
        one("64 KiB request, JSON", chat(false, 64 * 1024, 16)),
        one(
            "1 KiB request, stream of 66 events at once",
            chat(true, 950, 64),
        ),
        Work {
            name: "1 KiB request, stream of 66 events 2 ms apart",
            body: paced,
            unit: "event",
            units: 66.0,
        },
    ]
}

/// One contender's figures of one round.
#[derive(Clone, Copy, Default)]
struct Figures {
    per_second: f64,
    cpu_micros: f64,
    p50_micros: f64,
    p99_micros: f64,
}

fn compare(
    work: &Work,
    contenders: impl Iterator<Item = (&'static str, SocketAddr, Option<u32>)>,
    rounds: usize,
) {
    println!(
        "\n{} ({CONNECTIONS} connections, {rounds} rounds of {ROUND:?}, medians)",
        work.name
    );
    let contenders: Vec<_> = contenders.collect();
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (figures, (_, addr, pid)) in all.iter_mut().zip(&contenders) {
            figures.push(round(*addr, *pid, work));
        }
    }
    let medians: Vec<Figures> = all.iter().map(|figures| median(figures)).collect();
    let direct = medians[0];
    let nginx = contenders
        .iter()
        .position(|(name, ..)| *name == "nginx")
        .map(|at| medians[at]);
    for ((name, _, pid), figures) in contenders.iter().zip(&medians) {
        print!(
            "  {name:<9} {:>8.0}/s  p50 +{:>5.0} us  p99 +{:>5.0} us",
            figures.per_second,
            figures.p50_micros - direct.p50_micros,
            figures.p99_micros - direct.p99_micros
        );
        if pid.is_some() {
            print!(
                "  CPU {:>6.1} us/{}",
                figures.cpu_micros / work.units,
                work.unit
            );
        }
        match nginx {
            Some(nginx) if *name == "authpool" => {
                print!("  = {:.2} x nginx", figures.cpu_micros / nginx.cpu_micros)
            }
            _ => {}
        }
        println!();
    }
}

fn median(figures: &[Figures]) -> Figures {
    let of = |read: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(read).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        per_second: of(|f| f.per_second),
        cpu_micros: of(|f| f.cpu_micros),
        p50_micros: of(|f| f.p50_micros),
        p99_micros: of(|f| f.p99_micros),
    }
}

/// A closed loop on each connection; the first part of it is not counted.
fn round(addr: SocketAddr, pid: Option<u32>, work: &Work) -> Figures {
    let request: Arc<[u8]> = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\naccept: application/json\r\nuser-agent: OpenAI/Python 3.57.0\r\n\
         x-stainless-lang: python\r\nx-stainless-package-version: 3.57.0\r\nx-stainless-os: Linux\r\n\
         x-stainless-arch: x64\r\nx-stainless-runtime: CPython\r\nx-stainless-runtime-version: 3.11.7\r\n\
         content-length: {}\r\n\r\n{}",
        work.body.len(),
        work.body
    )
    .into_bytes()
    .into();
    let counting = Arc::new(AtomicBool::new(false));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (request, counting, over) = (
                Arc::clone(&request),
                Arc::clone(&counting),
                Arc::clone(&over),
            );
            std::thread::spawn(move || client(addr, &request, &counting, &over))
        })
        .collect();
    std::thread::sleep(WARM);
    let cpu = pid.map_or(0, cpu_nanos);
    let start = Instant::now();
    counting.store(true, Ordering::SeqCst);
    std::thread::sleep(ROUND);
    counting.store(false, Ordering::SeqCst);
    let elapsed = start.elapsed();
    let cpu = pid.map_or(0, cpu_nanos) - cpu;
    over.store(true, Ordering::SeqCst);
    let mut latencies: Vec<u32> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    latencies.sort_unstable();
    let count = latencies.len().max(1);
    let at = |share: f64| f64::from(latencies[((count - 1) as f64 * share) as usize]);
    Figures {
        per_second: count as f64 / elapsed.as_secs_f64(),
        cpu_micros: cpu as f64 / 1e3 / count as f64,
        p50_micros: at(0.5),
        p99_micros: at(0.99),
    }
}

fn client(addr: SocketAddr, request: &[u8], counting: &AtomicBool, over: &AtomicBool) -> Vec<u32> {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut latencies = Vec::with_capacity(64 * 1024);
    let mut buffer = vec![0; 256 * 1024];
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        socket.write_all(request).unwrap();
        answer(&mut socket, &mut buffer);
        if counting.load(Ordering::Relaxed) {
            latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    latencies
}

/// Reads one answer to its end; anything but a whole 200 ends the benchmark.
fn answer(socket: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    let mut wanted = None;
    loop {
        let read = socket.read(&mut buffer[filled..]).unwrap();
        assert!(
            read > 0,
            "the connection was closed: {}",
            String::from_utf8_lossy(&buffer[..filled.min(600)])
        );
        filled += read;
        let so_far = &buffer[..filled];
        if wanted.is_none()
            && let Some(head) = memchr::memmem::find(so_far, b"\r\n\r\n")
        {
            assert!(
                so_far.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&so_far[..filled.min(600)])
            );
            let text = String::from_utf8_lossy(&so_far[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| {
                line.strip_prefix("content-length: ")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            wanted = Some(length.map(|length| head + 4 + length));
        }
        match wanted {
            Some(Some(end)) if filled >= end => return,
            Some(None) if so_far.ends_with(b"\r\n0\r\n\r\n") => return,
            _ => {}
        }
    }
}

/// A child that is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(
    core: u32,
    arguments: &[&str],
    variables: &[(&str, &str)],
    output: Stdio,
) -> std::cell::RefCell<Process> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", &core.to_string(), env!("CARGO_BIN_EXE_authpool")])
        .args(arguments);
    command
        .envs(variables.iter().copied())
        .stdout(output)
        .stderr(Stdio::piped());
    std::cell::RefCell::new(Process(command.spawn().unwrap()))
}

fn address(process: &std::cell::RefCell<Process>, before: &str) -> SocketAddr {
    let mut process = process.borrow_mut();
    let output: Box<dyn Read + Send> = match process.0.stdout.take() {
        Some(stdout) => Box::new(stdout),
        None => Box::new(process.0.stderr.take().unwrap()),
    };
    let mut reader = BufReader::new(output);
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        if let Some(rest) = line.split(before).nth(1) {
            let addr = rest.split_whitespace().next().unwrap().parse().unwrap();
            // The log goes on: somebody has to read it.
            std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
            return addr;
        }
        line.clear();
    }
    panic!("it did not start");
}

fn authpool(folder: &Path, upstream: SocketAddr) -> (Process, SocketAddr) {
    let mut text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[[provider]]\nid = \"p\"\ndialect = \"openai\"\n\
         base_url = \"http://{upstream}/v1\"\n[[client]]\nid = \"bench\"\nkey = {{ env = \"CLIENT\" }}\n\
         [[pool]]\nid = \"pool\"\nsubscriptions = [\"s0\", \"s1\", \"s2\", \"s3\"]\n"
    );
    for number in 0..4 {
        text.push_str(&format!(
            "[[subscription]]\nid = \"s{number}\"\nprovider = \"p\"\ncredential = {{ env = \"CRED{number}\" }}\n"
        ));
    }
    let path = folder.join("authpool.toml");
    std::fs::write(&path, text).unwrap();
    let variables = [
        ("CLIENT", KEY),
        ("CRED0", "cred-0"),
        ("CRED1", "cred-1"),
        ("CRED2", "cred-2"),
        ("CRED3", "cred-3"),
    ];
    let process = spawn(
        0,
        &["serve", "--config", path.to_str().unwrap()],
        &variables,
        Stdio::null(),
    );
    let addr = address(&process, " listening address=");
    (process.into_inner(), addr)
}

/// nginx doing the plain part of the job; `None` where it is not installed.
fn nginx(folder: &Path, upstream: SocketAddr) -> Option<(Process, SocketAddr)> {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let addr = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let folder = folder.display();
    let text = format!(
        "daemon off; master_process off; worker_processes 1; error_log {folder}/error.log; pid {folder}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\nhttp {{ access_log off; client_body_temp_path {folder}/body; \
         proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; \
         scgi_temp_path {folder}/s; client_body_buffer_size 128k; keepalive_requests 100000000;\n\
         upstream provider {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen {addr}; location / {{ proxy_pass http://provider; proxy_http_version 1.1; \
         proxy_buffering off; proxy_set_header Connection \"\"; proxy_set_header Authorization \"Bearer cred-0\"; }} }} }}\n"
    );
    let path = format!("{folder}/nginx.conf");
    std::fs::write(&path, text).unwrap();
    let child = Command::new("taskset")
        .args(["-c", "0", program, "-c", &path])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(addr).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "nginx did not start"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((Process(child), addr))
}

fn pin(pid: u32, core: u32) {
    let status = Command::new("taskset")
        .args(["-cp", &core.to_string(), &pid.to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "taskset is missing"
    );
}

/// What the scheduler counted for all threads of a process.
fn cpu_nanos(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
