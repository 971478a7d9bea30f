//! The script as it runs: which rule a request meets, and how many it has left. What a rule does is carried out
//! elsewhere. The first rule that fits decides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limits::{Book, Limits};
use super::rule::{Action, Fault, Match, Rule, ScriptError};
use super::written::{Line, read, read_limits};

/// The rules and limits of a running provider. Clones share them.
#[derive(Clone, Debug)]
pub struct Script(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How many rules there are, so that a provider without any takes no lock.
    armed: AtomicUsize,
    rules: Mutex<Rules>,
    limits: Book,
}

#[derive(Debug)]
struct Rules {
    listed: Vec<Listed>,
    next: u64,
    entropy: fastrand::Rng,
}

#[derive(Debug)]
struct Listed {
    /// Ascending along the list, never used twice.
    number: u64,
    matches: Match,
    left: Option<u64>,
    chance: Option<f64>,
    deed: Arc<Deed>,
}

/// What a rule does, once it has been met.
#[derive(Debug)]
pub(super) struct Deed {
    pub(super) action: Action,
    /// Waited before that, once the request has been read.
    pub(super) delay: Duration,
}

/// What a request's head, or its head and body, has met.
#[derive(Debug)]
pub(super) enum Met {
    /// No rule.
    Nothing,
    /// This one, now counted.
    Deed(Arc<Deed>),
    /// A rule that asks for the model: go on from its number once the body has been read.
    AskModel(u64),
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Inner {
            armed: AtomicUsize::new(0),
            rules: Mutex::new(Rules {
                listed: Vec::new(),
                next: 0,
                entropy: fastrand::Rng::with_seed(seed),
            }),
            limits: Book::default(),
        }))
    }

    /// Adds a rule after those there are.
    pub fn push(&self, rule: Rule) {
        if rule.times == Some(0) {
            return;
        }
        let mut rules = self.lock();
        let number = rules.next;
        rules.next += 1;
        rules.listed.push(Listed {
            number,
            matches: rule.matches,
            left: rule.times,
            chance: rule.chance,
            deed: Arc::new(Deed {
                action: rule.action,
                delay: rule.delay,
            }),
        });
        self.0.armed.store(rules.listed.len(), Ordering::Release);
    }

    /// Adds rules (and sets limits) from JSON: one rule, an array of them, or one a line.
    ///
    /// # Errors
    ///
    /// Where one is not understood; then none is added.
    pub fn push_json(&self, json: &str) -> Result<(), ScriptError> {
        for line in read(json)? {
            match line {
                Line::Rule(rule) => self.push(rule),
                Line::Limit(credential, limits) => self.limit(&credential, limits),
            }
        }
        Ok(())
    }

    /// Removes every rule; limits stay.
    pub fn clear(&self) {
        let mut rules = self.lock();
        rules.listed.clear();
        self.0.armed.store(0, Ordering::Release);
    }

    /// How many rules are not spent.
    pub fn len(&self) -> usize {
        self.lock().listed.len()
    }

    /// Whether every rule is spent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the limits of a credential (those for the same model are replaced); its buckets start full.
    pub fn limit(&self, credential: &str, limits: Limits) {
        self.0.limits.set(credential, limits);
    }

    /// Sets limits from JSON: an object of credentials, each with one object of limits or an array of them.
    ///
    /// # Errors
    ///
    /// Where it is not understood; then none is set.
    pub fn limit_json(&self, json: &str) -> Result<(), ScriptError> {
        for (credential, limits) in read_limits(json)? {
            self.limit(&credential, limits);
        }
        Ok(())
    }

    /// Removes every limit.
    pub fn clear_limits(&self) {
        self.0.limits.clear();
    }

    pub(super) fn limits(&self) -> &Book {
        &self.0.limits
    }

    /// Whether a connection just accepted is to be reset.
    pub(super) fn resets_accepted(&self) -> bool {
        if self.0.armed.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut rules = self.lock();
        let on_accept =
            |listed: &Listed| matches!(listed.deed.action, Action::Fault(Fault::ResetOnAccept));
        let Some(at) = rules.listed.iter().position(on_accept) else {
            return false;
        };
        let taken = rules.takes(at);
        if taken {
            rules.count(at);
        }
        self.0.armed.store(rules.listed.len(), Ordering::Release);
        taken
    }

    /// The rule that a head meets.
    pub(super) fn at_head(&self, credential: &str, path: &str) -> Met {
        self.meet(credential, path, None, 0)
    }

    /// The rule that a whole request meets, from a number on.
    pub(super) fn with_model(
        &self,
        credential: &str,
        path: &str,
        model: Option<&str>,
        from: u64,
    ) -> Option<Arc<Deed>> {
        match self.meet(credential, path, Some(model), from) {
            Met::Deed(deed) => Some(deed),
            Met::Nothing | Met::AskModel(_) => None,
        }
    }

    fn meet(&self, credential: &str, path: &str, model: Option<Option<&str>>, from: u64) -> Met {
        if self.0.armed.load(Ordering::Acquire) == 0 {
            return Met::Nothing;
        }
        let mut rules = self.lock();
        let met = rules.meet(credential, path, model, from);
        self.0.armed.store(rules.listed.len(), Ordering::Release);
        met
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn meet(
        &mut self,
        credential: &str,
        path: &str,
        model: Option<Option<&str>>,
        from: u64,
    ) -> Met {
        for at in 0..self.listed.len() {
            let Some(listed) = self.listed.get(at) else {
                break;
            };
            if listed.number < from || !listed.fits_head(credential, path) {
                continue;
            }
            match (listed.matches.model.as_deref(), model) {
                (Some(_), None) => return Met::AskModel(listed.number),
                (Some(named), Some(asked)) if asked != Some(named) => continue,
                _ => {}
            }
            if self.takes(at) {
                return self.count(at).map_or(Met::Nothing, Met::Deed);
            }
        }
        Met::Nothing
    }

    fn takes(&mut self, at: usize) -> bool {
        match self.listed.get(at).and_then(|listed| listed.chance) {
            Some(chance) => self.entropy.f64() < chance,
            None => true,
        }
    }

    /// Counts one request against a rule, which goes when it is spent.
    fn count(&mut self, at: usize) -> Option<Arc<Deed>> {
        let listed = self.listed.get_mut(at)?;
        let deed = Arc::clone(&listed.deed);
        if let Some(left) = &mut listed.left {
            *left -= 1;
            if *left == 0 {
                self.listed.remove(at);
            }
        }
        Some(deed)
    }
}

