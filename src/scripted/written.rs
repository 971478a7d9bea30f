//! The script as it is written: JSON. Unknown members are refused, so that a slip of the pen does not make a rule that
//! never acts. What a rule means is for others.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::base64;
use super::corpus;
use super::limits::Limits;
use super::rule::{Action, Fault, Match, Raw, Rule, ScriptError, Then};

/// What one element of a script sets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    Rule(Rule),
    /// The limits of a credential.
    Limit(String, Limits),
}

/// Reads one rule, an array of rules, or one rule a line.
pub(super) fn read(json: &str) -> Result<Vec<Line>, ScriptError> {
    values(json)?
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            line(value).map_err(|reason| ScriptError::Rule {
                rule: index + 1,
                reason,
            })
        })
        .collect()
}

fn values(json: &str) -> Result<Vec<Value>, ScriptError> {
    let mut all = Vec::new();
    for value in serde_json::Deserializer::from_str(json).into_iter::<Value>() {
        match value.map_err(ScriptError::Syntax)? {
            Value::Array(several) => all.extend(several),
            one => all.push(one),
        }
    }
    Ok(all)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, rename = "match")]
    matches: Match,
    #[serde(default)]
    times: Option<u64>,
    #[serde(default)]
    chance: Option<f64>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default, rename = "do")]
    action: Option<Value>,
    #[serde(default)]
    limit: Option<Limits>,
}

