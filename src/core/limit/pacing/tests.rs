//! Pacing against a real bucket.
