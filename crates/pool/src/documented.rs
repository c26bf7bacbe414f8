//! What gdnsd 3.8 and HAProxy 2.6 document for the same thresholds, as cases: each names the page it is from. Where we differ,
//! the case says how, and why. The tests of pools run both of them beside us.

use crate::{
    AllDown, Basis, Condition, Decider, FailBack, Health, Kind, Member, Portion, Selector, Spec, Spread,
};
use health::{Action, Check, CheckSpec, Gravity, Moment, Outcome, Standing};
use std::time::Duration;

fn check(rise: u32, fall: u32) -> Check {
    let (interval, timeout) = (Duration::from_secs(1), Duration::from_millis(500));
    let (action, gravity) = (Action::Report, Gravity::Soft);
    let spec =
        CheckSpec { name: "a".to_owned(), interval, timeout, rise, fall, action, gravity, shared: true };
    Check::new(spec, Moment::default()).expect("a good check")
}

/// How a check stands after each result of a row: `p` passes, `f` fails; `u` is up, `d` down, `?` unknown.
fn standings(check: &mut Check, results: &str) -> String {
    let mut at = Moment::default();
    let standing = |result| {
        at = at + Duration::from_secs(1);
        let outcome = if result == 'p' { Outcome::Pass } else { Outcome::Fail("so it is".to_owned()) };
        check.observe(at, Duration::ZERO, outcome);
        match check.standing() {
            Standing::Passing => 'u',
            Standing::Failing => 'd',
            Standing::Unknown => '?',
        }
    };
    results.chars().map(standing).collect()
}

#[test]
fn so_many_results_in_a_row_change_a_state() {
    for (page, rise, fall, before, results, wanted) in [
        // "a server will be considered as dead after <count> consecutive unsuccessful health checks"
        ("HAProxy 5.2, fall", 2, 3, "pp", "fff", "uud"),
        ("HAProxy 5.2, fall", 2, 3, "pp", "ffpfff", "uuuuud"),
        ("HAProxy 5.2, fall", 2, 1, "pp", "f", "d"),
        // "a server will be considered as operational after <count> consecutive successful health checks"
        ("HAProxy 5.2, rise", 2, 3, "fff", "pp", "du"),
        ("HAProxy 5.2, rise", 2, 3, "fff", "pfpp", "dddu"),
        ("HAProxy 5.2, rise", 1, 3, "fff", "p", "u"),
        // "Number of monitoring requests which must succeed in a row without any failures"
        ("gdnsd.config(5), up_thresh", 4, 2, "ff", "pppp", "dddu"),
        ("gdnsd.config(5), up_thresh", 4, 2, "ff", "pppfpppp", "dddddddu"),
        // "If the failure counter reaches down_thresh the resource is transitioned to the DOWN state"
        ("gdnsd.config(5), down_thresh", 1, 3, "p", "fff", "uud"),
        // "if ok_thresh successes occur in a row with no failures between them, the failure counter is reset": 1 is ours.
        ("gdnsd.config(5), ok_thresh = 1", 1, 3, "p", "fpffpfff", "uuuuuuud"),
        // With ok_thresh = 2 gdnsd is down here, because it counts what is not in a row. For us, and for HAProxy, an endpoint that
        // fails every other look is up: `rise` and `fall` say how long a row is, and nothing else has to be known.
        ("gdnsd.config(5), ok_thresh = 2, differs", 1, 3, "p", "fpfpf", "uuuuu"),
        // Before anything is known gdnsd takes a resource for what it was when it ended. HAProxy takes a server for up, and, as long
        // as it was never good, for down with the first bad result; its manual doesn't say so. Ours is neither, and not answered with.
        ("gdnsd(8), admin and saved states, differs", 2, 2, "", "pp", "?u"),
        ("HAProxy, differs: dduu", 2, 2, "", "fppp", "??uu"),
        ("HAProxy, differs: uuud", 3, 3, "", "pfff", "???d"),
    ] {
        let mut check = check(rise, fall);
        standings(&mut check, before);
        assert_eq!(standings(&mut check, results), wanted, "{page}: {before} then {results}");
    }
}

fn members(weights: &[u16]) -> Vec<Member> {
    weights.iter().map(|weight| Member { tier: 1, weight: *weight, identity: 0 }).collect()
}

/// A letter each: `u` is up, `d` down.
fn conditions(states: &str) -> Vec<Condition> {
    let health = |state| if state == 'u' { Health::Up } else { Health::Down };
    states.chars().map(|state| Condition { health: health(state), ..Condition::default() }).collect()
}

fn selected(spec: &Spec, members: &[Member], states: &str) -> (Vec<usize>, Basis) {
    let selection = Selector::default().select(spec, members, &conditions(states), Moment::default());
    (selection.members, selection.basis)
}

