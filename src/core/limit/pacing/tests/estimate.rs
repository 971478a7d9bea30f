//! What a request will take (C4, SPEC 16.4).

use super::*;

fn size(bytes: u64, max_tokens: Option<u64>) -> Size {
    Size {
        bytes,
        max_tokens,
        estimated: None,
    }
}

#[track_caller]
fn check(need: Need, input: f64, output: f64, most_output: f64) {
    assert!((need.input - input).abs() < 1e-6, "{need:?}");
    assert_eq!((need.output, need.most_output), (output, most_output));
}

// C4: 0.25 until learned; min(max_tokens, 1024)
#[test]
fn until_it_has_learned_a_quarter_of_the_bytes_and_at_most_1024() {
    let estimate = Estimate::new();
    check(estimate.need(&size(4_000, None)), 1_120.0, 1_024.0, 1_024.0);
    check(
        estimate.need(&size(4_000, Some(100))),
        1_120.0,
        100.0,
        100.0,
    );
    check(
        estimate.need(&size(4_000, Some(9_000))),
        1_120.0,
        1_024.0,
        9_000.0,
    );
    check(
        Estimate::unlearned(&size(4_000, None)),
        1_120.0,
        1_024.0,
        1_024.0,
    );
}

// F9: the client's own word, without a margin
#[test]
fn the_clients_word_is_taken() {
    let told = Size {
        estimated: Some(77),
        ..size(4_000, Some(5))
    };
    check(Estimate::new().need(&told), 77.0, 5.0, 5.0);
}

#[test]
fn who_carries_no_tokens_needs_none() {
    check(Estimate::new().need(&size(0, None)), 0.0, 0.0, 0.0);
    check(Estimate::new().need(&size(0, Some(10))), 0.0, 0.0, 0.0);
}

// 16.4: the learned ratio and 12 %
#[test]
fn the_ratio_is_learned_from_the_first_answer_on_and_twelve_percent_added() {
    let mut estimate = Estimate::new();
    estimate.learn(1_000, Some(400.0), None);
    check(estimate.need(&size(1_000, None)), 448.0, 1_024.0, 1_024.0);
    for _ in 0..400 {
        estimate.learn(1_000, Some(200.0), None);
    }
    let need = estimate.need(&size(1_000, None));
    assert!((need.input - 224.0).abs() < 1.0, "{need:?}");
    // What nobody reported teaches nothing.
    estimate.learn(1_000, None, None);
    estimate.learn(0, Some(9_000.0), None);
    assert_eq!(estimate.need(&size(1_000, None)), need);
}

// C4: the 90th percentile of the last 200 answers
#[test]
fn the_output_is_the_ninetieth_percentile_of_the_last_200() {
    let mut estimate = Estimate::new();
    for output in 1..=100 {
        estimate.learn(100, None, Some(f64::from(output)));
    }
    let output = |estimate: &Estimate, most| estimate.need(&size(100, most)).output;
    assert_eq!(output(&estimate, None), 90.0);
    // Never more than the request allows.
    assert_eq!(output(&estimate, Some(50)), 50.0);
    for _ in 0..200 {
        estimate.learn(100, None, Some(7.0));
    }
    assert_eq!(output(&estimate, None), 7.0);
    estimate.clear();
    assert_eq!(output(&estimate, None), 1_024.0);
}

// C4: max_tokens where the provider reserves it; cache reads only where they count
#[test]
fn what_it_takes_of_each_dimension_follows_how_the_provider_counts() {
    let need = Need {
        input: 100.0,
        output: 30.0,
        most_output: 400.0,
    };
    let counting = Counting::default();
    assert_eq!(need.amounts(counting, 60.0), [1.0, 100.0, 30.0, 130.0]);
    let reserves = Counting {
        reserves_max_tokens: true,
        ..counting
    };
    assert_eq!(need.amounts(reserves, 60.0), [1.0, 100.0, 400.0, 500.0]);
    let ignores = Counting {
        ignores_cache_reads: true,
        ..counting
    };
    assert_eq!(need.amounts(ignores, 60.0), [1.0, 40.0, 30.0, 70.0]);
    assert_eq!(need.amounts(ignores, 600.0), [1.0, 0.0, 30.0, 30.0]);
}
