//! What the command line asks for.

use authpool::core::choice::strategy::Strategy;

use super::setting::Setting;
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
    /// Of a run on real sockets.
    pub real_seconds: u64,
    /// Print the provider's first 429s.
    pub trace: bool,
    /// Not on virtual time, or not on real sockets.
    without: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Virtual,
    Real,
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
                real_seconds: 90,
                trace: false,
                without: None,
            }
        } else {
            Self {
                setting: Some("requests-0.9".to_owned()),
                strategy: None,
                seconds: 10,
                seeds: vec![1],
                real_seconds: 90,
                trace: false,
                without: None,
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
                "--seconds" => {
                    options.seconds = number(value()?)?;
                    options.real_seconds = options.seconds;
                }
                "--seed" => options.seeds = vec![number(value()?)?],
                "--trace" => options.trace = true,
                "--virtual" => options.without = Some(Time::Real),
                "--real" => options.without = Some(Time::Virtual),
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

    /// Whether anything is to run on virtual time.
    pub fn wants_virtual(&self) -> bool {
        self.without != Some(Time::Virtual)
    }

    /// Whether anything is to run on real sockets: the default strategy does.
    pub fn wants_real(&self) -> bool {
        self.without != Some(Time::Real) && self.wants_strategy(Strategy::default().name())
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