fn line(value: Value) -> Result<Line, String> {
    let written: Written = parse(value)?;
    match (written.action, written.limit) {
        (Some(value), None) => Ok(Line::Rule(Rule {
            matches: written.matches,
            times: written.times,
            chance: written.chance,
            action: action(value)?,
            delay: Duration::from_millis(written.delay_ms),
        })),
        (None, Some(limits)) => {
            let credential = written
                .matches
                .credential
                .ok_or("`limit` needs a credential in `match`")?;
            let model = limits.model.clone().or(written.matches.model);
            Ok(Line::Limit(credential, Limits { model, ..limits }))
        }
        _ => Err("it needs either `do` or `limit`".to_owned()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CorpusWords {
    corpus: String,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerWords {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWords {
    #[serde(default)]
    raw: Option<String>,
    #[serde(default)]
    raw_base64: Option<String>,
    #[serde(default = "once")]
    repeat: Option<u64>,
    #[serde(default)]
    piece: usize,
    #[serde(default)]
    gap_ms: u64,
    #[serde(default)]
    then: Then,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the shape that the member's default needs"
)]
const fn once() -> Option<u64> {
    Some(1)
}

fn action(value: Value) -> Result<Action, String> {
    let has = |name| value.get(name).is_some();
    if has("fault") {
        let alone = value.as_object().is_some_and(|members| members.len() == 1);
        let fault: Fault = parse(value)?;
        // serde lets unknown members of a variant without any pass.
        return if fault.is_bare() && !alone {
            Err(format!("the fault {:?} has no other members", fault.name()))
        } else {
            Ok(Action::Fault(fault))
        };
    }
    if has("corpus") {
        let words: CorpusWords = parse(value)?;
        if corpus::case(&words.corpus).is_none() {
            return Err(format!("the corpus has no case {:?}", words.corpus));
        }
        return Ok(Action::Corpus {
            id: words.corpus,
            headers: words.headers,
        });
    }
    if has("status") {
        return answer(parse(value)?);
    }
    if has("raw") || has("raw_base64") {
        return raw(parse(value)?);
    }
    if value.get("serve") == Some(&Value::Bool(true)) {
        return Ok(Action::Serve);
    }
    Err("`do` needs one of `corpus`, `fault`, `status`, `raw`, `raw_base64` and `serve`".to_owned())
}

fn answer(words: AnswerWords) -> Result<Action, String> {
    if !(200..=999).contains(&words.status) {
        return Err("`status` must be within 200 and 999".to_owned());
    }
    Ok(Action::Answer {
        status: words.status,
        headers: words.headers,
        body: match words.body {
            Value::Null => String::new(),
            Value::String(text) => text,
            json => json.to_string(),
        },
    })
}

fn raw(words: RawWords) -> Result<Action, String> {
    let bytes = match (words.raw, words.raw_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(coded)) => base64::decode(&coded).ok_or("`raw_base64` is not base64")?,
        _ => return Err("it needs either `raw` or `raw_base64`".to_owned()),
    };
    Ok(Action::Raw(Raw {
        bytes,
        repeat: words.repeat,
        piece: words.piece,
        gap_ms: words.gap_ms,
        then: words.then,
    }))
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Reads an object of credentials, each with one object of limits or an array of them.
pub(super) fn read_limits(json: &str) -> Result<Vec<(String, Limits)>, ScriptError> {
    let credentials: BTreeMap<String, Value> =
        serde_json::from_str(json).map_err(ScriptError::Syntax)?;
    let mut all = Vec::new();
    for (credential, value) in credentials {
        let several = match value {
            Value::Array(several) => several,
            one => vec![one],
        };
        for value in several {
            match serde_json::from_value(value) {
                Ok(limits) => all.push((credential.clone(), limits)),
                Err(source) => return Err(ScriptError::Limits { credential, source }),
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Rule {
        match read(json).unwrap().pop().unwrap() {
            Line::Rule(rule) => rule,
            Line::Limit(..) => panic!("no rule"),
        }
    }

    #[test]
    fn a_rule_is_read_as_the_issue_writes_it() {
        let rule = rule(
            r#"{"match":{"credential":"a","model":"m","path":"/v1/messages"},"times":2,"do":{"corpus":"anth-529"}}"#,
        );
        assert_eq!(rule.matches.credential.as_deref(), Some("a"));
        assert_eq!(rule.times, Some(2));
        assert!(matches!(rule.action, Action::Corpus { id, .. } if id == "anth-529"));
    }

    #[test]
    fn every_fault_is_read_by_its_name() {
        for (json, name) in [
            (r#"{"fault":"delay","ms":5}"#, "delay"),
            (r#"{"fault":"slow_stream","gap_ms":5}"#, "slow_stream"),
            (r#"{"fault":"early_429","retry_after_ms":20}"#, "early_429"),
            (r#"{"fault":"reset_on_accept"}"#, "reset_on_accept"),
            (r#"{"fault":"reset_before"}"#, "reset_before"),
            (r#"{"fault":"reset_after_request"}"#, "reset_after_request"),
            (r#"{"fault":"reset_within"}"#, "reset_within"),
            (r#"{"fault":"reset_after_head"}"#, "reset_after_head"),
            (
                r#"{"fault":"cut_stream","events":3,"clean":true}"#,
                "cut_stream",
            ),
            (r#"{"fault":"error_event_first"}"#, "error_event_first"),
            (
                r#"{"fault":"error_event_later","events":2,"error":"overloaded"}"#,
                "error_event_later",
            ),
            (r#"{"fault":"html_403"}"#, "html_403"),
            (r#"{"fault":"hang"}"#, "hang"),
            (r#"{"fault":"trickle","gap_ms":1}"#, "trickle"),
        ] {
            let Action::Fault(fault) = rule(&format!(r#"{{"do":{json}}}"#)).action else {
                panic!("{json}");
            };
            assert_eq!(fault.name(), name);
        }
    }

    #[test]
    fn rules_come_alone_as_an_array_or_line_by_line() {
        let one = r#"{"do":{"status":429,"headers":{"retry-after":"7"},"body":"slow"}}"#;
        assert_eq!(read(one).unwrap().len(), 1);
        assert_eq!(read(&format!("[{one},{one}]")).unwrap().len(), 2);
        assert_eq!(read(&format!("{one}\n{one}\n")).unwrap().len(), 2);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn limits_stand_among_the_rules() {
        let lines =
            read(r#"[{"match":{"credential":"a","model":"m"},"limit":{"requests_per_minute":3}}]"#)
                .unwrap();
        assert!(matches!(
            &lines[..],
            [Line::Limit(credential, limits)]
                if credential == "a" && limits.model.as_deref() == Some("m")
        ));
    }

    #[test]
    fn a_slip_of_the_pen_is_refused_with_the_rules_number() {
        for json in [
            r#"{"do":{"corpus":"no-such-case"}}"#,
            r#"{"do":{"fault":"no-such-fault"}}"#,
            r#"{"do":{"fault":"hang","ms":1}}"#,
            r#"{"do":{"status":42}}"#,
            r#"{"do":{}}"#,
            r#"{"match":{"key":"a"},"do":{"fault":"hang"}}"#,
            r#"{"time":1,"do":{"fault":"hang"}}"#,
            r#"{"limit":{"requests_per_minute":3}}"#,
            "7",
        ] {
            let error = read(&format!(r#"[{{"do":{{"fault":"hang"}}}},{json}]"#)).unwrap_err();
            assert!(
                matches!(error, ScriptError::Rule { rule: 2, .. }),
                "{json}: {error}"
            );
        }
        assert!(matches!(read("{"), Err(ScriptError::Syntax(_))));
    }
}
