//! `authpool classify`: recorded answers as JSON lines in the corpus's form in, verdicts as JSON lines out (O3).
//! A case names no endpoint: it is taken for inference. What an answer means is the core's, which rules there are a
//! configuration's (D10); here is only the form.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{ConfigError, Glob, Machine, ReadingConfig};
use crate::core::dialect::answer::{self, Answer};
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::ledger::usage::Usage;
use crate::core::limit::headroom::Headroom;
use crate::core::limit::rules::Rules;
use crate::core::limit::verdict::{Class, Verdict};

/// The longest line that is read.
const MAX_LINE: u64 = 64 << 20;

/// Why classifying ended early. Verdicts of earlier lines have been written.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The configuration whose rules are asked for cannot be taken.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
/// `config`: the file whose rules come first; nothing but its providers and rules is read. `None`: no rules.
pub fn run(
    input: Option<&Path>,
    config: Option<&Path>,
    out: &mut impl Write,
) -> Result<(), ClassifyError> {
    let config = config.map(|path| ReadingConfig::load(path, &Machine));
    let config = config.transpose()?;
    match input {
        None => classify(io::stdin().lock(), config.as_ref(), out),
        Some(path) => {
            let file = File::open(path).map_err(|source| ClassifyError::Open {
                path: path.display().to_string(),
                source,
            })?;
            classify(BufReader::new(file), config.as_ref(), out)
        }
    }
}

fn classify(
    mut input: impl BufRead,
    config: Option<&ReadingConfig>,
    out: &mut impl Write,
) -> Result<(), ClassifyError> {
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
        let verdict =
            verdict_line(text, config).map_err(|fault| ClassifyError::Line { line, fault })?;
        writeln!(out, "{verdict}").map_err(ClassifyError::Write)?;
    }
    out.flush().map_err(ClassifyError::Write)
}

/// Whose habits a case's provider has, and the rules for it. The name is a configured provider's id, else a flavour;
/// then every rule counts that is for some configured provider of that flavour, or for all.
fn known(name: &str, config: Option<&ReadingConfig>) -> Option<(Flavour, Rules)> {
    let Some(config) = config else {
        return Some((Flavour::parse(name)?, Rules::default()));
    };
    let by_id: Vec<_> = config
        .providers
        .iter()
        .filter(|one| &*one.id == name)
        .collect();
    let (flavour, alike) = match by_id.first() {
        Some(provider) => (provider.flavour, by_id),
        None => {
            let flavour = Flavour::parse(name)?;
            let providers = config.providers.iter();
            let alike = providers.filter(|one| one.flavour == flavour).collect();
            (flavour, alike)
        }
    };
    let rules = config.rules.iter().filter(|rule| {
        rule.providers.iter().any(Glob::matches_all)
            || alike.iter().any(|provider| rule.covers(&provider.id))
    });
    let rules = rules.map(|rule| Arc::clone(&rule.rule)).collect();
    Some((flavour, rules))
}

fn verdict_line(text: &[u8], config: Option<&ReadingConfig>) -> Result<Value, String> {
    let case: Case = serde_json::from_slice(text).map_err(|fault| fault.to_string())?;
    let (flavour, rules) = known(&case.provider, config)
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
    let answer = Answer {
        flavour,
        endpoint: inference(flavour),
        status: case.status,
        headers: &headers,
        body: &body,
        received_at,
    };
    let rule = rules.first(case.status, &headers, || answer::decode(&headers, &body));
    let verdict = match rule.map(|rule| rule.verdict) {
        None => read(&answer, case.stream),
        // A stream that is served says for itself what went wrong in it.
        Some(ruled) if case.stream && ruled.class == Class::Ok && case.status < 400 => {
            read(&answer, true)
        }
        Some(ruled) => ruled,
    };
    let mut usage = answer::head_usage(&headers);
    usage.update(answer::usage(flavour, &body, case.stream));
    let headroom = answer::headroom(flavour, &headers, received_at);
    let mut line = line(&case.id, verdict, usage, &headroom);
    if config.is_some()
        && let Some(members) = line.as_object_mut()
    {
        let position = rule.map(|rule| rule.position);
        members.insert("rule".to_owned(), json!(position));
    }
    Ok(line)
}

