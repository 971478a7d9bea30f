//! One account and its readings (SPEC 16.2-16.4, 16.7).

use proptest::prelude::*;

use super::super::account::UnderWay;
use super::*;

const NOTHING: UnderWay = UnderWay { all: 0.0, own: 0.0 };
/// Below any unit.
const TINY: f64 = 1e-6;

fn all(all: f64) -> UnderWay {
    UnderWay { all, own: 0.0 }
}

#[track_caller]
fn check(account: &Account, expected: f64) {
    let level = account.level() + account.margin();
    assert!((level - expected).abs() < TINY, "{level}, not {expected}");
}

/// 600 a minute are 10 a second.
fn account() -> Account {
    Account::full(600.0, MINUTE, START)
}

// 16.1
#[test]
fn it_is_lowered_at_sending_gains_all_the_time_and_is_never_above_its_limit() {
    let mut account = account();
    account.advance(at(60_000));
    check(&account, 600.0);
    account.reserve(100.0, at(60_000));
    check(&account, 500.0);
    account.advance(at(63_500));
    check(&account, 535.0);
    account.settle(100.0, 40.0, 60.0, at(63_500));
    check(&account, 595.0);
    account.advance(at(70_000));
    check(&account, 600.0);
    account.settle(100.0, 40.0, 60.0, at(70_000));
    check(&account, 600.0);
}

/// What happens to an account.
#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve(f64),
    Settle(f64, f64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0.0_f64..50.0).prop_map(Step::Reserve),
        (0.0_f64..50.0, 0.0_f64..1.0).prop_map(|(reserved, part)| Step::Settle(reserved, part)),
        (0_u64..4_000).prop_map(Step::Pass),
    ]
}

proptest! {
    // 16.2: the oracle remembers every value, by its instant
    #[test]
    fn a_reading_within_changes_nothing_and_one_outside_moves_by_its_distance_to_the_nearer(
        steps in prop::collection::vec(step(), 1..15),
        sent in 0_usize..15,
        part in 0.0_f64..1.0,
        outside in 1.0_f64..40.0,
        above in 0.0_f64..9.0,
        below in 0.0_f64..9.0,
    ) {
        let mut account = account();
        account.reserve(400.0, START);
        let mut now = START;
        let mut values = vec![(START, 600.0), (START, 200.0_f64)];
        let mut handed_back = 0.0;
        let sent = sent % steps.len();
        let mut since = START;
        for (place, step) in steps.iter().enumerate() {
            let (_, level) = values[values.len() - 1];
            let level = match *step {
                Step::Reserve(amount) => {
                    account.reserve(amount, now);
                    level - amount
                }
                Step::Settle(reserved, part) => {
                    let used = reserved * part;
                    account.settle(reserved, used, reserved - used, now);
                    handed_back += reserved - used;
                    (level + reserved - used).min(600.0)
                }
                Step::Pass(millis) => {
                    now = now + Duration::from_millis(millis);
                    account.advance(now);
                    (level + 10.0 * millis as f64 / 1e3).min(600.0)
                }
            };
            values.push((now, level));
            if place == sent {
                // The request itself, at an instant of its own.
                now = now + Duration::from_millis(1);
                let level = (level + 0.01).min(600.0);
                account.reserve(1.0, now);
                since = now;
                values.extend([(now, level), (now, level - 1.0)]);
                handed_back = 0.0;
            }
        }
        let (_, last) = values[values.len() - 1];
        check(&account, last);
        let known = values.iter().filter(|(at, _)| since <= *at).map(|(_, value)| *value);
        let low = known.clone().fold(f64::MAX, f64::min);
        let high = known.fold(f64::MIN, f64::max);

        let mut same = account;
        let within = low + (high - low) * part;
        if 0.0 <= within {
            same.read(&reading(600.0, within, (below, above)), since, NOTHING, now);
            prop_assert!((same.level() + same.margin() - last).abs() < TINY);
        }

        let mut lower = account;
        let told = low - outside;
        if above <= told {
            lower.read(&reading(600.0, told - above, (below, above)), since, NOTHING, now);
            let level = lower.level() + lower.margin();
            prop_assert!((level - (last - outside)).abs() < TINY, "{} -> {}", last, level);
        }

        // Above, what was settled since may have been still out then.
        let mut higher = account;
        let told = high.max(-outside) + outside;
        let outside = told - high;
        higher.read(&reading(600.0, told + below, (below, above)), since, NOTHING, now);
        let level = higher.level() + higher.margin();
        let (most, least) = (last + outside, last + outside - handed_back);
        prop_assert!(least.min(600.0) - TINY <= level && level <= most + TINY);
        prop_assert!(level <= 600.0 + TINY);
    }
}

// 16.3
#[test]
fn the_first_reading_counts_at_its_low_end_less_all_that_is_under_way() {
    let told = reading(600.0, 300.0, (50.0, 50.0));
    check(&Account::first(&told, all(120.0), START), 130.0);
    let own = UnderWay {
        all: 120.0,
        own: 20.0,
    };
    check(&Account::first(&told, own, START), 150.0);
}

// 16.3: what a settling hands back was taken off before; a request that has been counted stays counted
#[test]
fn of_the_first_reading_the_askers_tokens_are_taken_off_and_its_request_is_not() {
    let mut book = book(1);
    let (m, amounts) = (group("m"), [1.0, 100.0, 50.0, 150.0]);
    let mut told = of_requests(reading(60.0, 30.0, EXACT));
    told.dimensions[1] = Some(reading(6_000.0, 940.0, EXACT));
    book.take(0, &m, Some("m"), &amounts, START);
    book.answered(0, &m, &told, &amounts, START, START);
    let left = |book: &Book, dimension| level(book, 0, "m", dimension, START);
    assert_eq!(left(&book, Dimension::Requests), 30.0);
    assert_eq!(left(&book, Dimension::InputTokens), 840.0);
    let used = Ending::Served([None, Some(60.0), Some(20.0), Some(80.0)]);
    book.settle(0, &m, &used, &amounts, true, START, START);
    assert_eq!(left(&book, Dimension::Requests), 30.0);
    assert_eq!(left(&book, Dimension::InputTokens), 880.0);
}

