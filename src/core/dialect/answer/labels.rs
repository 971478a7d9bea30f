//! The codes, types, reasons and exception names of providers, and what each means. A firm label decides by
//! itself; a soft one only suggests, for providers write it on answers of several meanings, and status and
//! sentence come before it.

use crate::core::dialect::flavour::Flavour;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::Class;

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) class: Class,
    pub(super) scope: Scope,
    /// Whether it decides before the sentence and the status.
    pub(super) firm: bool,
}

const fn firm(class: Class, scope: Scope) -> Sign {
    Sign {
        class,
        scope,
        firm: true,
    }
}

const fn soft(class: Class, scope: Scope) -> Sign {
    Sign {
        class,
        scope,
        firm: false,
    }
}

const MONEY: Sign = firm(Class::QuotaExhausted, Scope::SPEND);
const PLAN: Sign = firm(Class::QuotaExhausted, Scope::PER_CREDENTIAL);
const QUOTA: Sign = firm(Class::QuotaExhausted, Scope::NONE);
const BUSY: Sign = firm(Class::Overloaded, Scope::NONE);
const MODEL_BUSY: Sign = firm(Class::Overloaded, Scope::PER_MODEL);
const KEY: Sign = firm(Class::CredentialInvalid, Scope::NONE);
const MODEL_DENIED: Sign = firm(Class::CredentialInvalid, Scope::PER_MODEL);
const REQUEST: Sign = firm(Class::ClientError, Scope::NONE);
const FAILED: Sign = firm(Class::UpstreamError, Scope::NONE);
const RATE: Sign = soft(Class::RateLimited, Scope::NONE);
const MAYBE_REQUEST: Sign = soft(Class::ClientError, Scope::NONE);
const MAYBE_KEY: Sign = soft(Class::CredentialInvalid, Scope::NONE);
const MAYBE_FAILED: Sign = soft(Class::UpstreamError, Scope::NONE);

