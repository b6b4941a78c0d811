//! The table, row by row, and what must hold on every path.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// Every row: state, event, new state, new target (`=` stays, `-` cleared), effects.
const ROWS: &str = include_str!("rows.txt");

fn rows() -> String {
    let mut text = String::new();
    for state in ProvisionState::ALL {
        for event in Event::all() {
            if let Ok(to) = next(state, event) {
                let target = match to.target {
                    Target::Keep => "=",
                    Target::Clear => "-",
                    Target::Set(target) => target.text(),
                };
                let effects: Vec<String> =
                    to.effects.iter().map(|effect| format!("{effect:?}")).collect();
                text.push_str(&format!(
                    "{state} | {event} | {} | {target} | {}\n",
                    to.state,
                    if effects.is_empty() { "-".to_owned() } else { effects.join(" ") }
                ));
            }
        }
    }
    text
}

#[test]
fn the_table_is_the_one_in_the_file() {
    let found = rows();
    assert!(found == ROWS, "rows.txt differs from the table, which is now:\n{found}");
}

/// The states reachable from `start` by `events`.
fn reachable(start: ProvisionState, events: &[Event]) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::from([start.text()]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        for event in events {
            if let Ok(to) = next(state, *event)
                && seen.insert(to.state.text())
            {
                queue.push_back(to.state);
            }
        }
    }
    seen
}

#[test]
fn no_path_leads_from_a_tenant_to_available_without_a_proven_cleaning() {
    let mut events = Event::all();
    events.retain(|event| !matches!(event, Event::Cleaned | Event::CleaningSkipped));
    for state in ProvisionState::ALL.into_iter().filter(|state| *state != ProvisionState::Available)
    {
        assert!(!reachable(state, &events).contains("available"), "from {state}");
    }
    for state in ProvisionState::ALL {
        for event in [Event::Cleaned, Event::CleaningSkipped] {
            let allowed = next(state, event).is_ok();
            assert_eq!(allowed, state == ProvisionState::Cleaning, "{event} in {state}");
        }
    }
}

#[test]
fn there_is_no_dead_end_and_every_state_can_reach_available_again() {
    for state in ProvisionState::ALL {
        assert!(reachable(state, &Event::all()).contains("available"), "from {state}");
    }
}

#[test]
fn every_busy_and_every_waiting_state_can_fail_and_leave() {
    for state in
        ProvisionState::ALL.into_iter().filter(|state| state.is_busy() || state.is_waiting())
    {
        let failed = next(state, Event::Failed).unwrap().state;
        assert!(!failed.is_busy() && !failed.is_waiting(), "{state} fails to {failed}");
        if state.is_waiting() {
            for event in [Event::BootAgain, Event::AgentDone, Event::Asked(Verb::Abort)] {
                assert!(next(state, event).is_ok(), "{event} in {state}");
            }
        }
    }
}

#[test]
fn operators_cannot_interrupt_a_busy_state() {
    for state in ProvisionState::ALL.into_iter().filter(|state| state.is_busy()) {
        for verb in Verb::ALL {
            assert!(next(state, Event::Asked(verb)).is_err(), "{} in {state}", verb.text());
        }
    }
}

#[test]
fn a_refusal_is_irons_own_sentence() {
    let node = uuid::Uuid::nil();
    let refused = next(ProvisionState::Active, Event::Asked(Verb::Provide)).unwrap_err();
    assert_eq!(
        refused.on(node),
        "The requested action \"provide\" can not be performed on node \"00000000-0000-0000-0000-000000000000\" \
         while it is in state \"active\"."
    );
}

#[test]
fn wire_texts_are_read_back() {
    for state in ProvisionState::ALL {
        assert_eq!(ProvisionState::parse(state.text()), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.text());
    }
    for verb in Verb::ALL {
        assert_eq!(Verb::parse(verb.text()), Some(verb));
    }
    assert_eq!(
        (Verb::parse("deploy"), Verb::parse("undeploy")),
        (Some(Verb::Active), Some(Verb::Deleted))
    );
    assert_eq!(Verb::parse("(done)"), None);
}

#[test]
fn the_same_event_a_second_time_is_refused() {
    for state in ProvisionState::ALL {
        for event in Event::all() {
            let Ok(to) = next(state, event) else { continue };
            // Ironic's table: abort of a service fails it, and abort of a failed service leaves the instance as it is.
            let twice =
                event == Event::Asked(Verb::Abort) && to.state == ProvisionState::ServiceFailed;
            assert_eq!(next(to.state, event).is_ok(), twice, "{event} twice from {state}");
        }
    }
}

