//! What is tried again, who waits and who does not: the rest of C8, C5, C1 and D11, judged by the provider's ledger.

use std::thread;
use std::time::{Duration, Instant};

use authpool::scripted::{Options, Provider};

use super::support::client::{Answer, Ask, chat};
use super::support::{Authpool, PATIENCE, Setup, eventually};

const CHAT: &str = "/v1/chat/completions";
const SLOW: &str = r#"{"match":{},"times":null,"delay_ms":300,"do":{"serve":true}}"#;

fn provider(rules: &[&str]) -> Provider {
    let provider = Provider::start(Options::default()).unwrap();
    for rule in rules {
        provider.script().push_json(rule).unwrap();
    }
    provider
}

fn ask(authpool: &Authpool) -> Answer {
    Ask::post(CHAT, chat("gpt-x", false)).send(authpool.addr)
}

fn broken(credential: &str, status: u16) -> String {
    let body = r#"{\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"#;
    format!(
        r#"{{"match":{{"credential":"{credential}"}},"times":null,"do":{{"status":{status},"headers":{{"content-type":"application/json","x-own":"1"}},"body":"{body}"}}}}"#
    )
}

// C8 (c)
#[test]
fn a_server_error_is_tried_again_on_another_subscription() {
    let provider = provider(&[&broken("cred-a", 500)]);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    for _ in 0..3 {
        assert_eq!(ask(&authpool).status, 200);
    }
    assert!(provider.ledger().count("cred-a") >= 1);
}

// C8 (c), (g)
#[test]
fn a_server_error_everywhere_passes_as_received_after_one_more_try() {
    let provider = provider(&[&broken("cred-a", 500), &broken("cred-b", 500)]);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    let answer = ask(&authpool);
    assert_eq!(
        (
            answer.status,
            answer.header("x-own"),
            answer.header("x-authpool-code")
        ),
        (500, Some("1"), None)
    );
    assert!(answer.text().contains("The server had an error"));
    assert_eq!(provider.ledger().entries().len(), 2, "max_attempts is 2");
}

// C8 (f)
#[test]
fn a_clients_own_fault_is_never_tried_again() {
    let provider = provider(&[&broken("cred-a", 400), &broken("cred-b", 400)]);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    assert_eq!(ask(&authpool).status, 400);
    assert_eq!(provider.ledger().entries().len(), 1);
}

// C8 (g), F1
#[test]
fn a_page_of_something_in_between_fails_over_and_never_passes() {
    let provider =
        provider(&[r#"{"match":{"credential":"cred-a"},"times":null,"do":{"fault":"html_403"}}"#]);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    assert_eq!(ask(&authpool).status, 200);
    provider
        .script()
        .push_json(r#"{"match":{},"times":null,"do":{"fault":"html_403"}}"#)
        .unwrap();
    let answer = ask(&authpool);
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (502, Some("upstream_failed"))
    );
}

// C1, C5
#[test]
fn an_in_flight_cap_is_never_exceeded_and_the_rest_wait_their_turn() {
    let provider = provider(&[SLOW]);
    let mut setup = Setup::new("openai", &["a", "b"]);
    for (_, _, lines) in &mut setup.subscriptions {
        *lines = "max_in_flight = 3".to_owned();
    }
    let authpool = setup.start(provider.addr());
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asked: Vec<_> = (0..50).map(|_| scope.spawn(|| ask(&authpool))).collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    let entries = provider.ledger().entries();
    for credential in ["cred-a", "cred-b"] {
        let own: Vec<_> = entries
            .iter()
            .filter(|entry| entry.credential == credential)
            .collect();
        let most = own
            .iter()
            .map(|one| {
                own.iter()
                    .filter(|other| {
                        other.at <= one.at && other.ended_at.is_none_or(|end| end > one.at)
                    })
                    .count()
            })
            .max();
        assert_eq!(most, Some(3), "{credential}");
    }
}

// C5
#[test]
fn a_full_waiting_room_refuses_and_a_client_that_leaves_it_is_gone_at_once() {
    let provider = provider(&[r#"{"match":{},"times":null,"do":{"fault":"hang"}}"#]);
    let mut setup = Setup::new("openai", &["a"]);
    setup.subscriptions[0].2 = "max_in_flight = 1".to_owned();
    setup.pool = "max_waiting = 2".to_owned();
    let authpool = setup.start(provider.addr());
    let open = || {
        Ask::post(CHAT, chat("gpt-x", false))
            .open(authpool.addr)
            .unwrap()
    };
    let held = open();
    eventually("one is under way", || provider.ledger().in_flight() == 1);
    let waiting = [open(), open()];
    eventually("two wait", || authpool.metric("authpool_waiting{") == 2.0);
    let answer = ask(&authpool);
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (503, Some("queue_full"))
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(waiting);
    eventually("the room is empty", || {
        authpool.metric("authpool_waiting{") == 0.0
    });
    drop(held);
    eventually("nothing is in flight", || {
        authpool.metric("authpool_in_flight{") == 0.0
    });
    eventually("the provider was left", || {
        provider.ledger().in_flight() == 0
    });
}

// C2
#[test]
fn the_next_tier_serves_only_what_the_first_cannot() {
    let provider = provider(&[SLOW]);
    let mut setup = Setup::new("openai", &["first", "second"]);
    setup.subscriptions[0].2 = "max_in_flight = 2".to_owned();
    // Limits that are known, so that it does not begin slowly (C4).
    setup.subscriptions[1].2 = r#"priority = 1
limits = [{ dimension = "requests", per = "minute", limit = 1000000 }]"#
        .to_owned();
    let authpool = setup.start(provider.addr());
    for _ in 0..3 {
        assert_eq!(ask(&authpool).status, 200);
    }
    assert_eq!(provider.ledger().count("cred-second"), 0);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| assert_eq!(ask(&authpool).status, 200));
        }
    });
    assert_eq!(provider.ledger().count("cred-second"), 3);
}