/// What an answer means by the provider's habits.
fn read(answer: &Answer<'_>, stream: bool) -> Verdict {
    let verdict = answer::verdict(answer);
    let whole = || answer::decode(answer.headers, answer.body);
    // A recorded body is all that came.
    if stream && verdict == Verdict::OK && answer::breaks_off(&whole()) {
        return Verdict::of(Class::UpstreamError);
    }
    verdict
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
        let result = classify(input.as_bytes(), None, &mut out);
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

    /// One line for each provider that a case names, of the same answer.
    fn ruled(config: &str, providers: &[&str], rest: &str) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let (path, cases) = (folder.path().join("a.toml"), folder.path().join("cases"));
        std::fs::write(&path, config).unwrap();
        let lines = providers.iter().map(|provider| {
            let known = "\"id\":1,\"received_at\":\"2026-10-01\"";
            format!("{{{known},\"provider\":{provider:?},{rest}}}\n")
        });
        std::fs::write(&cases, lines.collect::<String>()).unwrap();
        let mut out = Vec::new();
        run(Some(&cases), Some(&path), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Two providers of one flavour, and no secret that could be found.
    const CONFIG: &str = r#"
        [[provider]]
        id = "east"
        dialect = "openai"
        base_url = "https://east.example/v1"
        flavour = "groq"
        [[provider]]
        id = "west"
        dialect = "openai"
        base_url = "https://west.example/v1"
        flavour = "groq"
        [[subscription]]
        id = "a"
        provider = "east"
        credential = { env = "NOWHERE" }
        [[rule]]
        providers = ["east"]
        status = [400]
        body = "*seat*"
        verdict = "quota_exhausted"
        scope = ["per_credential", "month"]
        wait = "1h"
        [[rule]]
        headers = { x-edge = "*" }
        verdict = "ok"
    "#;

    // D10, O3
    #[test]
    fn the_rules_of_a_configuration_come_first_and_are_named_by_their_place() {
        let providers = ["east", "west", "groq", "openai"];
        let refused = "\"status\":400,\"body\":\"No SEAT left\"";
        let found = ruled(CONFIG, &providers, refused);
        let short = |line: &Value| (line["class"].clone(), line["rule"].clone());
        let quota = (json!("quota_exhausted"), json!(0));
        let fault = (json!("client_error"), Value::Null);
        let expected = [quota.clone(), fault.clone(), quota, fault];
        assert_eq!(found.iter().map(short).collect::<Vec<_>>(), expected);
        assert_eq!(found[0]["retry_after_s"], 3600.0);
        assert_eq!(found[0]["scope"], json!(["per_credential", "month"]));
        assert_eq!(found[0].as_object().unwrap().len(), 7);
        // For all providers, also where none of that flavour is configured.
        let edge = "\"status\":503,\"headers\":[[\"x-edge\",\"y\"]]";
        let found = ruled(CONFIG, &providers, edge);
        assert!(found.iter().all(|line| line["rule"] == 1), "{found:?}");
    }

    // D10
    #[test]
    fn a_rule_reads_the_text_of_a_compressed_body() {
        // "No seat left", by gzip.
        let body = "H4sIAAAAAAACA/PLVyhOTSxRyElNKwEAlo1DWAwAAAA=";
        let rest = format!("\"status\":400,\"body_encoding\":\"base64\",\"body\":\"{body}\"");
        assert_eq!(ruled(CONFIG, &["east"], &rest)[0]["rule"], 0);
    }

    // D10: error events inside streams are not subject to rules
    #[test]
    fn a_served_stream_tells_its_own_errors_whatever_a_rule_says_of_its_head() {
        let body = r#""body":"data: {\"error\":{\"message\":\"slow\",\"code\":\"rate_limit_exceeded\"}}\n\n""#;
        let head = r#""status":200,"stream":true,"headers":[["x-edge","y"],["content-type","text/event-stream"]]"#;
        let found = ruled(CONFIG, &["west"], &format!("{head},{body}"));
        assert_eq!(found[0]["class"], "rate_limited");
        assert_eq!(found[0]["rule"], 1);
    }

    // O1
    #[test]
    fn a_configuration_that_cannot_be_taken_is_told_before_any_case_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, CONFIG.replace("\"ok\"", "\"okay\"")).unwrap();
        let error = run(None, Some(&path), &mut Vec::new()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("rule[1].verdict: `okay` is no verdict"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let cases = Path::new("/nowhere/cases.jsonl");
        let error = run(Some(cases), None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nowhere/cases.jsonl");
    }
}
