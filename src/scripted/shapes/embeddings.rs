//! OpenAI's embeddings: one short vector for each input, as numbers or in base64 as the SDKs ask.

use std::io::Write;

use serde::Deserialize;
use serde_json::Value;

use super::Quoted;
use crate::scripted::answer::Answer;
use crate::scripted::ask::{Ask, digest};
use crate::scripted::base64;

/// How many numbers a vector has where the request does not say.
const DIMENSIONS: usize = 8;

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    input: Value,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<usize>,
}

/// One vector for each input. `Err`: the members are not those of the operation.
pub(crate) fn embeddings(ask: &Ask, body: &[u8]) -> Result<Answer, String> {
    let members: Members = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let inputs = match members.input {
        // An array of numbers is one input, already cut into tokens.
        Value::Array(several) if !several.iter().all(Value::is_number) => several,
        Value::Null => return Err("missing required parameter: 'input'".to_owned()),
        one => vec![one],
    };
    let coded = members.encoding_format.as_deref() == Some("base64");
    let dimensions = members.dimensions.unwrap_or(DIMENSIONS).clamp(1, 4_096);
    let mut out = b"{\"object\":\"list\",\"data\":[".to_vec();
    for (index, input) in inputs.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let vector = vector(input, dimensions);
        let vector = if coded {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            Quoted::new(&base64::encode(&bytes)).to_string()
        } else {
            Value::from(vector).to_string()
        };
        let _ = write!(
            out,
            "{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{vector}}}"
        );
    }
    let tokens = ask.input_tokens();
    let _ = write!(
        out,
        "],\"model\":{},\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}",
        Quoted::new(ask.model_name())
    );
    let mut answer = Answer::json(200, out);
    answer.input_tokens = tokens;
    Ok(answer)
}

/// Numbers from -1 to 1 that depend on the input alone, exact in both forms.
fn vector(input: &Value, dimensions: usize) -> Vec<f32> {
    let seed = digest(input.to_string().as_bytes());
    (0..dimensions as u64)
        .map(|index| {
            let bits = digest(&(seed ^ index).to_le_bytes()) % 257;
            (u16::try_from(bits).map_or(0.0, f32::from) - 128.0) / 128.0
        })
        .collect()
}
