//! The gauge says what the accounts say, but for rounding (C4), and nothing makes it say nonsense.

use proptest::prelude::*;

use super::super::account::UnderWay;
use super::*;

/// What the accounts say, in double precision: the share that is left of the scarcest.
fn share_of(row: &Row, amounts: &Amounts, now: Timestamp) -> f64 {
    let mut least = f64::INFINITY;
    for (account, amount) in row.accounts.iter().zip(amounts) {
        let Some(account) = account else { continue };
        let mut account = *account;
        let (margin, limit) = (account.margin(), account.limit());
        let stood = account.level();
        let full = limit - margin;
        let gained = account.gain() * now.since(account.at()).as_secs_f64();
        account.advance(now);
        let left = (stood + gained).min(full);
        least = least.min((left - amount.min(full)) / limit);
    }
    least
}

fn dimension() -> impl Strategy<Value = (f64, f64, f64)> {
    let limit = prop_oneof![1.0_f64..100.0, 100.0_f64..1e6, 1e6_f64..4e9];
    (limit, 0.0_f64..=1.0, 0.0_f64..1.2)
}

proptest! {
    // C4
    #[test]
    fn it_agrees_with_the_accounts_within_rounding(
        dimensions in prop::array::uniform4(prop::option::of(dimension())),
        millis in 0_u64..120_000,
    ) {
        let mut book = book(1);
        let (m, mut amounts) = (group("m"), [0.0; DIMENSIONS]);
        let mut readings = Readings::NONE;
        for (at, dimension) in dimensions.into_iter().enumerate() {
            if let Some((limit, left, need)) = dimension {
                readings.dimensions[at] = Some(reading(limit, limit * left, EXACT));
                amounts[at] = limit * need;
            }
        }
        prop_assume!(!readings.is_empty());
        let none = [0.0; DIMENSIONS];
        book.take(0, &m, None, &none, START);
        book.answered(0, &m, &readings, &none, START, START);
        let now = at(millis);
        let exact = share_of(row(&book, 0, "m"), &amounts, now);
        match ask(&book, 0, "m", &amounts, now) {
            Room::Open(share) => {
                prop_assert!((share - exact).abs() < 2e-6, "{} {}", share, exact);
                prop_assert!(-4e-6 < exact);
            }
            Room::Closed { until, event } => {
                prop_assert!(exact < 0.0 && !event);
                prop_assert!(now < until);
                // Then, and no sooner but for rounding: 2e-6 of a minute, twice.
                let room = ask(&book, 0, "m", &amounts, until);
                prop_assert!(is_open(room));
                let before = until - Duration::from_micros(500);
                prop_assert!(before <= now || !is_open(ask(&book, 0, "m", &amounts, before)));
            }
            Room::Beyond => prop_assert!(false),
        }
    }
}

/// Any figure, the silly ones too.
fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(f64::MIN_POSITIVE),
        Just(1.0),
        Just(1e18),
        0.0_f64..1e3,
        0.0_f64..1e12,
    ]
}

fn any_reading() -> impl Strategy<Value = Reading> {
    let times = prop_oneof![Just(0_u64), Just(u64::MAX / 2), 0_u64..200_000_000_000];
    let parts = (figure(), figure(), figure(), figure());
    (parts, times.clone(), prop::option::of(times), any::<bool>()).prop_map(
        |((limit, remaining, below, above), period, reset, window)| Reading {
            limit: limit.max(f64::MIN_POSITIVE),
            remaining,
            below,
            above,
            period: Duration::from_micros(period),
            refill: if window {
                Refill::AtReset
            } else {
                Refill::Continuous
            },
            reset: reset.map(Duration::from_micros),
        },
    )
}

proptest! {
    // C2: whatever headers say, a rank is a number
    #[test]
    fn no_reading_makes_it_say_nonsense(
        steps in prop::collection::vec(
            (any_reading(), 0_usize..DIMENSIONS, figure(), 0_u64..100_000, 0_u8..5),
            1..40,
        ),
    ) {
        let mut book = book(1);
        let m = group("m");
        let mut now = START;
        for (reading, at, amount, millis, kind) in steps {
            let mut readings = Readings::NONE;
            readings.dimensions[at] = Some(reading);
            let amounts = [1.0, amount, amount, amount];
            let sent = now;
            book.take(0, &m, None, &amounts, sent);
            now = now + Duration::from_millis(millis);
            match kind {
                0 => book.read(0, &m, &readings, &amounts, sent, now),
                1 => {
                    let wait = reading.reset;
                    let scope = Scope::TOKENS;
                    book.settle(0, &m, &Ending::Returned, &amounts, false, sent, now);
                    book.refused(0, &m, scope, wait, &amounts, sent, now);
                }
                _ => {
                    book.answered(0, &m, &readings, &amounts, sent, now);
                    let used = Ending::Served([Some(reading.remaining); DIMENSIONS]);
                    book.settle(0, &m, &used, &amounts, true, sent, now);
                }
            }
            for asked in [now, now + Duration::from_secs(1), Timestamp::MAX] {
                match ask(&book, 0, "m", &amounts, asked) {
                    Room::Open(share) => prop_assert!(share.is_finite(), "{}", share),
                    Room::Beyond | Room::Closed { .. } => {}
                }
            }
            for account in row(&book, 0, "m").accounts.iter().flatten() {
                prop_assert!(account.level().is_finite() && account.margin().is_finite());
                prop_assert!(account.gain().is_finite() && 0.0 <= account.gain());
                prop_assert!(account.level() <= account.limit());
            }
            let _ = book.reset(0, book.find(&m).unwrap(), now);
            let _ = book.told(0, book.find(&m).unwrap(), now);
        }
    }
}

// C4: a larger request than the bucket goes when the bucket is full
#[test]
fn larger_than_the_bucket_goes_when_it_is_full_and_not_before() {
    let mut book = book(1);
    let (m, none) = (group("m"), [0.0; DIMENSIONS]);
    let mut told = Readings::NONE;
    told.dimensions[3] = Some(reading(6_000.0, 3_000.0, EXACT));
    book.take(0, &m, None, &none, START);
    book.answered(0, &m, &told, &none, START, START);
    let large = [1.0, 0.0, 0.0, 50_000.0];
    let Room::Closed { until, .. } = ask(&book, 0, "m", &large, START) else {
        panic!("open");
    };
    assert!(until.since(at(30_000)) < Duration::from_millis(1));
    assert!(at(30_000).since(until) < Duration::from_millis(1));
    assert!(is_open(ask(&book, 0, "m", &large, until)));
    // Where others are seen, the margin is out of its reach: it goes all the same.
    let mut account = Account::full(6_000.0, MINUTE, START);
    account.reserve(1.0, START);
    let told = reading(6_000.0, 1_000.0, EXACT);
    account.read(&told, START, UnderWay::default(), START);
    assert!(account.margin() > 0.0);
    account.advance(at(3_000_000));
    assert!(account.margin() > 0.0);
    let gauge = Gauge::of_account(3, &account, at(3_000_000));
    assert!(is_open(gauge.room(&large, at(3_000_000))));
}
