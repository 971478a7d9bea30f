//! All rows: found, bounded, configured, joined (C4, D8).

use super::*;

const ONE: Amounts = [1.0, 0.0, 0.0, 0.0];

fn limit(limit: f64, models: &[&str]) -> Limit {
    let models: Vec<_> = models.iter().map(|model| (*model).to_owned()).collect();
    Limit {
        dimension: Dimension::Requests,
        limit,
        period: MINUTE,
        models: Models::new(&models, &[]),
    }
}

fn configured(domains: Vec<Vec<Limit>>) -> Book {
    let mut book = Book::new();
    book.lay_out(domains, START);
    book
}

/// One request that states what is left.
fn tell(book: &mut Book, domain: usize, name: &str, limit: f64, remaining: f64, now: Timestamp) {
    let told = of_requests(reading(limit, remaining, EXACT));
    serve(book, domain, name, &told, now);
}

fn serve(book: &mut Book, domain: usize, name: &str, told: &Readings, now: Timestamp) {
    let name = group(name);
    book.take(domain, &name, Some(name.name()), &ONE, now);
    book.answered(domain, &name, told, &ONE, now, now);
    let used = Ending::Served([None; DIMENSIONS]);
    book.settle(domain, &name, &used, &ONE, true, now, now);
}

// D3: a limit on one model never benches the others
#[test]
fn a_domain_and_a_group_have_an_account_of_their_own() {
    let mut book = book(2);
    tell(&mut book, 0, "a", 100.0, 0.0, START);
    assert!(!is_open(ask(&book, 0, "a", &ONE, START)));
    assert!(is_open(ask(&book, 0, "b", &ONE, START)));
    assert!(is_open(ask(&book, 1, "a", &ONE, START)));
}

// C2: unknown counts 0.5
#[test]
fn where_nothing_is_known_half_counts_as_left_and_where_something_is_that_alone() {
    let mut told = book(1);
    assert_eq!(ask(&told, 0, "a", &ONE, START), Room::Open(0.5));
    serve(&mut told, 0, "a", &Readings::NONE, START);
    assert_eq!(ask(&told, 0, "a", &ONE, START), Room::Open(0.5));
    tell(&mut told, 0, "a", 100.0, 91.0, START);
    let share = |room| match room {
        Room::Open(share) => (share * 1e4_f64).round() / 1e4,
        other => panic!("{other:?}"),
    };
    assert_eq!(share(ask(&told, 0, "a", &ONE, START)), 0.9);
    let mut book = configured(vec![vec![limit(10.0, &[])]]);
    assert_eq!(share(ask(&book, 0, "a", &ONE, START)), 0.9);
    serve(&mut book, 0, "a", &Readings::NONE, START);
    assert_eq!(share(ask(&book, 0, "a", &ONE, START)), 0.8);
}

// C4: those that share a limit share one bucket
#[test]
fn a_configured_limit_is_shared_by_the_groups_that_it_names() {
    let mut book = configured(vec![vec![limit(4.0, &["big-*"]), limit(6.0, &[])]]);
    for name in ["big-a", "big-b", "big-a", "big-b"] {
        assert!(is_open(ask(&book, 0, name, &ONE, START)));
        book.take(0, &group(name), Some(name), &ONE, START);
    }
    for name in ["big-a", "big-b", "big-c"] {
        assert!(!is_open(ask(&book, 0, name, &ONE, START)), "{name}");
    }
    // The others have the domain's own limit yet.
    for _ in 0..2 {
        assert!(is_open(ask(&book, 0, "small", &ONE, START)));
        book.take(0, &group("small"), Some("small"), &ONE, START);
    }
    assert!(!is_open(ask(&book, 0, "small", &ONE, START)));
    // What was not sent is free again.
    let returned = &Ending::Returned;
    book.settle(0, &group("big-a"), returned, &ONE, false, START, START);
    for name in ["big-a", "big-c", "small"] {
        assert!(is_open(ask(&book, 0, name, &ONE, START)), "{name}");
    }
}