#[test]
fn a_held_node_goes_on_or_ends_by_request_and_by_its_deadline() {
    for state in ProvisionState::ALL.into_iter().filter(|state| state.is_held()) {
        for event in [Event::Asked(Verb::Unhold), Event::Asked(Verb::Abort), Event::Failed] {
            assert!(next(state, event).is_ok(), "{event} in {state}");
        }
    }
}

/// A small generator, so that the counts below are the same on every run (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

#[test]
fn random_lives_never_make_a_tenant_s_machine_available_uncleaned_and_always_come_to_rest() {
    const SEQUENCES: u32 = 20_000;
    const LENGTH: usize = 60;
    let mut dice = Dice(0x1209_7e57);
    let (mut events, mut applied, mut visited) = (0u32, 0u32, BTreeSet::new());
    for _ in 0..SEQUENCES {
        let switched_off = dice.roll(4) == 0;
        let mut choices = Event::all();
        choices.retain(|event| *event != Event::CleaningSkipped || switched_off);
        let (mut state, mut target, mut dirty) = (ProvisionState::Enroll, None, false);
        for _ in 0..LENGTH {
            // Half of the events are possible ones, so that lives go deep; the others must be refused or be right too.
            let possible: Vec<Event> =
                choices.iter().copied().filter(|event| next(state, *event).is_ok()).collect();
            let from = if dice.roll(2) == 0 { &choices } else { &possible };
            let event = from[dice.roll(from.len())];
            events += 1;
            let Ok(to) = next(state, event) else { continue };
            applied += 1;
            dirty |= to.state == ProvisionState::Deploying || to.state == ProvisionState::Active;
            dirty &= !matches!(event, Event::Cleaned | Event::CleaningSkipped);
            (state, target) = match to.target {
                Target::Keep => (to.state, target),
                Target::Clear => (to.state, None),
                Target::Set(goal) => (to.state, Some(goal)),
            };
            visited.insert(state.text());
            assert!(!(dirty && state == ProvisionState::Available), "a tenant's machine");
            let moving = state.is_busy() || state.is_waiting() || state.is_held();
            assert!(!moving || target.is_some(), "{state} leads nowhere");
        }
        // Whatever happened: when everything that is going on fails, the node rests, and from there it can be had back.
        while state.is_busy() || state.is_waiting() || state.is_held() {
            state = next(state, Event::Failed).unwrap().state;
        }
        assert!(Verb::ALL.iter().any(|verb| next(state, Event::Asked(*verb)).is_ok()), "{state}");
    }
    println!(
        "{SEQUENCES} sequences, {events} events, {applied} transitions, {} states",
        visited.len()
    );
    assert_eq!(visited.len(), ProvisionState::ALL.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Random events on a random record: the invariants that the reconciler and the API rely on.
    #[test]
    fn records_stay_sound_under_any_sequence_of_events(picks in proptest::collection::vec(0usize..64, 0..60), automated: bool) {
        use crate::node::{Phase, deadline, tests::node_with, transition};
        use crate::settings::{CleanSettings, Settings};

        let events = Event::all();
        let mut node = node_with(serde_json::json!({"image_source": "http://h/i", "image_checksum": "0".repeat(64)}));
        let plugins = crate::plugins::Plugins::default();
        let clean = CleanSettings { automated, ..CleanSettings::default() };
        let asked = transition::Asked { now: jiff::Timestamp::UNIX_EPOCH, clean: &clean, steps: &[], deploy_steps: &[], without_ramdisk: false, plugins: &plugins, rescue: None };
        for pick in picks {
            let before = node.provision_state;
            if transition::apply(&mut node, events[pick % events.len()], &asked).is_err() {
                prop_assert_eq!(node.provision_state, before, "a refusal changes nothing");
                continue;
            }
            let state = node.provision_state;
            let stable = !state.is_busy() && !state.is_waiting() && !state.is_held();
            let due = deadline::due(&node, &Settings::default());
            prop_assert!(stable || due.is_some(), "{state} without a deadline");
            prop_assert!(stable || node.target_provision_state.is_some(), "{state} without a target");
            if state == ProvisionState::Available {
                prop_assert!(node.work.is_none() && node.target_provision_state.is_none());
            }
            let phase = node.work.as_ref().map(|work| work.phase);
            if stable && phase.is_some() {
                prop_assert_eq!(phase, Some(Phase::Abandon), "work left over in {}", state);
            }
        }
    }
}
