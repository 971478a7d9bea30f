//! What the sentence of an error says: what is limited, whose it is, over which window, and whether it speaks of
//! money, of the key, of capacity or of the request. Only ever shown the error's own message, never an answer.
//! Advice ("Please reduce the prompt length ...") is left out, for it names things that are not the limit.

use super::phrases;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::Class;

/// The most of a message that is read.
const MAX_MESSAGE: usize = 4_096;

/// One message, made ready to be asked.
pub(super) struct Wording {
    /// In lower case, whole.
    text: String,
    /// In lower case, without advice and addresses.
    stated: String,
    /// The words of `stated`; `/` is one of its own.
    words: Vec<String>,
}

impl Wording {
    /// At most the first 4 KiB are read.
    pub(super) fn of(message: &str) -> Self {
        let text: String = message.chars().take(MAX_MESSAGE).collect();
        let stated: String = sentences(&text)
            .filter(|sentence| !is_advice(&sentence.to_lowercase()))
            .flat_map(|sentence| [sentence, ". "])
            .collect();
        let words = spelt_out(&stated)
            .to_lowercase()
            .split_inclusive(|c: char| !c.is_alphanumeric())
            .flat_map(|word| {
                let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
                let slash = word.ends_with('/').then_some("/");
                [Some(bare), slash]
            })
            .flatten()
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        Self {
            text: text.to_lowercase(),
            stated: stated.to_lowercase(),
            words,
        }
    }