// C4: configured and stated limits both hold
#[test]
fn of_a_configured_and_a_stated_limit_the_scarcer_holds() {
    let mut book = configured(vec![vec![limit(3.0, &[])]]);
    tell(&mut book, 0, "a", 100.0, 1.0, START);
    assert!(is_open(ask(&book, 0, "a", &ONE, START)));
    book.take(0, &group("a"), Some("a"), &ONE, START);
    assert!(!is_open(ask(&book, 0, "a", &ONE, START)));
    // A full minute later both are full: three go by the configured one.
    for _ in 0..3 {
        assert!(is_open(ask(&book, 0, "a", &ONE, at(60_000))));
        book.take(0, &group("a"), Some("a"), &ONE, at(60_000));
    }
    assert!(!is_open(ask(&book, 0, "a", &ONE, at(60_000))));
}

// 16.7
#[test]
fn a_refusal_empties_the_configured_limit_that_it_names() {
    let mut book = configured(vec![vec![limit(60.0, &[])]]);
    let a = group("a");
    book.take(0, &a, Some("a"), &ONE, START);
    let wait = Some(seconds(1));
    book.settle(0, &a, &Ending::Returned, &ONE, false, START, START);
    book.refused(0, &a, Scope::REQUESTS, wait, &ONE, START, START);
    assert_eq!(
        ask(&book, 0, "a", &ONE, START),
        Room::Closed {
            until: at(1_000),
            event: false
        }
    );
}

// C4: bounded memory
#[test]
fn rows_and_groups_are_bounded_and_what_was_longest_unused_makes_room() {
    let mut book = book(3);
    let room = |book: &Book| {
        (
            book.rows.capacity(),
            book.groups.capacity(),
            book.places.capacity(),
        )
    };
    let before = room(&book);
    for number in 0..500_u32 {
        let name = format!("g{number}");
        for domain in 0..3 {
            tell(&mut book, domain, &name, 100.0, 0.0, START);
        }
    }
    assert_eq!(room(&book), before);
    assert_eq!(book.groups.len(), MOST_GROUPS);
    for number in 0..500 - MOST_GROUPS {
        assert!(book.find(&group(&format!("g{number}"))).is_none());
    }
    for number in 500 - MOST_GROUPS..500 {
        let name = format!("g{number}");
        for domain in 0..3 {
            assert!(!is_open(ask(&book, domain, &name, &ONE, START)), "{name}");
        }
    }
    // A group that comes back is a stranger.
    assert_eq!(ask(&book, 0, "g0", &ONE, START), Room::Open(0.5));
}

#[test]
fn the_sixty_fifth_group_takes_the_place_of_none_that_is_in_use() {
    let mut book = book(1);
    // The first is the longest unused, and under way.
    book.take(0, &group("busy"), None, &ONE, START);
    for number in 0..MOST_GROUPS + 8 {
        tell(&mut book, 0, &format!("g{number}"), 100.0, 0.0, START);
    }
    let busy = book.find(&group("busy")).unwrap();
    assert!(book.place(busy, 0).is_some());
    let told = of_requests(reading(100.0, 0.0, EXACT));
    book.answered(0, &group("busy"), &told, &ONE, START, START);
    assert!(!is_open(ask(&book, 0, "busy", &ONE, START)));
}

#[test]
fn where_all_groups_are_in_use_another_goes_unpaced() {
    let mut book = book(1);
    for number in 0..MOST_GROUPS {
        book.take(0, &group(&format!("g{number}")), None, &ONE, START);
    }
    let late = group("late");
    book.take(0, &late, None, &ONE, START);
    assert_eq!(book.find(&late), None);
    // Nothing breaks for want of a row.
    let told = of_requests(reading(100.0, 0.0, EXACT));
    book.answered(0, &late, &told, &ONE, START, START);
    book.settle(0, &late, &Ending::Returned, &ONE, true, START, START);
    assert!(is_open(ask(&book, 0, "late", &ONE, START)));
}

