//! The operator's own rules of what an answer means (D10): the first whose conditions all hold decides, before
//! anything is read by the provider's habits. What they mean for the subscription is the breaker's, as of any
//! verdict; which rules a provider has is the configuration's. Law: linear in what is compared, which is bounded.
//!
//! Answers of 400 and above are compared whole, as far as they were held; of those below that the head alone, so a
//! rule with a body never applies to them. Error events inside streams are not subject to rules.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::verdict::Verdict;
use crate::core::glob;

/// The most of a body's text that is compared, in bytes.
const MOST_TEXT: usize = 64 * 1024;
/// From here on an answer is an error, whatever its body.
const ERROR: u16 = 400;
/// The first status of an answer that was served.
const SERVED: u16 = 200;

/// A pattern with `*` only, over a whole text of which ASCII case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// From the pattern as written, in any case.
    pub fn new(glob: &str) -> Self {
        Self(glob.to_ascii_lowercase().into())
    }

    /// Whether a text in lower case fits.
    fn fits(&self, lower: &[u8]) -> bool {
        glob::matches(self.0.as_bytes(), lower)
    }
}

/// One rule: all that it names must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place in the file, from 0.
    pub position: usize,
    /// Any of these; empty: any status.
    pub status: Vec<RangeInclusive<u16>>,
    /// Each name has a line that fits its pattern.
    pub headers: Vec<(HeaderName, Pattern)>,
    /// What the body's text is like: decoded, without the blanks around it, at most its first 64 KiB.
    pub body: Option<Pattern>,
    /// What the answer then means.
    pub verdict: Verdict,
}

impl Rule {
    fn fits_head(&self, status: u16, headers: &HeaderMap) -> bool {
        let is_of = |range: &RangeInclusive<u16>| range.contains(&status);
        (self.status.is_empty() || self.status.iter().any(is_of))
            && self.headers.iter().all(|(name, pattern)| {
                let mut lines = headers.get_all(name).iter();
                lines.any(|line| pattern.fits(&line.as_bytes().to_ascii_lowercase()))
            })
    }
}

/// The rules of one provider, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Box<[Arc<Rule>]>);

impl FromIterator<Arc<Rule>> for Rules {
    fn from_iter<I: IntoIterator<Item = Arc<Rule>>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl Rules {
    /// Whether there is none: the common case, told before anything is asked of an answer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first rule that the answer fits. `body`: the text of an error's body, decoded; asked for at most once,
    /// and only where all else of a rule holds. `None`: no rule decides, and so for whatever is no answer at all.
    pub fn first<'b>(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: impl FnOnce() -> Cow<'b, [u8]>,
    ) -> Option<&Rule> {
        if self.is_empty() || status < SERVED {
            return None;
        }
        let mut body = Some(body);
        let mut text: Option<Vec<u8>> = None;
        let mut fits = |rule: &Rule| {
            if !rule.fits_head(status, headers) {
                return false;
            }
            let Some(pattern) = &rule.body else {
                return true;
            };
            if status < ERROR {
                return false;
            }
            if let Some(body) = body.take() {
                text = Some(compared(&body()));
            }
            text.as_deref().is_some_and(|text| pattern.fits(text))
        };
        self.0.iter().map(|rule| &**rule).find(|rule| fits(rule))
    }
}