    /// The whole message in lower case, advice included.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether one of the phrases is stated.
    fn states(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.stated.contains(phrase))
    }

    /// Whether the words stand side by side.
    fn has(&self, words: &[&str]) -> bool {
        self.words.windows(words.len()).any(|window| {
            window
                .iter()
                .zip(words)
                .all(|(word, sought)| word == sought)
        })
    }

    /// Whether any of the groups of words stands in it.
    fn has_any(&self, groups: &[&[&str]]) -> bool {
        groups.iter().any(|words| self.has(words))
    }

    /// Whether the request itself is larger than what is ever allowed at once.
    pub(super) fn is_too_large(&self) -> bool {
        self.states(phrases::TOO_LARGE)
    }

    /// Whether something could not reach what lies behind it.
    pub(super) fn is_connect_failure(&self) -> bool {
        self.states(phrases::CONNECT) && !self.stated.contains("overflow")
    }

    /// Whether it speaks of credits, a balance, a bill or a limit of spending.
    pub(super) fn is_money(&self) -> bool {
        self.states(phrases::MONEY)
    }

    /// Whether a plan's own window is spent, in the words that subscriptions use.
    pub(super) fn is_plan_limit(&self) -> bool {
        self.states(phrases::PLAN)
    }

    /// Whether "your current quota" is exceeded: OpenAI's words for money, Google's for any quota.
    pub(super) fn is_current_quota(&self) -> bool {
        self.states(&["exceeded your current quota"])
    }

    /// Whether the provider or the model has no room.
    pub(super) fn is_capacity(&self) -> bool {
        self.states(phrases::CAPACITY)
    }

    /// Whether the key, or the account that it belongs to, is refused.
    pub(super) fn is_credential(&self) -> bool {
        let key = self.states(phrases::KEY) && self.states(phrases::REFUSED);
        let owner = sentences(&self.stated).any(|sentence| {
            let Some(from) = phrases::OWNER
                .iter()
                .filter_map(|owner| sentence.find(owner))
                .min()
            else {
                return false;
            };
            let rest = sentence.get(from..).unwrap_or_default();
            phrases::BARRED.iter().any(|barred| {
                [" has been ", " is ", " was "]
                    .iter()
                    .any(|verb| rest.contains(&format!("{verb}{barred}")))
            })
        });
        key || owner
    }

    /// Whether the place that the request comes from is refused.
    pub(super) fn is_region(&self) -> bool {
        self.states(phrases::REGION)
    }

    /// Whether a refusal concerns what was asked rather than who asks.
    pub(super) fn is_about_request(&self) -> bool {
        let is_someone = ["key", "account", "user", "organization", "credentials"]
            .iter()
            .any(|word| self.has(&[word]));
        self.states(phrases::REQUEST) && !is_someone
    }

    /// Whether it speaks of a rate, in an answer whose status does not.
    pub(super) fn is_rate(&self) -> bool {
        self.states(phrases::RATE)
    }

    /// The class that the sentence alone suggests, where neither status nor code told.
    pub(super) fn class(&self) -> Option<Class> {
        if self.is_money() {
            Some(Class::QuotaExhausted)
        } else if self.is_capacity() {
            Some(Class::Overloaded)
        } else if self.is_plan_limit() {
            Some(Class::QuotaExhausted)
        } else if self.is_rate() {
            Some(Class::RateLimited)
        } else if self.is_credential() {
            Some(Class::CredentialInvalid)
        } else {
            None
        }
    }

    /// Everything that it says of the limit.
    pub(super) fn scope(&self) -> Scope {
        self.counted() | self.owner() | self.window()
    }

    /// What is counted. "Too many requests" alone is the status's own phrase and says nothing.
    fn counted(&self) -> Scope {
        let mut scope = self.tokens();
        let is_phrase = self.words == ["too", "many", "requests"];
        let is_counted = self.has_any(phrases::REQUESTS) || self.stated.contains("请求数");
        if is_counted && !is_phrase {
            scope = scope | Scope::REQUESTS;
        }
        let is_concurrency = self
            .words
            .iter()
            .any(|word| word.starts_with("concurren") || word == "simultaneous");
        if is_concurrency || self.has_any(phrases::CONCURRENCY) || self.stated.contains("并发") {
            scope = scope | Scope::CONCURRENCY;
        }
        scope
    }

    fn tokens(&self) -> Scope {
        let mut scope = Scope::NONE;
        let mut before = "";
        for word in &self.words {
            if matches!(word.as_str(), "token" | "tokens" | "tpm" | "tpd" | "tph") {
                scope = scope
                    | match before {
                        "input" | "prompt" => Scope::INPUT_TOKENS,
                        "output" | "completion" => Scope::OUTPUT_TOKENS,
                        _ => Scope::TOKENS,
                    };
            }
            before = word;
        }
        // "40,000 input tokens per minute (ITPM)" counts one thing.
        if scope.intersects(Scope::INPUT_TOKENS | Scope::OUTPUT_TOKENS) {
            scope = scope.without(Scope::TOKENS);
        }
        scope
    }

    /// Whose the limit is.
    fn owner(&self) -> Scope {
        let is_model = self.has(&["model"])
            || self.names_model()
            || self.names_after_reached()
            || self.states(&["rate-limited upstream", "该模型"]);
        [
            (is_model, Scope::PER_MODEL),
            (self.has_any(phrases::PER_ORG), Scope::PER_ORG),
            (self.has_any(phrases::PER_CREDENTIAL), Scope::PER_CREDENTIAL),
            (self.has_any(phrases::PER_IP), Scope::PER_IP),
        ]
        .into_iter()
        .filter(|(is_said, _)| *is_said)
        .fold(Scope::NONE, |scope, (_, word)| scope | word)
    }

    /// "Rate limit reached for NAME in organization": whatever the name, it is a model's, unless it is what is
    /// counted.
    fn names_after_reached(&self) -> bool {
        let Some(rest) = self.stated.split("reached for ").nth(1) else {
            return false;
        };
        let (name, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_placed = ["in organization", "in project", "(for limit"]
            .iter()
            .any(|place| after.starts_with(place));
        let is_counted = matches!(
            name,
            "requests" | "tokens" | "images" | "usage" | "concurrency"
        );
        is_placed && !is_counted || name.contains('-') && after.starts_with("in ")
    }

    /// Whether a word is the name of a model: `gpt-4o`, `google/gemini-2.0-flash-exp:free`.
    fn names_model(&self) -> bool {
        let spaced = self.words.windows(2).any(|words| {
            matches!(words, [family, version]
                if matches!(family.as_str(), "gemini" | "gpt" | "llama")
                    && version.bytes().all(|byte| byte.is_ascii_digit()))
        });
        spaced
            || self
                .stated
                .split(|c: char| {
                    c.is_whitespace() || matches!(c, '`' | '\'' | '"' | '(' | ')' | ',')
                })
                .any(|word| {
                    let name = word.rsplit('/').next().unwrap_or(word);
                    let name = name.strip_prefix("default-").unwrap_or(name);
                    phrases::FAMILIES.iter().any(|family| {
                        name.strip_prefix(family).is_some_and(|rest| {
                            rest.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                                || (rest.is_empty()
                                    && family.ends_with(|c: char| c.is_ascii_digit()))
                        })
                    })
                })
    }

    /// The windows that it names. "Either the credits or the monthly limit" names none.
    pub(super) fn window(&self) -> Scope {
        if self.has(&["either"]) {
            return Scope::NONE;
        }
        let mut scope = Scope::NONE;
        let mut before = "";
        for word in &self.words {
            let per = matches!(before, "per" | "/" | "by" | "each" | "a");
            let window = match word.as_str() {
                "tpm" | "rpm" | "itpm" | "otpm" => Scope::MINUTE,
                "minute" | "min" if per => Scope::MINUTE,
                "hourly" | "tph" | "rph" => Scope::HOUR,
                "hour" if per => Scope::HOUR,
                "hour" | "hours" | "h" if matches!(before, "5" | "five") => Scope::FIVE_HOUR,
                "daily" | "tpd" | "rpd" => Scope::DAY,
                "day" if per => Scope::DAY,
                "weekly" => Scope::WEEK,
                "week" if per => Scope::WEEK,
                "monthly" => Scope::MONTH,
                "month" if per => Scope::MONTH,
                _ => Scope::NONE,
            };
            scope = scope | window;
            before = word;
        }
        for (phrase, window) in phrases::CHINESE_WINDOWS {
            if self.stated.contains(phrase) {
                scope = scope | *window;
            }
        }
        scope
    }
}

