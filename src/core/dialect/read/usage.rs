//! A provider's own account of tokens, in whichever of its forms (U1). Which part of an answer holds it is the
//! readers' to find. A field that is missing or not a count is unknown, and spoils no other.

use serde_json::Value;

use crate::core::ledger::usage::Usage;

/// Reads the object under `usage`.
pub(super) fn read(json: &[u8]) -> Option<Usage> {
    let usage: Value = serde_json::from_slice(json).ok()?;
    let count = |names: &[&str]| names.iter().find_map(|name| usage.pointer(name)?.as_u64());
    let usage = Usage {
        input: count(&["/input_tokens", "/prompt_tokens"]),
        output: count(&["/output_tokens", "/completion_tokens"]),
        cache_read: count(&[
            "/cache_read_input_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
        ]),
        cache_write: count(&[
            "/cache_creation_input_tokens",
            "/input_tokens_details/cache_write_tokens",
            "/prompt_tokens_details/cache_write_tokens",
        ]),
        reasoning: count(&[
            "/output_tokens_details/reasoning_tokens",
            "/completion_tokens_details/reasoning_tokens",
        ]),
    };
    (!usage.is_unknown()).then_some(usage)
}