/// Labels without case and separators, as [`normal`] writes them.
const LABELS: &[(Sign, &[&str])] = &[
    (
        MONEY,
        &[
            "insufficientquota",
            "insufficientbalance",
            "insufficientuserquota",
            "insufficientcredits",
            "insufficientfunds",
            "insufficientg1creditsbalance",
            "billingerror",
            "billinghardlimitreached",
            "billinglimitreached",
            "billingnotactive",
            "billingdisabled",
            "budgetexceeded",
            "exceededcurrentquotaerror",
            "paymentrequired",
            "preconsumetokenquotafailed",
            "arrearage",
            "creditsexhausted",
            "outofcredits",
        ],
    ),
    (
        PLAN,
        &[
            "usagelimitreached",
            "usagelimitexceeded",
            "usagenotincluded",
        ],
    ),
    (QUOTA, &["quotaexhausted", "servicequotaexceededexception"]),
    (
        firm(Class::QuotaExhausted, Scope::DAY),
        &["dailylimitexceeded"],
    ),
    (
        BUSY,
        &[
            "overloadederror",
            "overloaded",
            "serverisoverloaded",
            "serveroverloaded",
            "engineoverloaded",
            "engineoverloadederror",
            "serviceunavailableerror",
            "serviceunavailable",
            "serviceunavailableexception",
            "capacityexceeded",
            "queueexceeded",
            "slowdown",
            "unavailable",
            "temporaryreducedcapacity",
            "flextiercapacityexceeded",
        ],
    ),
    (
        MODEL_BUSY,
        &[
            "servicetiercapacityexceeded",
            "modelcapacityexhausted",
            "modelnotreadyexception",
            "modeloverloaded",
        ],
    ),
    (
        firm(Class::RateLimited, Scope::CONCURRENCY),
        &[
            "websocketconnectionlimitreached",
            "concurrencylimitexceeded",
        ],
    ),
    (
        KEY,
        &[
            "invalidapikey",
            "incorrectapikey",
            "apikeyinvalid",
            "apikeyexpired",
            "accountdeactivated",
            "accountsuspended",
            "accessterminated",
            "apikeyserviceblocked",
            "servicedisabled",
            "consumersuspended",
            "consumerinvalid",
            "accesstokenexpired",
            "accesstokenscopeinsufficient",
            "validationrequired",
            "iampermissiondenied",
            "expiredtokenexception",
            "expiredtoken",
            "unrecognizedclientexception",
            "invalidsignatureexception",
            "invalidclienttokenid",
            "missingauthenticationtokenexception",
            "incompletesignature",
            "incompletesignatureexception",
            "tokenexpired",
            "tokenrevoked",
            "tokeninvalidated",
            "deactivatedworkspace",
            "invalidauthenticationerror",
            "organizationdisabled",
            "organizationrestricted",
        ],
    ),
    (
        MODEL_DENIED,
        &[
            "modelpermissionblockedorg",
            "modelpermissionblockedproject",
            "modeltermsrequired",
            "keymodelaccessdenied",
            "teammodelaccessdenied",
        ],
    ),
    (
        REQUEST,
        &[
            "contextlengthexceeded",
            "contentfilter",
            "contentpolicyviolation",
            "responsibleaipolicyviolation",
            "toolusefailed",
            "requesttoolarge",
            "requestentitytoolarge",
            "stringabovemaxlength",
            "unsupportedcountryregionterritory",
            "validationexception",
            "moderationblocked",
            "datainspectionfailed",
            "invalidencryptedcontent",
            "previousresponsenotfound",
            "invalidprompt",
            "cyberpolicyviolation",
        ],
    ),
    (
        FAILED,
        &[
            "modelerrorexception",
            "modelstreamerrorexception",
            "modeltimeoutexception",
            "internalserverexception",
        ],
    ),
    (
        RATE,
        &[
            "ratelimiterror",
            "ratelimitexceeded",
            "ratelimitexceedederror",
            "ratelimited",
            "requestquotaexceeded",
            "requestratelimitexceeded",
            "429",
            "ratelimit",
            "ratelimitreachederror",
            "toomanyrequests",
            "toomanyrequestserror",
            "toomanyrequestsexception",
            "toomanytokenserror",
            "throttlingexception",
            "throttling",
            "throttled",
            "throttledexception",
            "throttlingerror",
            "requestlimitexceeded",
            "resourceexhausted",
            "userratelimitexceeded",
            "quotaexceeded",
            "tokenquotaexceeded",
            "someresourcehasbeenexhausted",
            "limitexceededexception",
        ],
    ),
    (
        soft(Class::RateLimited, Scope::PER_MODEL),
        &["modelratelimit"],
    ),
    (soft(Class::RateLimited, Scope::REQUESTS), &["requests"]),
    (soft(Class::RateLimited, Scope::TOKENS), &["tokens"]),
    (
        soft(Class::RateLimited, Scope::CONCURRENCY),
        &["concurrentrequests", "maxparallelrequests"],
    ),
    (
        MAYBE_REQUEST,
        &[
            "invalidrequesterror",
            "invalidrequest",
            "invalidargument",
            "badrequest",
            "badrequesterror",
            "notfounderror",
            "notfound",
            "modelnotfound",
            "unprocessableentity",
            "failedprecondition",
            "outofrange",
            "validationerror",
            "requestforbidden",
        ],
    ),
    (
        MAYBE_KEY,
        &[
            "authenticationerror",
            "permissionerror",
            "permissiondenied",
            "permissiondeniederror",
            "unauthenticated",
            "unauthorized",
            "forbidden",
            "accessdenied",
            "accessdeniedexception",
        ],
    ),
    (
        MAYBE_FAILED,
        &[
            "apierror",
            "servererror",
            "internalservererror",
            "internalerror",
            "internal",
            "timeouterror",
            "deadlineexceeded",
            "unknownerror",
            "internalfailure",
        ],
    ),
];

/// Mistral's numbers.
const MISTRAL: &[(Sign, &[&str])] = &[(RATE, &["1300"]), (MODEL_BUSY, &["3505"])];

/// Numbers of Zhipu's error table (docs.bigmodel.cn): the sentences beside them are Chinese or English.
const ZHIPU: &[(Sign, &[&str])] = &[
    (
        KEY,
        &[
            "1000", "1001", "1002", "1003", "1004", "1110", "1111", "1112", "1220",
        ],
    ),
    (MONEY, &["1113", "1309"]),
    (
        REQUEST,
        &[
            "1210", "1211", "1212", "1213", "1214", "1215", "1221", "1222", "1261", "1301",
        ],
    ),
    (firm(Class::RateLimited, Scope::CONCURRENCY), &["1302"]),
    (firm(Class::RateLimited, Scope::REQUESTS), &["1303"]),
    (
        QUOTA,
        &[
            "1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321",
        ],
    ),
    (
        firm(Class::QuotaExhausted, Scope::REQUESTS.with(Scope::DAY)),
        &["1304"],
    ),
    (BUSY, &["1305"]),
    (MODEL_BUSY, &["1312"]),
    (FAILED, &["1120", "1230", "1234"]),
];

