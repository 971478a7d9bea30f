//! A client on a plain socket: it sends bytes and reads what comes, whole or broken.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use authpool::scripted::Provider;
use serde_json::Value;

use super::{PATIENCE, post};

/// A raw client: sends bytes, reads what comes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) input: Vec<u8>,
}

/// An answer, its body without the chunked coding.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its head said it would.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The names of the events (or their `object` in chat), and their data.
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        let read = |event: &str| {
            let mut name = String::new();
            let mut value = Value::Null;
            for line in event.lines() {
                match line.split_once(": ") {
                    Some(("event", rest)) => name = rest.to_owned(),
                    Some(("data", "[DONE]")) => name = "[DONE]".to_owned(),
                    Some(("data", rest)) => value = serde_json::from_str(rest).unwrap(),
                    _ => panic!("no line of an event: {line:?}"),
                }
            }
            (name, value)
        };
        self.text().split_terminator("\n\n").map(read).collect()
    }
}

impl Client {
    pub(crate) fn new(provider: &Provider) -> Self {
        Self::connect(provider.addr()).unwrap()
    }

    pub(crate) fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn ask(&mut self, path: &str, key: &str, body: &Value) -> io::Result<Answer> {
        self.send(&post(path, key, &body.to_string()));
        self.answer()
    }

    pub(crate) fn get(&mut self, method: &str, path: &str, key: &str) -> Answer {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n"
        ));
        if method == "HEAD" {
            let head = self.head().unwrap();
            return self.framed(&head, true).unwrap();
        }
        self.answer().unwrap()
    }

    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        self.input.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    pub(crate) fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.input, b"\r\n\r\n") {
                let head = self.input.drain(..at + 4).collect();
                return Ok(String::from_utf8(head).unwrap());
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head()?;
        self.framed(&head, false)
    }

    fn framed(&mut self, head: &str, bodiless: bool) -> io::Result<Answer> {
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
            whole: true,
        };
        let length = answer.header("content-length").map(str::parse::<usize>);
        if bodiless {
            return Ok(answer);
        }
        if let Some(length) = length {
            let length = length.unwrap();
            while self.input.len() < length && answer.whole {
                answer.whole = self.fill()? > 0;
            }
            let there = length.min(self.input.len());
            answer.body = self.input.drain(..there).collect();
        } else {
            while answer.whole && !self.chunk(&mut answer.body) {
                answer.whole = self.fill()? > 0;
            }
        }
        Ok(answer)
    }

    /// Moves the chunks that are there into the body. `true` after the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> bool {
        while let Some(at) = find(&self.input, b"\r\n") {
            let size = std::str::from_utf8(&self.input[..at]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.input.len() < at + 2 + size + 2 {
                return false;
            }
            body.extend_from_slice(&self.input[at + 2..at + 2 + size]);
            self.input.drain(..at + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
        false
    }

    /// Reads to the end: what came, and how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        loop {
            match self.fill() {
                Ok(0) => return (std::mem::take(&mut self.input), Ok(())),
                Ok(_) => {}
                Err(error) => return (std::mem::take(&mut self.input), Err(error)),
            }
        }
    }

    #[track_caller]
    pub(crate) fn assert_reset(&mut self) -> Vec<u8> {
        let (read, end) = self.rest();
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        read
    }
}

pub(crate) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}
