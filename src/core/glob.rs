//! Patterns in which `*` stands for any run of bytes and nothing else is special. What a pattern is asked about, and
//! whether case counts, is the caller's. Law: linear in text and pattern, no recursion, no allocation.

use memchr::memmem;

/// Whether the whole text fits the pattern, byte for byte.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut pieces = pattern.split(|&byte| byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    // Without a star there is one piece, and it must be all.
    let Some(mut last) = pieces.next() else {
        return rest.is_empty();
    };
    // The leftmost place of each inner piece leaves the most for those behind it.
    for piece in pieces {
        match memmem::find(rest, last) {
            Some(at) => rest = rest.get(at + last.len()..).unwrap_or_default(),
            None => return false,
        }
        last = piece;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, in exponential time.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', pattern)), None) => oracle(pattern, text),
            (Some((b'*', shorter)), Some((_, rest))) => {
                oracle(shorter, text) || oracle(pattern, rest)
            }
            (Some((a, pattern)), Some((b, text))) => a == b && oracle(pattern, text),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    #[test]
    fn a_star_stands_for_any_run_and_nothing_else_is_special() {
        // section 14
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        };
        check("*", "", true);
        check("*", "gpt-5", true);
        check("gpt-5", "gpt-5", true);
        check("gpt-5", "gpt-5-mini", false);
        check("gpt-*", "gpt-", true);
        check("gpt-*", "GPT-5", false);
        check("*-mini", "gpt-5-mini", true);
        check("*-mini", "gpt-5-mini-x", false);
        check("a*a", "a", false);
        check("a*b*c", "axbxc", true);
        check("a*b*c", "acb", false);
        check("ab*ba", "aba", false);
        check("a*a*a", "aa", false);
        check("é*", "été", true);
        check("g?t", "gpt", false);
        check("[a-z]", "b", false);
        check("", "", true);
        check("", "a", false);
        check("**", "a", true);
    }

    // D10: what backtracks takes longer than the age of the universe here
    #[test]
    fn a_pattern_full_of_stars_is_as_quick_as_any() {
        let pattern = "*a".repeat(500) + "*b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(1 << 16).as_bytes()));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,12}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), oracle(pattern, text));
        }
    }
}