#[test]
fn a_row_that_is_in_use_is_never_given_away() {
    let domains = 400;
    let mut book = book(domains);
    let most = book.most_rows;
    // All the rows there are: every other one is in use.
    let mut rows = Vec::new();
    for at in 0..most {
        let (name, domain) = (format!("g{}", at / domains), at % domains);
        book.take(domain, &group(&name), None, &ONE, START);
        if at % 2 == 0 {
            rows.push((name, domain));
        } else {
            let returned = &Ending::Returned;
            book.settle(domain, &group(&name), returned, &ONE, false, START, START);
        }
    }
    assert_eq!(book.rows.len(), most);
    for at in 0..most {
        let name = format!("h{}", at / domains);
        tell(&mut book, at % domains, &name, 100.0, 0.0, START);
    }
    assert_eq!(book.rows.len(), most);
    for (name, domain) in rows {
        assert!(row(&book, domain, &name).is_busy(), "{name} {domain}");
    }
}

// STYLE Reload
#[test]
fn a_layout_keeps_what_is_known() {
    let mut book = configured(vec![vec![limit(10.0, &[]), limit(20.0, &["a"])], vec![]]);
    tell(&mut book, 1, "a", 100.0, 40.0, START);
    for _ in 0..10 {
        book.take(0, &group("a"), Some("a"), &ONE, START);
    }
    assert!(!is_open(ask(&book, 0, "a", &ONE, START)));
    // More domains, the limits in another order, one gone and one new.
    let limits = vec![limit(5.0, &["b"]), limit(10.0, &[])];
    book.lay_out(vec![limits, vec![], vec![], vec![]], START);
    assert!(!is_open(ask(&book, 0, "a", &ONE, START)));
    assert_eq!(level(&book, 1, "a", Dimension::Requests, START), 40.0);
    assert!(is_open(ask(&book, 3, "a", &ONE, START)));
    // A changed limit is a full bucket.
    book.lay_out(vec![vec![limit(11.0, &[])]], START);
    assert!(is_open(ask(&book, 0, "a", &ONE, START)));
    assert_eq!(level(&book, 1, "a", Dimension::Requests, START), 40.0);
    // What is under way comes back to whom it was taken from.
    let returned = &Ending::Returned;
    book.settle(0, &group("a"), returned, &ONE, false, START, START);
    assert!(!row(&book, 1, "a").is_busy());
}

// D8
#[test]
fn joined_domains_keep_the_lower_account_and_add_up_what_is_under_way() {
    let mut book = book(2);
    tell(&mut book, 0, "a", 100.0, 30.0, START);
    tell(&mut book, 1, "a", 100.0, 50.0, START);
    tell(&mut book, 0, "alone", 100.0, 7.0, START);
    book.take(0, &group("a"), None, &ONE, START);
    book.take(1, &group("a"), None, &ONE, START);
    assert!(book.state_equal_limits(0, 1));
    book.join(0, 1, START);
    assert_eq!(level(&book, 1, "a", Dimension::Requests, START), 29.0);
    assert_eq!(level(&book, 1, "alone", Dimension::Requests, START), 7.0);
    // Two are out: a reading of both raises only beyond them.
    let told = of_requests(reading(100.0, 32.0, EXACT));
    book.read(1, &group("a"), &told, &ONE, at(1), at(1));
    let left = level(&book, 1, "a", Dimension::Requests, at(1));
    assert!((left - 30.0).abs() < 0.1, "{left}");
}

// D8: all dimensions that both have stated
#[test]
fn limits_are_equal_where_all_that_both_have_stated_are() {
    let mut book = book(3);
    tell(&mut book, 0, "a", 100.0, 30.0, START);
    assert!(!book.state_equal_limits(0, 1), "one has stated nothing");
    tell(&mut book, 1, "b", 100.0, 30.0, START);
    assert!(!book.state_equal_limits(0, 1), "of no common group");
    tell(&mut book, 1, "a", 100.0, 99.0, START);
    assert!(book.state_equal_limits(0, 1));
    let mut more = of_requests(reading(100.0, 30.0, EXACT));
    more.dimensions[3] = Some(reading(5_000.0, 30.0, EXACT));
    serve(&mut book, 0, "a", &more, START);
    assert!(book.state_equal_limits(0, 1), "the other has not stated it");
    more.dimensions[3] = Some(reading(6_000.0, 30.0, EXACT));
    serve(&mut book, 1, "a", &more, START);
    assert!(!book.state_equal_limits(0, 1));
}