/// What of a body is compared.
fn compared(body: &[u8]) -> Vec<u8> {
    let text = body.trim_ascii();
    text.get(..MOST_TEXT).unwrap_or(text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::verdict::Class;
    use super::*;

    fn rule(
        position: usize,
        status: &[RangeInclusive<u16>],
        headers: &[(&'static str, &str)],
        body: Option<&str>,
    ) -> Arc<Rule> {
        Arc::new(Rule {
            position,
            status: status.to_vec(),
            headers: headers
                .iter()
                .map(|(name, glob)| (HeaderName::from_static(name), Pattern::new(glob)))
                .collect(),
            body: body.map(Pattern::new),
            verdict: Verdict::of(Class::RateLimited),
        })
    }

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn first(rules: &Rules, status: u16, headers: &HeaderMap, body: &[u8]) -> Option<usize> {
        let found = rules.first(status, headers, || Cow::Borrowed(body));
        found.map(|rule| rule.position)
    }

    // D10
    #[test]
    fn every_condition_that_a_rule_names_must_hold() {
        let busy = head(&[("x-error", "Model at CAPACITY now"), ("via", "1.1 edge")]);
        let check = |one: Arc<Rule>, status: u16, body: &str, expected: bool| {
            let shown = format!("{one:?} {status} {body}");
            let rules = Rules::from_iter([one]);
            let found = first(&rules, status, &busy, body.as_bytes());
            assert_eq!(found.is_some(), expected, "{shown}");
        };
        check(rule(0, &[429..=429, 500..=599], &[], None), 429, "", true);
        check(rule(0, &[429..=429, 500..=599], &[], None), 503, "", true);
        check(rule(0, &[429..=429, 500..=599], &[], None), 400, "", false);
        let capacity = [("x-error", "*capacity*")];
        check(rule(0, &[], &capacity, None), 200, "", true);
        check(rule(0, &[], &capacity, None), 418, "", true);
        check(
            rule(0, &[], &[("x-error", "capacity")], None),
            418,
            "",
            false,
        );
        check(rule(0, &[], &[("x-other", "*")], None), 418, "", false);
        let both = [("x-error", "*capacity*"), ("via", "*EDGE")];
        check(rule(0, &[], &both, None), 418, "", true);
        let one = [("x-error", "*capacity*"), ("via", "edge*")];
        check(rule(0, &[], &one, None), 418, "", false);
        let monthly = Some("*Monthly credit*");
        check(
            rule(0, &[], &[], monthly),
            400,
            "your MONTHLY Credit is used",
            true,
        );
        check(
            rule(0, &[], &[], monthly),
            400,
            "your credit is used",
            false,
        );
        check(
            rule(0, &[403..=403], &[], monthly),
            400,
            "monthly credit",
            false,
        );
        check(
            rule(0, &[], &capacity, monthly),
            400,
            "monthly credit",
            true,
        );
        check(
            rule(0, &[], &[("x-error", "")], monthly),
            400,
            "monthly credit",
            false,
        );
        check(rule(0, &[], &[], Some("busy")), 400, "\r\n Busy\n", true);
        check(rule(0, &[], &[], Some("busy")), 400, "busy!", false);
    }

    // D10: any line of a name will do
    #[test]
    fn of_several_lines_of_a_header_one_must_fit() {
        let rules = Rules::from_iter([rule(0, &[], &[("x-error", "b*")], None)]);
        let lines = head(&[("x-error", "a"), ("x-error", "bc")]);
        assert_eq!(first(&rules, 500, &lines, b""), Some(0));
        assert_eq!(first(&rules, 500, &head(&[("x-error", "ab")]), b""), None);
    }

    // D10
    #[test]
    fn a_served_answer_is_compared_by_its_head_and_its_body_never_asked_for() {
        let rules = Rules::from_iter([
            rule(0, &[], &[], Some("*")),
            rule(1, &[200..=299], &[("x-error", "*")], None),
        ]);
        let asked = |status, headers: &HeaderMap| {
            let found = rules.first(status, headers, || panic!("asked for"));
            found.map(|rule| rule.position)
        };
        assert_eq!(asked(200, &head(&[("x-error", "y")])), Some(1));
        assert_eq!(asked(200, &HeaderMap::new()), None);
        assert_eq!(asked(302, &head(&[("x-error", "y")])), None);
        // No answer, and what no provider ends an exchange with.
        assert_eq!(asked(0, &HeaderMap::new()), None);
        assert_eq!(asked(101, &HeaderMap::new()), None);
    }

    // D10
    #[test]
    fn a_body_that_no_rule_can_need_is_not_decoded() {
        let rules = Rules::from_iter([
            rule(0, &[500..=599], &[], Some("*x*")),
            rule(1, &[429..=429], &[], None),
        ]);
        let found = rules.first(429, &HeaderMap::new(), || panic!("decoded"));
        assert_eq!(found.map(|rule| rule.position), Some(1));
        let none = Rules::default();
        assert!(none.is_empty());
        let found = none.first(429, &HeaderMap::new(), || panic!("decoded"));
        assert_eq!(found, None);
    }

    // D10: bounded
    #[test]
    fn what_lies_beyond_64_kib_of_text_is_not_compared() {
        let rules = Rules::from_iter([rule(0, &[], &[], Some("*needle*"))]);
        let mut text = vec![b'.'; MOST_TEXT - 6];
        text.extend_from_slice(b"needle, and more");
        assert_eq!(first(&rules, 400, &HeaderMap::new(), &text), Some(0));
        text.insert(0, b'.');
        assert_eq!(first(&rules, 400, &HeaderMap::new(), &text), None);
    }

    /// What a rule is about, small enough that rules often meet.
    #[derive(Clone, Debug)]
    struct Plain {
        status: Option<u16>,
        header: Option<&'static str>,
        body: Option<&'static str>,
    }

    impl Plain {
        /// The definition.
        fn holds(&self, status: u16, header: Option<&str>, body: &str) -> bool {
            self.status.is_none_or(|one| one == status)
                && self.header.is_none_or(|one| header == Some(one))
                && self.body.is_none_or(|one| 400 <= status && body == one)
        }
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let word = proptest::option::of(proptest::sample::select(vec!["a", "b"]));
        let status = proptest::option::of(proptest::sample::select(vec![200_u16, 400, 429]));
        (status, word.clone(), word).prop_map(|(status, header, body)| Plain {
            status,
            header,
            body,
        })
    }

    proptest! {
        // D10: the first match in file order wins, whatever comes behind it
        #[test]
        fn the_first_rule_that_holds_decides(
            plain in proptest::collection::vec(plain(), 0..6),
            status in proptest::sample::select(vec![200_u16, 400, 429]),
            header in proptest::option::of(proptest::sample::select(vec!["a", "b"])),
            body in proptest::sample::select(vec!["a", "b", ""]),
        ) {
            let rules: Rules = plain
                .iter()
                .enumerate()
                .map(|(position, one)| {
                    let status: Vec<_> = one.status.iter().map(|&status| status..=status).collect();
                    let headers: Vec<_> = one.header.iter().map(|&value| ("x-a", value)).collect();
                    rule(position, &status, &headers, one.body)
                })
                .collect();
            let lines: Vec<_> = header.iter().map(|&value| ("x-a", value)).collect();
            let expected = plain.iter().position(|one| one.holds(status, header, body));
            prop_assert_eq!(first(&rules, status, &head(&lines), body.as_bytes()), expected);
        }
    }
}
