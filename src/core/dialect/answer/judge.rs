//! The verdict on an error: labels that decide by themselves, then the sentence, then labels that suggest, each
//! as far as the status lets it (corpus, Classes and rules). Scope and wait follow from the class. What was said
//! is gathered by the other files of this folder; nothing is read here.

use http::HeaderMap;

use super::fault::Fault;
use super::labels::{self, Sign, normal};
use super::wording::Wording;
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Verdict};
use crate::core::time::WallTime;

/// An error and what surrounds it.
pub(super) struct Case<'a> {
    pub(super) flavour: Flavour,
    pub(super) endpoint: Endpoint,
    /// The answer's status, or the one that an error inside a served answer names; `None`: none.
    pub(super) status: Option<u16>,
    pub(super) headers: &'a HeaderMap,
    pub(super) fault: &'a Fault,
    pub(super) now: WallTime,
}

impl Case<'_> {
    /// What the error means.
    pub(super) fn verdict(&self) -> Verdict {
        let wording = Wording::of(&self.fault.message);
        let signs = self.signs();
        if wording.is_too_large() || self.status == Some(413) {
            return self.too_large(&wording, &signs);
        }
        let firm = signs.iter().find(|sign| sign.firm).copied();
        let class = match firm {
            _ if self.is_connect_failure(&wording) => Class::UpstreamError,
            Some(sign) => sign.class,
            None => self.class(&wording, &signs),
        };
        let labelled = signs
            .iter()
            .filter(|sign| sign.class == class)
            .fold(Scope::NONE, |scope, sign| scope | sign.scope);
        match class {
            Class::RateLimited => self.limited(&wording, labelled),
            Class::QuotaExhausted => self.exhausted(&wording, labelled),
            Class::Overloaded | Class::UpstreamError => self.failed(class, &wording, labelled),
            Class::CredentialInvalid => self.refused(&wording, labelled),
            Class::ClientError | Class::Ok => Verdict::of(class),
        }
    }

    /// What the labels mean, the telling ones first.
    fn signs(&self) -> Vec<Sign> {
        let own = self
            .headers
            .get("x-amzn-errortype")
            .and_then(|value| value.to_str().ok())
            .map(normal);
        own.iter()
            .chain(&self.fault.labels)
            .filter_map(|label| labels::sign(self.flavour, label))
            .collect()
    }

    fn is_connect_failure(&self, wording: &Wording) -> bool {
        matches!(self.status, Some(500..=504)) && wording.is_connect_failure()
    }

    /// The class by sentence, status and labels that suggest.
    fn class(&self, wording: &Wording, signs: &[Sign]) -> Class {
        let suggests = |class| signs.iter().any(|sign| sign.class == class);
        let is_rate = suggests(Class::RateLimited);
        match self.status {
            None => self.class_by_words(wording, signs),
            Some(401) => Class::CredentialInvalid,
            Some(402) => Class::QuotaExhausted,
            Some(400 | 409 | 422) => {
                if self.is_money(wording) || self.is_plan_limit(wording) {
                    Class::QuotaExhausted
                } else if wording.is_region() {
                    Class::ClientError
                } else if wording.is_credential() || suggests(Class::CredentialInvalid) {
                    Class::CredentialInvalid
                } else if is_rate {
                    Class::RateLimited
                } else {
                    Class::ClientError
                }
            }
            Some(403) => self.class_of_refusal(wording, is_rate),
            // Fireworks says by it that the account is suspended.
            Some(412) if self.flavour == Flavour::Fireworks || wording.is_credential() => {
                Class::CredentialInvalid
            }
            Some(429) => {
                if self.is_money(wording) {
                    Class::QuotaExhausted
                } else if wording.is_capacity() && wording.window().is_empty() {
                    // "High demand ... limited to 8 requests per minute" is a rate.
                    Class::Overloaded
                } else if self.is_plan_limit(wording) && !self.is_google_rate() {
                    Class::QuotaExhausted
                } else {
                    Class::RateLimited
                }
            }
            Some(498 | 529) => Class::Overloaded,
            Some(503) if is_rate => Class::RateLimited,
            Some(503) => Class::Overloaded,
            Some(408 | 424 | 425 | 499) => Class::UpstreamError,
            Some(400..=499) => Class::ClientError,
            Some(_) if is_rate => Class::RateLimited,
            Some(_) if wording.is_capacity() => Class::Overloaded,
            Some(_) => Class::UpstreamError,
        }
    }

    fn class_by_words(&self, wording: &Wording, signs: &[Sign]) -> Class {
        if self.is_money(wording) {
            Class::QuotaExhausted
        } else if wording.is_capacity() {
            Class::Overloaded
        } else if self.is_plan_limit(wording) {
            Class::QuotaExhausted
        } else if let Some(sign) = signs.first() {
            sign.class
        } else {
            wording.class().unwrap_or(Class::UpstreamError)
        }
    }

    /// A 403 may be about money, rate, region, input or a thing that it names, before it is about the key.
    fn class_of_refusal(&self, wording: &Wording, is_rate: bool) -> Class {
        if self.is_money(wording) || self.is_plan_limit(wording) {
            Class::QuotaExhausted
        } else if self.fault.is_moderation || wording.is_region() || wording.is_about_request() {
            Class::ClientError
        } else if is_rate || wording.is_rate() {
            Class::RateLimited
        } else {
            Class::CredentialInvalid
        }
    }

    /// Google writes "your current quota" for every quota, minutes included.
    pub(super) fn is_money(&self, wording: &Wording) -> bool {
        wording.is_money() || (wording.is_current_quota() && !self.is_google())
    }

    fn is_plan_limit(&self, wording: &Wording) -> bool {
        wording.is_plan_limit()
    }

    pub(super) fn is_google(&self) -> bool {
        self.flavour.is_google()
            || !self.fault.violations.is_empty()
            || self.has_label("resourceexhausted")
    }

    /// Code Assist words both of its refusals alike; the reason tells.
    fn is_google_rate(&self) -> bool {
        self.has_label("ratelimitexceeded")
    }

    fn has_label(&self, label: &str) -> bool {
        self.fault.labels.iter().any(|known| known == label)
    }
}
