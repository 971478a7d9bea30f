//! `authpool classify`: recorded answers as JSON lines in the corpus's form in, verdicts as JSON lines out (O3).
//! A case names no endpoint: it is taken for inference. What an answer means is the core's; here is only the form.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::core::dialect::answer::{self, Answer};
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::ledger::usage::Usage;
use crate::core::limit::headroom::Headroom;
use crate::core::limit::verdict::{Class, Verdict};

/// The longest line that is read.
const MAX_LINE: u64 = 64 << 20;

/// Why classifying ended early. Verdicts of earlier lines have been written.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The file cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// As it was given.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A line is no case; the first one ends the run.
    #[error("line {line} is not a case: {fault}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// The input broke.
    #[error("cannot read line {line}")]
    Read {
        /// From 1.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// The output broke.
    #[error("cannot write a verdict")]
    Write(#[source] io::Error),
}

/// One line of the corpus's form. What a grader needs beside it (`expect`, `note`, ...) is not looked at.
#[derive(Deserialize)]
struct Case {
    id: Value,
    provider: String,
    received_at: String,
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    body_encoding: Option<String>,
    #[serde(default)]
    stream: bool,
}

/// Reads cases from the file, or from standard input, and writes one verdict a line. Empty lines are skipped.
pub fn run(input: Option<&Path>, out: &mut impl Write) -> Result<(), ClassifyError> {
    match input {
        None => classify(io::stdin().lock(), out),
        Some(path) => {
            let file = File::open(path).map_err(|source| ClassifyError::Open {
                path: path.display().to_string(),
                source,
            })?;
            classify(BufReader::new(file), out)
        }
    }
}

fn classify(mut input: impl BufRead, out: &mut impl Write) -> Result<(), ClassifyError> {
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let length = io::Read::take(&mut input, MAX_LINE)
            .read_until(b'\n', &mut text)
            .map_err(|source| ClassifyError::Read { line, source })?;
        if length == 0 {
            break;
        }
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let verdict = verdict_line(text).map_err(|fault| ClassifyError::Line { line, fault })?;
        writeln!(out, "{verdict}").map_err(ClassifyError::Write)?;
    }
    out.flush().map_err(ClassifyError::Write)
}

fn verdict_line(text: &[u8]) -> Result<Value, String> {
    let case: Case = serde_json::from_slice(text).map_err(|fault| fault.to_string())?;
    let flavour = Flavour::parse(&case.provider)
        .ok_or_else(|| format!("unknown provider {:?}", case.provider))?;
    let received_at = answer::instant(&case.received_at)
        .ok_or_else(|| format!("unreadable received_at {:?}", case.received_at))?;
    let headers = headers(&case.headers)?;
    let body = match case.body_encoding.as_deref() {
        None => case.body.into_bytes(),
        Some("base64") => answer::decode_base64(case.body.as_bytes())
            .ok_or_else(|| "body is not base64".to_owned())?,
        Some(other) => return Err(format!("unknown body_encoding {other:?}")),
    };
    let mut verdict = answer::verdict(&Answer {
        flavour,
        endpoint: inference(flavour),
        status: case.status,
        headers: &headers,
        body: &body,
        received_at,
    });
    // A recorded body is all that came.
    if case.stream && verdict == Verdict::OK && answer::breaks_off(&answer::decode(&headers, &body))
    {
        verdict = Verdict::of(Class::UpstreamError);
    }
    let mut usage = answer::head_usage(&headers);
    usage.update(answer::usage(flavour, &body, case.stream));
    let headroom = answer::headroom(flavour, &headers, received_at);
    Ok(line(&case.id, verdict, usage, &headroom))
}

/// The endpoint that a flavour's cases are taken to have asked.
fn inference(flavour: Flavour) -> Endpoint {
    match flavour {
        Flavour::Anthropic | Flavour::ClaudeSubscription => Endpoint::Messages,
        Flavour::Generic => Endpoint::Other,
        _ => Endpoint::ChatCompletions,
    }
}

fn headers(lines: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    // Recorders of HTTP/2 list pseudo-headers too.
    for (name, value) in lines.iter().filter(|(name, _)| !name.starts_with(':')) {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("no header name: {name:?}"))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| format!("no header value: {value:?} of {name}"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn line(id: &Value, verdict: Verdict, usage: Usage, headroom: &[Headroom]) -> Value {
    let usage = (!usage.is_unknown()).then(|| {
        json!({
            "input_tokens": usage.input,
            "output_tokens": usage.output,
            "cache_read_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        })
    });
    let headroom: Vec<Value> = headroom
        .iter()
        .map(|reading| {
            json!({
                "dimension": reading.dimension,
                "limit": reading.limit,
                "remaining": reading.remaining,
                "reset_s": reading.reset.map(|reset| reset.as_secs_f64()),
            })
        })
        .collect();
    json!({
        "id": id,
        "class": verdict.class.name(),
        "scope": verdict.scope.words().collect::<Vec<_>>(),
        "retry_after_s": verdict.wait.map(|wait| wait.as_secs_f64()),
        "usage": usage,
        "headroom": headroom,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(input: &str) -> (String, Result<(), ClassifyError>) {
        let mut out = Vec::new();
        let result = classify(input.as_bytes(), &mut out);
        (String::from_utf8(out).unwrap(), result)
    }

    // O3
    #[test]
    fn a_case_becomes_its_verdict_and_an_empty_line_nothing() {
        let (out, result) = classified(
            "\n{\"id\":\"a\",\"provider\":\"openai\",\"received_at\":\"2026-10-01T00:00:00Z\",\"status\":429,\
             \"headers\":[[\"Retry-After\",\"7\"]],\"body\":\"e30=\",\"body_encoding\":\"base64\"}\n",
        );
        result.unwrap();
        let line: Value = serde_json::from_str(out.trim()).unwrap();
        let expected = json!({
            "id": "a", "class": "rate_limited", "scope": [], "retry_after_s": 7.0, "usage": null, "headroom": [],
        });
        assert_eq!(line, expected);
    }

    // O3: one clear error.
    #[test]
    fn a_bad_line_is_one_error_that_names_its_number() {
        let good =
            "{\"id\":1,\"provider\":\"openai\",\"received_at\":\"2026-10-01\",\"status\":200}";
        for bad in [
            "nonsense",
            "{\"id\":1}",
            "{\"id\":1,\"provider\":\"nobody\",\"received_at\":\"2026-10-01\",\"status\":200}",
            "{\"id\":1,\"provider\":\"openai\",\"received_at\":\"yesterday\",\"status\":200}",
            "{\"id\":1,\"provider\":\"openai\",\"received_at\":\"2026-10-01\",\"status\":200,\"headers\":[[\"a b\",\"\"]]}",
        ] {
            let (out, result) = classified(&format!("{good}\n\n{bad}\n{good}\n"));
            assert_eq!(out.lines().count(), 1, "{bad}");
            let message = result.unwrap_err().to_string();
            assert!(message.starts_with("line 3 is not a case: "), "{message}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = run(Some(Path::new("/nowhere/cases.jsonl")), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nowhere/cases.jsonl");
    }
}
