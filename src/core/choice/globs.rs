//! Which models a subscription may serve: globs with `*` only; a denial wins. Law: linear in pattern times name, no
//! recursion, no allocation.

/// Allowed and denied models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models {
    allowed: Vec<Box<str>>,
    denied: Vec<Box<str>>,
}

impl Models {
    /// From globs. No allowed glob at all allows every model, as `["*"]` does.
    pub fn new(allowed: &[String], denied: &[String]) -> Self {
        let boxed = |globs: &[String]| globs.iter().map(|glob| glob.as_str().into()).collect();
        Self {
            allowed: boxed(allowed),
            denied: boxed(denied),
        }
    }

    /// Whether any model is refused.
    pub fn restricts(&self) -> bool {
        let all = self.allowed.is_empty() || self.allowed.iter().any(|glob| &**glob == "*");
        !all || !self.denied.is_empty()
    }

    /// Whether a model may be served. A request without a model may.
    pub fn allow(&self, model: Option<&str>) -> bool {
        let Some(model) = model else { return true };
        let named = |globs: &[Box<str>]| globs.iter().any(|glob| matches(glob, model));
        !named(&self.denied) && (self.allowed.is_empty() || named(&self.allowed))
    }
}

/// Whether a glob covers the whole name.
fn matches(glob: &str, name: &str) -> bool {
    let mut pieces = glob.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some(place) = rest.find(piece) else {
            return false;
        };
        rest = rest.get(place + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    // C1, section 14: `models` are globs with `*` only
    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (glob, name, expected) in [
            ("*", "", true),
            ("*", "gpt-x", true),
            ("gpt-x", "gpt-x", true),
            ("gpt-x", "gpt-xy", false),
            ("gpt-*", "gpt-", true),
            ("gpt-*", "o1", false),
            ("*-mini", "gpt-mini", true),
            ("*-mini", "gpt-mini-2", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
            ("a*a*a", "aa", false),
            ("é*", "été", true),
            ("gpt?", "gpt4", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} on {name}");
        }
    }

    // C1
    #[test]
    fn a_denial_wins_and_a_request_without_a_model_passes() {
        let models = Models::new(&["gpt-*".to_owned()], &["*-mini".to_owned()]);
        assert!(models.restricts());
        assert!(models.allow(Some("gpt-x")));
        assert!(!models.allow(Some("gpt-x-mini")));
        assert!(!models.allow(Some("claude")));
        assert!(models.allow(None));
        assert!(!Models::new(&["*".to_owned()], &[]).restricts());
        assert!(!Models::default().restricts());
        assert!(Models::default().allow(Some("any")));
    }
}
