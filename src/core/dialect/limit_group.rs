//! Which models share one limit of a domain (SPEC 1). The provider tables are here; an operator's own
//! (`provider.limit_groups`) come before them, elsewhere. The law: two names of one model, with and without its
//! date, are one group, and a group never spans models that the provider limits apart.

use std::borrow::Cow;

use super::Dialect;
use super::endpoint::Endpoint;

/// Anthropic limits these families as one each (rate limit tables, footnotes; September 2026). All other models,
/// also Opus 5 and Sonnet 5, have limits of their own.
const ANTHROPIC: [(&str, &str); 2] = [
    ("claude-opus-4", "claude-opus-4.x"),
    ("claude-sonnet-4", "claude-sonnet-4.x"),
];

/// The limit group of a request: of the model that it asks for, whatever the answer names. `none` without a model.
pub fn limit_group(dialect: Dialect, endpoint: Endpoint, model: Option<&str>) -> Cow<'_, str> {
    if endpoint == Endpoint::CountTokens {
        return Cow::Borrowed("count_tokens");
    }
    let Some(model) = model else {
        return Cow::Borrowed("none");
    };
    let name = without_date(model);
    let class = match dialect {
        Dialect::Anthropic => ANTHROPIC.iter().find(|(family, _)| is_of(name, family)),
        Dialect::OpenAi | Dialect::Generic => None,
    };
    Cow::Borrowed(class.map_or(name, |(_, class)| class))
}

/// Whether a name is the family's or one of its minor versions: `claude-opus-4`, `claude-opus-4-8`.
fn is_of(name: &str, family: &str) -> bool {
    match name.strip_prefix(family) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('-')
            .is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit())),
        None => false,
    }
}

/// The name without `-YYYYMMDD`, `-YYYY-MM-DD` or `@YYYYMMDD` at its end. Digits that are no date stay, and so does
/// a date that is all there is.
fn without_date(model: &str) -> &str {
    let dashed = model
        .len()
        .checked_sub(11)
        .and_then(|at| model.split_at_checked(at));
    let plain = model
        .len()
        .checked_sub(9)
        .and_then(|at| model.split_at_checked(at));
    let name = match (plain, dashed) {
        (Some((name, date)), _) if is_plain_date(date.as_bytes()) => name,
        (_, Some((name, date))) if is_dashed_date(date.as_bytes()) => name,
        _ => model,
    };
    if name.is_empty() { model } else { name }
}

fn is_plain_date(text: &[u8]) -> bool {
    match text {
        [b'-' | b'@', y1, y2, y3, y4, m1, m2, d1, d2] => {
            is_date([*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2])
        }
        _ => false,
    }
}

fn is_dashed_date(text: &[u8]) -> bool {
    match text {
        [b'-', y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] => {
            is_date([*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2])
        }
        _ => false,
    }
}

/// Whether eight digits are a day of this century or the last.
fn is_date(digits: [u8; 8]) -> bool {
    let [y1, y2, _, _, m1, m2, d1, d2] = digits;
    let month = matches!((m1, m2), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2'));
    let day = matches!(
        (d1, d2),
        (b'0', b'1'..=b'9') | (b'1' | b'2', _) | (b'3', b'0' | b'1')
    );
    digits.iter().all(u8::is_ascii_digit)
        && matches!((y1, y2), (b'1', b'9') | (b'2', b'0'))
        && month
        && day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, model: &str, expected: &str) {
        assert_eq!(limit_group(dialect, Endpoint::Other, Some(model)), expected);
    }

    // SPEC 1, limit group
    #[test]
    fn a_model_and_its_dated_name_are_one_group() {
        check(Dialect::OpenAi, "gpt-4o-2024-08-06", "gpt-4o");
        check(Dialect::OpenAi, "gpt-4o", "gpt-4o");
        check(
            Dialect::Anthropic,
            "claude-haiku-4-5-20251001",
            "claude-haiku-4-5",
        );
        check(
            Dialect::Anthropic,
            "claude-3-5-sonnet@20240620",
            "claude-3-5-sonnet",
        );
        check(Dialect::Generic, "thing-20260101", "thing");
    }

    // SPEC 1, limit group
    #[test]
    fn digits_that_are_no_date_belong_to_the_name() {
        check(Dialect::OpenAi, "gpt-4-0613", "gpt-4-0613");
        check(Dialect::OpenAi, "x-12345678", "x-12345678");
        check(Dialect::OpenAi, "x-20261301", "x-20261301");
        check(Dialect::OpenAi, "x-2026-13-01", "x-2026-13-01");
        check(Dialect::OpenAi, "x@2026-01-01", "x@2026-01-01");
        check(Dialect::OpenAi, "20260101", "20260101");
        check(Dialect::OpenAi, "-20260101", "-20260101");
        check(Dialect::OpenAi, "modèle-é20260101", "modèle-é20260101");
        check(Dialect::OpenAi, "", "");
    }

    // SPEC 1, limit group: the provider table's model class
    #[test]
    fn anthropic_limits_all_of_opus_4_and_of_sonnet_4_together() {
        for model in [
            "claude-opus-4-20250514",
            "claude-opus-4-1-20250805",
            "claude-opus-4-8",
            "claude-opus-4@20250514",
        ] {
            check(Dialect::Anthropic, model, "claude-opus-4.x");
        }
        check(
            Dialect::Anthropic,
            "claude-sonnet-4-5-20250929",
            "claude-sonnet-4.x",
        );
        check(Dialect::Anthropic, "claude-opus-5", "claude-opus-5");
        check(Dialect::Anthropic, "claude-opus-40", "claude-opus-40");
        check(
            Dialect::Anthropic,
            "claude-sonnet-4-fast",
            "claude-sonnet-4-fast",
        );
        check(Dialect::OpenAi, "claude-opus-4-8", "claude-opus-4-8");
    }

    // F6
    #[test]
    fn count_tokens_and_requests_without_a_model_have_groups_of_their_own() {
        let group = |endpoint, model| limit_group(Dialect::Anthropic, endpoint, model);
        assert_eq!(
            group(Endpoint::CountTokens, Some("claude-opus-4-8")),
            "count_tokens"
        );
        assert_eq!(group(Endpoint::Models, None), "none");
    }
}