/// gdnsd-plugin-multifo(8), UP THRESH: "threshold: non-down/total required to pass threshold".
#[test]
fn as_many_have_to_be_good_as_the_threshold_says() {
    let pages = [
        (10, "1/1 1/2 1/3 1/4 1/5 1/6 1/7 1/8 2/16"),
        (20, "1/1 1/2 1/3 1/4 1/5 2/6 2/7 2/8 4/16"),
        (30, "1/1 1/2 1/3 2/4 2/5 2/6 3/7 3/8 5/16"),
        (40, "1/1 1/2 2/3 2/4 2/5 3/6 3/7 4/8 7/16"),
        (50, "1/1 1/2 2/3 2/4 3/5 3/6 4/7 4/8 8/16"),
        (60, "1/1 2/2 2/3 3/4 3/5 4/6 5/7 5/8 10/16"),
        (70, "1/1 2/2 3/3 3/4 4/5 5/6 5/7 6/8 12/16"),
        (80, "1/1 2/2 3/3 4/4 4/5 5/6 6/7 7/8 13/16"),
        (90, "1/1 2/2 3/3 4/4 5/5 6/6 7/7 8/8 15/16"),
    ];
    for (panic_percent, row) in pages {
        let spec = Spec { kind: Kind::RoundRobin, answers_max: None, all_down: AllDown::All, panic_percent };
        for case in row.split(' ') {
            let (required, total) = case.split_once('/').expect("a case");
            let (required, total): (usize, usize) =
                (required.parse().expect("a number"), total.parse().expect("a number"));
            let members = members(&vec![1; total]);
            let with =
                |good: usize| selected(&spec, &members, &("u".repeat(good) + &"d".repeat(total - good)));
            assert_eq!(with(required).0.len(), required, "{panic_percent} %: {case} passes");
            let (all, basis) = with(required - 1);
            assert_eq!(all.len(), total, "{panic_percent} %: one less than {case} gives all");
            assert!(!matches!(basis, Basis::Good { .. }), "and is a failure for what stands around it");
        }
    }
}

/// gdnsd-plugin-simplefo(8), OPERATIONAL MECHANICS, and HAProxy 5.2, `backup`, with `option allbackups` (4.2).
#[test]
fn a_backup_answers_when_nothing_before_it_is_good() {
    let kind = Kind::Failover { enough: 1, fail_back: FailBack::After(Duration::ZERO) };
    for (page, tiers, states, wanted) in [
        ("simplefo(8)", &[1, 2][..], "uu", &[0][..]),
        ("simplefo(8)", &[1, 2], "ud", &[0]),
        ("simplefo(8)", &[1, 2], "du", &[1]),
        // "If the secondary is also DOWN, then the primary is used": for us that is `fallback`.
        ("simplefo(8)", &[1, 2], "dd", &[]),
        // "the server is only used in load balancing when all other non-backup servers are unavailable"
        ("HAProxy backup", &[1, 1, 2], "duu", &[1]),
        ("HAProxy backup", &[1, 1, 2], "ddu", &[2]),
        // "By default, only the first operational backup server is used"
        ("HAProxy backup", &[1, 2, 3], "duu", &[1]),
        ("HAProxy backup", &[1, 2, 3], "ddu", &[2]),
        // "the load balancing will be performed among all backup servers when all normal ones are unavailable"
        ("HAProxy allbackups", &[1, 2, 2], "duu", &[1, 2]),
    ] {
        let spec = Spec { kind, answers_max: None, all_down: AllDown::Fallback, panic_percent: 0 };
        let members: Vec<Member> =
            tiers.iter().map(|tier| Member { tier: *tier, weight: 1, identity: 0 }).collect();
        assert_eq!(selected(&spec, &members, states).0, wanted, "{page}: {states} of {tiers:?}");
    }
}

/// gdnsd-plugin-weighted(8), THE UNGROUPED SINGLE CASE and THE UNGROUPED MULTI CASE: the sets that may be answered, with their odds.
#[test]
fn odds_are_those_of_the_weights_of_what_is_up() {
    for (portion, weights, states, wanted) in [
        (
            Portion::One,
            &[45, 60, 75][..],
            "uuu",
            &[(&[0][..], 0.25), (&[1], 1.0 / 3.0), (&[2], 75.0 / 180.0)][..],
        ),
        (Portion::One, &[45, 60, 75], "udu", &[(&[0], 0.375), (&[2], 0.625)]),
        (Portion::Set, &[45, 60, 60], "uuu", &[(&[0, 1, 2], 0.75), (&[1, 2], 0.25)]),
        (Portion::Set, &[45, 60, 60], "udd", &[(&[0], 1.0)]),
        // "at least the count of items that share the maximum weight"; with chances of their own the others would be both or
        // none at times, and here they are as often in an answer, and evenly.
        (Portion::Set, &[30, 30, 30, 15, 15], "uuuuu", &[(&[0, 1, 2, 3], 0.5), (&[0, 1, 2, 4], 0.5)]),
        // up_thresh is a share of weights there, and one of endpoints here: with equal weights it is one thing.
        (Portion::One, &[5, 5, 5], "udd", &[(&[0], 1.0 / 3.0), (&[1], 1.0 / 3.0), (&[2], 1.0 / 3.0)]),
    ] {
        let kind = Kind::Weighted { portion };
        let panic_percent = if weights[0] == 5 { 50 } else { 0 };
        let spec = Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent };
        let members = members(weights);
        let spread = Spread::new(&spec, &members, &selected(&spec, &members, states).0);
        let Decider::Turns(turns) = &spread.by else { panic!("{spread:?}") };
        let total: f64 = turns.iter().map(|weight| f64::from(*weight)).sum();
        assert_eq!(spread.parts.len(), wanted.len(), "{weights:?}: {spread:?}");
        for (part, odds) in wanted {
            let at = spread
                .parts
                .iter()
                .position(|known| known == part)
                .unwrap_or_else(|| panic!("{part:?}: {spread:?}"));
            assert!(
                (f64::from(turns[at]) / total - odds).abs() < 1e-9,
                "{weights:?}: {part:?} has {odds} of {spread:?}"
            );
        }
    }
}