// 16.4
#[test]
fn a_reading_raises_only_beyond_what_is_under_way() {
    let mut account = account();
    account.reserve(400.0, START);
    for (told, under_way, expected) in [
        (270.0, 100.0, 210.0),
        (310.0, 100.0, 210.0),
        (330.0, 100.0, 230.0),
        (330.0, 0.0, 330.0),
    ] {
        let (mut account, now) = (account, at(1_000));
        account.read(&reading(600.0, told, EXACT), now, all(under_way), now);
        check(&account, expected);
    }
}

// 16.2
#[test]
fn a_reading_that_may_be_older_than_the_account_changes_nothing() {
    let mut account = Account::first(&reading(600.0, 300.0, EXACT), NOTHING, at(1_000));
    for told in [0.0, 600.0] {
        account.read(&reading(600.0, told, EXACT), at(999), NOTHING, at(2_000));
        account.advance(at(2_000));
        check(&account, 310.0);
    }
    account.read(&reading(600.0, 100.0, EXACT), at(1_000), NOTHING, at(2_000));
    check(&account, 110.0);
}

// 16.4: output is debited as it is produced
#[test]
fn what_a_settled_answer_had_not_yet_used_at_a_reading_is_not_counted_twice() {
    let mut book = book(1);
    let m = group("m");
    let mut told = Readings::NONE;
    told.dimensions[2] = Some(reading(6_000.0, 1_000.0, EXACT));
    let small = [1.0, 1.0, 0.0, 1.0];
    book.take(0, &m, None, &small, START);
    book.answered(0, &m, &told, &small, START, START);
    let large = [1.0, 1.0, 500.0, 501.0];
    book.take(0, &m, None, &large, at(1));
    book.take(0, &m, None, &small, at(2));
    // The small one is read while the large one has produced nothing, and arrives when that is settled.
    let used = Ending::Served([None, Some(1.0), Some(500.0), Some(501.0)]);
    book.settle(0, &m, &used, &large, false, at(1), at(3));
    book.answered(0, &m, &told, &small, at(2), at(3));
    let left = level(&book, 0, "m", Dimension::OutputTokens, at(3));
    assert!((left - 500.0).abs() < 1.0, "{left}");
}

// 16.7
#[test]
fn after_a_refusal_nothing_is_left_and_it_refills_meanwhile() {
    let mut account = account();
    account.empty(START);
    check(&account, 0.0);
    account.advance(at(1_500));
    check(&account, 15.0);
    account.reserve(100.0, at(1_500));
    account.empty(at(1_500));
    check(&account, -85.0);
}

// 16.7, D3
#[test]
fn a_refusal_empties_what_it_names_and_else_what_is_scarcest() {
    let both = Scope::INPUT_TOKENS | Scope::OUTPUT_TOKENS;
    for (scope, emptied) in [
        (Scope::REQUESTS, [true, false, false]),
        (Scope::INPUT_TOKENS, [false, true, false]),
        (Scope::OUTPUT_TOKENS, [false, false, true]),
        (Scope::TOKENS, [false, true, true]),
        (both, [false, true, true]),
        (Scope::REQUESTS | Scope::PER_MODEL, [true, false, false]),
        (Scope::NONE, [false, true, false]),
        (Scope::SPEND, [false, true, false]),
        (Scope::CONCURRENCY, [false, false, false]),
    ] {
        let mut book = book(1);
        let m = group("m");
        let mut told = of_requests(reading(60.0, 30.0, EXACT));
        told.dimensions[1] = Some(reading(6_000.0, 600.0, EXACT));
        told.dimensions[2] = Some(reading(6_000.0, 3_000.0, EXACT));
        let amounts = [1.0, 1.0, 1.0, 2.0];
        book.take(0, &m, None, &amounts, START);
        book.answered(0, &m, &told, &amounts, START, START);
        book.settle(0, &m, &Ending::Returned, &amounts, true, START, START);
        book.refused(0, &m, scope, None, &amounts, START, START);
        let empty = [0, 1, 2].map(|at| level(&book, 0, "m", Dimension::ALL[at], START) <= 0.0);
        assert_eq!(empty, emptied, "{scope:?}");
    }
}

// 16, limits that change
#[test]
fn a_changed_limit_begins_anew_from_the_reading() {
    let mut account = account();
    account.reserve(100.0, START);
    let told = Reading {
        below: 10.0,
        ..reading(1_200.0, 400.0, EXACT)
    };
    account.read(&told, START, all(50.0), at(1_000));
    assert_eq!(account.limit(), 1_200.0);
    check(&account, 340.0);
    account.advance(at(2_000));
    check(&account, 360.0);
    // The same limit of another period is another bucket too.
    let slower = Reading {
        period: seconds(600),
        ..reading(1_200.0, 700.0, EXACT)
    };
    account.read(&slower, at(2_000), NOTHING, at(2_000));
    account.advance(at(3_000));
    check(&account, 702.0);
}

// D8
#[test]
fn of_two_accounts_that_are_one_the_lower_stays() {
    let mut high = account();
    high.reserve(100.0, START);
    let mut low = account();
    low.reserve(300.0, START);
    let (mut one, mut other) = (high, low);
    one.join(&low, at(1_000));
    other.join(&high, at(1_000));
    check(&one, 310.0);
    check(&other, 310.0);
}
