//! Base64 of the standard alphabet, as recorded bodies and Bedrock's stream chunks carry it.

/// The bytes that a text stands for; `None`: it is not base64. White space is skipped, padding is optional.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut ended) = (0_u32, 0_u32, false);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                ended = true;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        if ended {
            return None;
        }
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    // Six bits left over are half a byte short of one.
    (count < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_with_and_without_padding() {
        let table: [(&[u8], Option<&[u8]>); 8] = [
            (b"", Some(b"")),
            (b"Zg==", Some(b"f")),
            (b"Zm8", Some(b"fo")),
            (b"Zm9v\nYmFy", Some(b"foobar")),
            (b"+/+/", Some(b"\xfb\xff\xbf")),
            (b"Z", None),
            (b"Zg==Zg", None),
            (b"Z*g=", None),
        ];
        for (text, expected) in table {
            assert_eq!(decode(text).as_deref(), expected);
        }
    }
}
