//! Reading bodies as they pass: requests for what decides where they go, answers for what they report. Nothing here
//! holds a body or builds a tree of one; bytes pass unchanged whatever is found. Readers are fed pieces cut
//! anywhere, and the cuts change nothing (a property test of each).

pub mod body;
mod decode;
mod json;
mod members;
mod report;
pub mod request;
mod skip;
mod stream;
mod table;
mod text;
mod usage;
