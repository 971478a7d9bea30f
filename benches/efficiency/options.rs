//! What the command line asks for.

use super::settings::Setting;
use super::trace::Trace;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    setting: Option<String>,
    strategy: Option<String>,
    /// Measured, after the ramp.
    pub seconds: u64,
    /// A run each.
    pub seeds: Vec<u64>,
    /// Print the provider's first 429s.
    pub trace: bool,
}

impl Options {
    /// From the arguments. Not `full`: one short setting, to see that it runs.
    ///
    /// # Errors
    /// An argument that it does not know, or a number that is none.
    pub fn parse(arguments: &[String], full: bool) -> Result<Self, String> {
        let mut options = if full {
            Self {
                setting: None,
                strategy: None,
                seconds: 600,
                seeds: vec![1, 2, 3],
                trace: false,
            }
        } else {
            Self {
                setting: Some("requests-0.9".to_owned()),
                strategy: None,
                seconds: 10,
                seeds: vec![1],
                trace: false,
            }
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} takes a value"));
            let number = |text: &String| {
                text.parse::<u64>()
                    .map_err(|_| format!("{text} is not a number"))
            };
            match argument.as_str() {
                "--setting" => options.setting = Some(value()?.clone()),
                "--strategy" => options.strategy = Some(value()?.clone()),
                "--seconds" => options.seconds = number(value()?)?,
                "--seed" => options.seeds = vec![number(value()?)?],
                "--trace" => options.trace = true,
                "--bench" | "--test" => {}
                // What cargo's own test options come to.
                _ if !full => {}
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(options)
    }

    /// Whether a setting is asked for: by its name or, where none is called so, by how it begins.
    pub fn wants_setting(&self, name: &str, all: &[Setting]) -> bool {
        self.setting.as_ref().is_none_or(|own| {
            let exact = all.iter().any(|setting| setting.name == own);
            name == own || !exact && name.starts_with(own.as_str())
        })
    }

    /// The same of a strategy or baseline.
    pub fn wants_strategy(&self, name: &str) -> bool {
        self.strategy
            .as_ref()
            .is_none_or(|own| name.starts_with(own.as_str()))
    }

    /// A trace for a run.
    pub fn trace(&self) -> Trace {
        if self.trace {
            Trace::first()
        } else {
            Trace::default()
        }
    }
}