/// Sentences without their addresses' words.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '!', '?', ';'])
        .flat_map(|line| line.split(". "))
        .map(|sentence| sentence.split("http").next().unwrap_or(sentence))
        .map(|sentence| sentence.trim().trim_end_matches('.'))
        .filter(|sentence| !sentence.is_empty())
}

fn is_advice(sentence: &str) -> bool {
    phrases::ADVICE.iter().any(|start| {
        sentence
            .strip_prefix(start)
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
}

/// A compound name as words: `GenerateRequestsPerDayPerProject`, `generate_requests_per_day`.
pub(super) fn spelt_out(name: &str) -> String {
    let mut words = String::with_capacity(name.len() * 2);
    let mut was_lower = false;
    for c in name.chars().take(MAX_MESSAGE) {
        if c.is_uppercase() && was_lower {
            words.push(' ');
        }
        was_lower = c.is_lowercase();
        words.push(if matches!(c, '_' | '-') { ' ' } else { c });
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: Scope) {
        assert_eq!(Wording::of(message).scope(), expected, "{message}");
    }

    // Corpus, Scope words; D3.
    #[test]
    fn a_sentence_says_what_is_counted_whose_it_is_and_over_which_window() {
        let org_minute = Scope::PER_ORG | Scope::MINUTE;
        check(
            "Rate limit reached for o3 in organization org-x on requests per min (RPM): Limit 3, Used 3.",
            Scope::REQUESTS | Scope::PER_MODEL | org_minute,
        );
        check(
            "Rate limit reached for m1 in organization org-x on requests per min (RPM): Limit 3, Used 3.",
            Scope::REQUESTS | Scope::PER_MODEL | org_minute,
        );
        check(
            "Rate limit reached for requests in organization org-x on requests per min (RPM): Limit 3.",
            Scope::REQUESTS | org_minute,
        );
        check(
            "This request would exceed your organization's rate limit of 8,000 output tokens per minute",
            Scope::OUTPUT_TOKENS | org_minute,
        );
        check(
            "Number of request tokens has exceeded your daily rate limit",
            Scope::TOKENS | Scope::DAY,
        );
        check("You have reached your 5-hour usage limit", Scope::FIVE_HOUR);
        check("API rate limit exceeded for your IP address", Scope::PER_IP);
    }

    #[test]
    fn advice_and_addresses_name_no_limit() {
        check(
            "Rate limited. Please reduce the tokens per minute. See https://x.org/requests-per-day",
            Scope::NONE,
        );
        check("Too Many Requests", Scope::NONE);
        check(
            "Too many requests, please wait before trying again.",
            Scope::REQUESTS,
        );
    }

    #[test]
    fn compound_names_are_read_as_words() {
        assert_eq!(
            spelt_out("GenerateContentInputTokensPerModelPerMinute-FreeTier"),
            "Generate Content Input Tokens Per Model Per Minute Free Tier"
        );
        check(
            &spelt_out("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            Scope::REQUESTS | Scope::PER_MODEL | Scope::DAY,
        );
    }

    #[test]
    fn what_a_sentence_is_about_is_told_by_phrases_not_by_single_words() {
        assert!(Wording::of("You have run out of credits").is_money());
        assert!(!Wording::of("Too many strict tools (21).").is_rate());
        assert!(Wording::of("Your account has been deactivated").is_credential());
        assert!(!Wording::of("messages.0: invalid").is_credential());
        assert!(Wording::of("The engine is currently overloaded").is_capacity());
        assert!(!Wording::of("You have exhausted your capacity on this model").is_capacity());
    }
}
