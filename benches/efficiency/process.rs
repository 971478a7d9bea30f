//! The release binary as a child: started on a free port, stopped when dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `authpool serve` under way.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Starts it with this configuration; `variables` are what the configuration refers to.
    pub fn start(folder: &Path, config: &str, variables: &[(String, String)]) -> Self {
        let path = folder.join("authpool.toml");
        std::fs::write(&path, config).expect("a file in a fresh folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_authpool"))
            .arg("serve")
            .arg("--config")
            .arg(&path)
            .envs(variables.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary that cargo built");
        let stderr = child.stderr.take().expect("a pipe");
        let mut reader = BufReader::new(stderr);
        let address = listening(&mut reader);
        // The log goes on: somebody has to read it.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Self { child, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(log: &mut impl BufRead) -> SocketAddr {
    let mut said = String::new();
    loop {
        let mut line = String::new();
        let read = log.read_line(&mut line).expect("the log");
        assert!(read > 0, "it did not start:\n{said}");
        if let Some(rest) = line.split(" listening address=").nth(1) {
            let address = rest
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
            return address.expect("an address");
        }
        said.push_str(&line);
    }
}
