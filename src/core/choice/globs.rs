//! Which models a subscription may serve: globs with `*` only; a denial wins. Law: linear in pattern times name, no
//! recursion, no allocation.

use crate::core::glob;

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
        let named = |globs: &[Box<str>]| {
            let mut globs = globs.iter();
            globs.any(|one| glob::matches(one.as_bytes(), model.as_bytes()))
        };
        !named(&self.denied) && (self.allowed.is_empty() || named(&self.allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