// D11
#[test]
fn a_subscription_whose_server_keeps_failing_is_taken_out_and_comes_back_by_a_probe() {
    let provider = provider(&[&broken("cred-a", 500)]);
    let authpool = Setup::new("openai", &["a", "b"]).start(provider.addr());
    let mut served = 0;
    while !authpool.log().contains("msg=ejected") {
        served += 1;
        assert!(served < 200, "it was never ejected");
        ask(&authpool);
    }
    let start = Instant::now();
    while provider.ledger().count("cred-a") < 7 {
        assert!(start.elapsed() < PATIENCE, "its probes never came");
        thread::sleep(Duration::from_millis(20)); // the offered load
        ask(&authpool);
    }
    let failed: Vec<_> = provider
        .ledger()
        .entries()
        .into_iter()
        .filter(|entry| entry.credential == "cred-a")
        .map(|entry| entry.at)
        .collect();
    let (first, second) = (failed[5].since(failed[4]), failed[6].since(failed[5]));
    println!("five failures, then probes after {first:?} and {second:?}");
    assert!(
        first >= Duration::from_secs(1),
        "{first:?} after the fifth failure"
    );
    assert!(
        second >= Duration::from_secs(2),
        "{second:?} after a refused probe"
    );
    provider.script().clear();
    let before = provider.ledger().count("cred-a");
    eventually("it serves again", || {
        assert_eq!(ask(&authpool).status, 200);
        provider.ledger().count("cred-a") > before + 1
    });
    authpool.wait_for_line("msg=recovered");
}

// C8 (e)
#[test]
fn silence_after_sending_is_told_and_not_sent_again_unless_the_operator_says_so() {
    let reset =
        r#"{"match":{"credential":"cred-a"},"times":null,"do":{"fault":"reset_after_request"}}"#;
    let provider = provider(&[reset]);
    let mut setup = Setup::new("openai", &["a", "b"]);
    setup.subscriptions[1].2 = "priority = 1".to_owned();
    let authpool = setup.start(provider.addr());
    let answer = ask(&authpool);
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (502, Some("outcome_unknown"))
    );
    assert_eq!(provider.ledger().entries().len(), 1);
    setup.more = "[[route]]\npool = \"pool\"\nresend_unknown = true\n".to_owned();
    let authpool = setup.start(provider.addr());
    assert_eq!(ask(&authpool).status, 200);
    assert_eq!(provider.ledger().entries().len(), 3);
}

// C8 (e), F2
#[test]
fn a_provider_that_never_answers_costs_one_time_limit() {
    let provider = provider(&[r#"{"match":{},"times":null,"do":{"fault":"hang"}}"#]);
    let mut setup = Setup::new("openai", &["a", "b"]);
    setup.provider = "first_byte = \"300ms\"".to_owned();
    let authpool = setup.start(provider.addr());
    let start = std::time::Instant::now();
    let answer = ask(&authpool);
    assert_eq!(
        (answer.status, answer.header("x-authpool-code")),
        (504, Some("outcome_unknown"))
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(provider.ledger().entries().len(), 1);
    eventually("the provider was left", || {
        provider.ledger().in_flight() == 0
    });
}