/// What OpenRouter says of where a limit lies (`limit_source`), and its own error types.
const OPENROUTER: &[(Sign, &[&str])] = &[
    (
        firm(Class::QuotaExhausted, Scope::REQUESTS.with(Scope::DAY)),
        &["openrouterfreetierdaily"],
    ),
    (
        firm(Class::RateLimited, Scope::REQUESTS.with(Scope::MINUTE)),
        &["openrouterfreetierminute"],
    ),
    // Held back for requests under way, so it clears when they end.
    (
        firm(Class::RateLimited, Scope::SPEND),
        &["openrouterinflightbudget", "inflightbudgetexhausted"],
    ),
    (
        firm(
            Class::QuotaExhausted,
            Scope::SPEND.with(Scope::PER_CREDENTIAL),
        ),
        &["openrouterkeylimit"],
    ),
    (
        MONEY,
        &[
            "openroutercredits",
            "openrouterguardrailbudget",
            "openrouterworkspacebudget",
        ],
    ),
    (BUSY, &["provideroverloaded"]),
    (FAILED, &["providerunavailable"]),
    (REQUEST, &["maxtokensexceeded"]),
    (MAYBE_KEY, &["authentication"]),
    (MAYBE_FAILED, &["server", "timeout"]),
];

/// What a label means to this provider; `None`: nothing that is known. The label as [`normal`] writes it.
pub(super) fn sign(flavour: Flavour, label: &str) -> Option<Sign> {
    let own = match flavour {
        Flavour::Mistral => MISTRAL,
        Flavour::Zhipu => ZHIPU,
        Flavour::OpenRouter => OPENROUTER,
        _ => &[],
    };
    own.iter()
        .chain(LABELS)
        .find(|(_, labels)| labels.contains(&label))
        .map(|(sign, _)| *sign)
        .or_else(|| by_form(label))
}

/// Labels that are in no table but say by their form that the request is at fault.
fn by_form(label: &str) -> Option<Sign> {
    let starts = ["invalid", "unsupported", "missing"];
    let ends = [
        "notfound",
        "toolarge",
        "toolong",
        "toosmall",
        "policyviolation",
    ];
    let is_request = starts.iter().any(|start| label.starts_with(start))
        || ends.iter().any(|end| label.ends_with(end));
    is_request.then_some(MAYBE_REQUEST)
}

/// A label without case and separators; of `a#B:http://...` the `B`. Empty where it is no label but a sentence
/// of over 64 letters.
pub(super) fn normal(label: &str) -> String {
    let label = label.rsplit('#').next().unwrap_or(label);
    let label = label.split(':').next().unwrap_or(label);
    let normal: String = label
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(65)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if normal.len() > 64 {
        String::new()
    } else {
        normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_in_every_spelling() {
        let table = [
            ("rate_limit_error", Class::RateLimited),
            (
                "ThrottlingException:http://internal.amazon.com/coral/",
                Class::RateLimited,
            ),
            ("com.amazon.coral#ThrottlingException", Class::RateLimited),
            ("throttlingException", Class::RateLimited),
            ("RESOURCE_EXHAUSTED", Class::RateLimited),
            ("Some resource has been exhausted", Class::RateLimited),
            ("invalid-argument", Class::ClientError),
            ("API_KEY_INVALID", Class::CredentialInvalid),
        ];
        for (label, class) in table {
            let sign = sign(Flavour::Generic, &normal(label));
            assert_eq!(sign.map(|sign| sign.class), Some(class), "{label}");
        }
    }

    #[test]
    fn numbers_mean_something_to_their_own_provider_only() {
        assert_eq!(sign(Flavour::Mistral, "3505"), Some(MODEL_BUSY));
        assert_eq!(sign(Flavour::OpenAi, "3505"), None);
        assert_eq!(sign(Flavour::Generic, &normal(&"x".repeat(80))), None);
    }

    #[test]
    fn no_label_stands_in_the_table_twice_or_unnormalised() {
        let mut seen = std::collections::HashSet::new();
        for label in LABELS.iter().flat_map(|(_, labels)| *labels) {
            assert_eq!(normal(label), *label);
            assert!(seen.insert(label), "{label}");
        }
    }
}