impl Listed {
    fn fits_head(&self, credential: &str, path: &str) -> bool {
        if matches!(self.deed.action, Action::Fault(Fault::ResetOnAccept)) {
            return false;
        }
        let fits_path = |asked: &String| match asked.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path.ends_with(asked.as_str()),
        };
        self.matches
            .credential
            .as_deref()
            .is_none_or(|asked| asked == credential)
            && self.matches.path.as_ref().is_none_or(fits_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(json: &str) -> Script {
        let script = Script::new(7);
        script.push_json(json).unwrap();
        script
    }

    fn status(met: Met) -> u16 {
        match met {
            Met::Deed(deed) => match deed.action {
                Action::Answer { status, .. } => status,
                _ => panic!("no answer"),
            },
            Met::Nothing => 0,
            Met::AskModel(_) => 1,
        }
    }

    #[test]
    fn the_first_rule_that_fits_wins_until_it_is_spent() {
        let script = script(
            r#"[{"match":{"credential":"a"},"times":2,"do":{"status":429}},
                {"match":{"path":"/v1/messages"},"do":{"status":529}}]"#,
        );
        let met = |credential| status(script.at_head(credential, "/x/v1/messages"));
        assert_eq!(
            [met("a"), met("b"), met("a"), met("a")],
            [429, 529, 429, 529]
        );
        assert_eq!(status(script.at_head("a", "/v1/messages/count_tokens")), 0);
        assert_eq!(script.len(), 1);
        script.clear();
        assert_eq!(met("b"), 0);
        assert!(script.is_empty());
    }

    #[test]
    fn a_rule_for_a_model_waits_for_the_body() {
        let script = script(
            r#"[{"match":{"model":"m1"},"times":1,"do":{"status":429}},{"do":{"status":529}}]"#,
        );
        let Met::AskModel(number) = script.at_head("a", "/") else {
            panic!("decided without the model");
        };
        let with = |model| {
            script
                .with_model("a", "/", model, number)
                .map_or(0, |deed| status(Met::Deed(deed)))
        };
        assert_eq!([with(Some("m2")), with(None)], [529, 529]);
        assert_eq!([with(Some("m1")), with(Some("m1"))], [429, 529]);
        assert_eq!(status(script.at_head("a", "/")), 529);
    }

    #[test]
    fn a_star_asks_for_the_beginning_of_the_path() {
        let script = script(r#"{"match":{"path":"/v1/*"},"do":{"status":418}}"#);
        assert_eq!(status(script.at_head("a", "/v1/anything")), 418);
        assert_eq!(status(script.at_head("a", "/v2/v1/anything")), 0);
    }

    #[test]
    fn a_chance_takes_its_part_and_leaves_the_rest_to_the_next() {
        let script =
            script(r#"[{"chance":0.25,"do":{"status":500}},{"chance":1.0,"do":{"status":501}}]"#);
        let taken = (0..4_000)
            .filter(|_| status(script.at_head("a", "/")) == 500)
            .count();
        assert!((850..1_150).contains(&taken), "{taken} of 4,000");
    }

    #[test]
    fn resets_on_accept_are_no_business_of_requests() {
        let script = script(r#"{"times":2,"do":{"fault":"reset_on_accept"}}"#);
        assert_eq!(status(script.at_head("a", "/")), 0);
        let taken: Vec<bool> = (0..3).map(|_| script.resets_accepted()).collect();
        assert_eq!(taken, [true, true, false]);
    }
}
