//! The laws of the waiting room (C5: a waiter that leaves at any step leaks no slot and no grant; no wake-up is
//! lost), each with the extent to which it is explored.

mod leaving;
mod reload;
mod waking;

use crate::Law;

const fn law(name: &'static str, body: fn(), preemptions: usize) -> Law {
    Law {
        name,
        body,
        preemptions,
        most: 60_000,
        random: 4_000,
        undelivered: false,
    }
}

/// An answer must have found its receiver gone.
const fn undelivered(law: Law) -> Law {
    Law {
        undelivered: true,
        ..law
    }
}

pub const LAWS: &[Law] = &[
    undelivered(law(
        "a_waiter_never_polled_leaks_nothing",
        leaving::never_polled,
        9,
    )),
    undelivered(law(
        "a_waiter_that_leaves_at_any_step_leaks_nothing",
        leaving::at_any_step,
        3,
    )),
    law("who_leaves_is_gone_at_once", leaving::at_once, 3),
    undelivered(law(
        "a_waiter_that_leaves_as_it_expires_leaks_nothing",
        leaving::as_it_expires,
        2,
    )),
    undelivered(law(
        "who_leaves_takes_nothing_of_who_has_its_place",
        leaving::in_anothers_place,
        3,
    )),
    undelivered(law(
        "a_probe_that_leaves_is_free_again",
        leaving::as_a_probe,
        2,
    )),
    law(
        "who_expires_while_granted_gets_one_answer",
        leaving::expired_while_granted,
        2,
    ),
    law("a_freed_slot_wakes_who_waits_for_it", waking::freed_slot, 3),
    law("one_slot_is_never_held_twice", waking::one_slot, 2),
    law("two_slots_are_never_held_thrice", waking::two_slots, 3),
    law("the_end_of_a_cooldown_wakes_all", waking::cooldown_ended, 2),
    law(
        "a_keeper_that_sleeps_is_woken_for_a_nearer_instant",
        waking::nearer_instant,
        2,
    ),
    law(
        "a_newcomer_wakes_a_keeper_that_sleeps_without_end",
        waking::newcomer,
        2,
    ),
    undelivered(law("a_reload_loses_nobody", reload::raised_cap, 2)),
    law(
        "a_larger_room_has_a_way_to_each_answer",
        reload::larger_room,
        3,
    ),
    law(
        "a_changed_credential_loses_nobody",
        reload::changed_credential,
        2,
    ),
    law(
        "a_removed_subscription_leaves_nobody_waiting",
        reload::removed,
        2,
    ),
    Law {
        most: 300,
        random: 100,
        ..law(
            "more_answers_than_one_section_holds_all_arrive",
            reload::overflow,
            1,
        )
    },
];
