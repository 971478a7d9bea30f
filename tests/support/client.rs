//! A client of HTTP/1.1 on blocking sockets, written apart from everything it tests: what it reads is what came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::{CLIENT_KEY, PATIENCE};

/// A request; send it with [`Ask::send`] or [`Ask::open`].
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Whether the framing came to its end; `false`: the connection broke.
    pub whole: bool,
}

impl Ask {
    /// With a body, and the key of the tests' client.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![
            ("authorization".to_owned(), format!("Bearer {CLIENT_KEY}")),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        Self {
            method: "POST".into(),
            path: path.into(),
            headers,
            body: body.into(),
        }
    }

    /// Without a body, and with the key.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".into(),
            ..Self::post(path, "")
        }
    }

    /// With another method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// One more header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Without lines of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// The bytes of head and body.
    pub fn bytes(&self, addr: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {addr}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.into_bytes(), self.body.clone()].concat()
    }

    /// Sends it on a connection of its own and reads the answer to its end.
    pub fn send(&self, addr: SocketAddr) -> Answer {
        self.try_send(addr).unwrap()
    }

    /// As [`Ask::send`], where no answer at all may be the right one.
    pub fn try_send(&self, addr: SocketAddr) -> io::Result<Answer> {
        let head_only = self.method == "HEAD";
        let mut open = self.open(addr)?;
        open.read_head()?;
        Ok(open.finish(head_only))
    }

    /// Sends it and reads nothing yet.
    pub fn open(&self, addr: SocketAddr) -> io::Result<Open> {
        Open::with(addr, &self.bytes(addr))
    }
}

/// An answer under way. Dropping it closes the connection.
pub struct Open {
    /// The connection.
    pub socket: TcpStream,
    reader: BufReader<TcpStream>,
    /// 0 before [`Open::read_head`].
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    framing: Framing,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    ToTheEnd,
}

impl Open {
    /// Connects, sends these bytes, whatever they are, and reads nothing yet.
    pub fn with(addr: SocketAddr, bytes: &[u8]) -> io::Result<Self> {
        let mut socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(bytes)?;
        let reader = BufReader::new(socket.try_clone()?);
        Ok(Open {
            socket,
            reader,
            status: 0,
            headers: Vec::new(),
            framing: Framing::ToTheEnd,
            over: false,
        })
    }

    /// Reads the head; 1xx answers are passed over.
    pub fn read_head(&mut self) -> io::Result<u16> {
        loop {
            let line = self.line()?;
            self.status = line
                .get(9..12)
                .and_then(|digits| digits.parse().ok())
                .ok_or(io::ErrorKind::InvalidData)?;
            self.headers.clear();
            loop {
                let line = self.line()?;
                let Some((name, value)) = line.split_once(':') else {
                    break;
                };
                self.headers
                    .push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if self.status >= 200 {
                break;
            }
        }
        self.framing = if header(&self.headers, "transfer-encoding").is_some() {
            Framing::Chunked
        } else if let Some(length) = header(&self.headers, "content-length") {
            Framing::Length(length.parse().map_err(|_| io::ErrorKind::InvalidData)?)
        } else {
            Framing::ToTheEnd
        };
        Ok(self.status)
    }

    /// The next piece of a chunked body and when it came; `None`: its end.
    pub fn chunk(&mut self) -> io::Result<Option<(Vec<u8>, Instant)>> {
        if self.over {
            return Ok(None);
        }
        let size = self.line()?;
        let size =
            usize::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut piece = vec![0; size];
        self.reader.read_exact(&mut piece)?;
        let at = Instant::now();
        self.line()?;
        self.over = size == 0;
        Ok((size > 0).then_some((piece, at)))
    }

    /// Sends another request on the same connection. The answer before must have been read to its end.
    pub fn again(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.over = false;
        self.socket.write_all(bytes)
    }

    /// Reads the rest.
    pub fn finish(mut self, head_only: bool) -> Answer {
        let (body, whole) = self.rest(head_only);
        Answer {
            status: self.status,
            headers: self.headers,
            body,
            whole,
        }
    }

    /// Reads the rest, and whether its framing came to its end; the connection stays.
    pub fn rest(&mut self, head_only: bool) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        let whole = match self.framing {
            _ if head_only || matches!(self.status, 204 | 304) => true,
            Framing::Length(length) => {
                let got = self
                    .reader
                    .by_ref()
                    .take(length as u64)
                    .read_to_end(&mut body);
                got.is_ok() && body.len() == length
            }
            Framing::ToTheEnd => self.reader.read_to_end(&mut body).is_ok(),
            Framing::Chunked => loop {
                match self.chunk() {
                    Ok(Some((piece, _))) => body.extend(piece),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            },
        };
        (body, whole)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

/// Sends these bytes, which should ask for the connection to be closed, and returns every byte that comes back.
pub fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut open = Open::with(addr, bytes).unwrap();
    let mut all = Vec::new();
    // A reset after the last byte changes nothing about what came.
    let _ = open.reader.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// The body of a GET, without a key.
pub fn get_text(addr: SocketAddr, path: &str) -> String {
    Ask::get(path).without("authorization").send(addr).text()
}

/// A chat completion's body.
pub fn chat(model: &str, stream: bool) -> String {
    let options = if stream {
        r#","stream_options":{"include_usage":true}"#
    } else {
        ""
    };
    format!(
        r#"{{"model":"{model}","stream":{stream}{options},"messages":[{{"role":"user","content":"hello"}}]}}"#
    )
}

/// A message's body.
pub fn message(model: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":64,"messages":[{{"role":"user","content":"hello"}}]}}"#
    )
}

/// A response's body.
pub fn response(model: &str, stream: bool) -> String {
    format!(r#"{{"model":"{model}","stream":{stream},"input":"hello"}}"#)
}
