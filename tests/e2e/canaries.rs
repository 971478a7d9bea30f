//! Secrets that are looked for in what must not show them, in each form in which secrets are known to leak.

use std::fmt::Write as _;

/// The forms in which the canary could show: as it is, and as encodings of it within any text.
fn forms(canary: &str) -> Vec<String> {
    let bytes = canary.as_bytes();
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let escaped = |upper: bool| {
        bytes.iter().fold(String::new(), |mut text, &byte| {
            let _ = match byte {
                _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                    write!(text, "{}", char::from(byte))
                }
                _ if upper => write!(text, "%{byte:02X}"),
                _ => write!(text, "%{byte:02x}"),
            };
            text
        })
    };
    let numbers = format!("{bytes:?}");
    let mut forms = vec![
        canary.to_owned(),
        // A piece from its middle: also what is cut or masked at its ends.
        canary[8..24].to_owned(),
        hex.to_uppercase(),
        hex,
        escaped(true),
        escaped(false),
        numbers.trim_matches(['[', ']']).to_owned(),
    ];
    for offset in 0..3 {
        let skipped = (3 - offset) % 3;
        let whole = (bytes.len() - skipped) / 3 * 3;
        let plain = base64(&bytes[skipped..skipped + whole]);
        forms.push(plain.replace('+', "-").replace('/', "_"));
        forms.push(plain);
    }
    forms
}

/// Of a whole number of triples: what stands in the base64 of any text that contains them at such a place.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for triple in bytes.chunks_exact(3) {
        let word = u32::from_be_bytes([0, triple[0], triple[1], triple[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(word >> shift & 63) as usize]));
        }
    }
    text
}

/// Fails where the text shows one of them in any form.
#[track_caller]
pub fn assert_silent(what: &str, text: &str, canaries: &[&str]) {
    for canary in canaries {
        for form in forms(canary) {
            if let Some(at) = text.find(&form) {
                let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                let line = text[from..].lines().next().unwrap();
                panic!("{what} shows {canary} as {form}:\n{line}");
            }
        }
    }
}

const CANARY: &str = "ck-canary+k/Bw4=rTg52iFmU6eSn7+e";

#[test]
fn a_canary_is_found_in_each_of_its_forms() {
    let text = |inner: &str| format!("\u{1b} before {inner} after");
    for form in forms(CANARY) {
        let found = std::panic::catch_unwind(|| assert_silent("it", &text(&form), &[CANARY]));
        assert!(found.is_err(), "{form}");
    }
    assert_eq!(base64(b"abcdef"), "YWJjZGVm");
    assert_silent("it", &text("nothing"), &[CANARY]);
}
