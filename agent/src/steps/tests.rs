use ironwright_api::{Automated, Clean, CleanStep, DeployStep, Failure};
use serde_json::json;

use super::*;
use crate::plugin::supply::tests::fake;

/// Clean steps of the agent's own.
const OWN: usize = 5;

fn manual(steps: &[(&str, &str, Value)]) -> Clean {
    let step = |(interface, step, args): &(&str, &str, Value)| CleanStep {
        interface: (*interface).to_owned(),
        step: (*step).to_owned(),
        args: args.clone(),
    };
    Clean { steps: steps.iter().map(step).collect(), ..Clean::default() }
}

fn automated(priorities: &[(&str, u32)]) -> Clean {
    let priorities = priorities.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    Clean { automated: Some(Automated { priorities, ..Automated::default() }), ..Clean::default() }
}

fn planned(clean: &Clean) -> Result<Vec<Job>, Failure> {
    plan(Phase::Clean, choice(clean), &catalogue(Phase::Clean, &[])?)
}

fn choice(clean: &Clean) -> Choice<'_> {
    match &clean.automated {
        Some(automated) => Choice::Priorities(automated),
        None => Choice::Named(&clean.steps),
    }
}

fn names(clean: &Clean) -> Vec<String> {
    planned(clean).unwrap().iter().map(|step| step.name().to_owned()).collect()
}

#[test]
fn automated_cleaning_runs_the_highest_priority_first_and_zero_switches_off() {
    assert_eq!(names(&automated(&[])), ["erase_devices_metadata", "erase_devices"]);
    assert_eq!(names(&automated(&[("deploy.erase_devices", 0)])), ["erase_devices_metadata"]);
    let turned = automated(&[("deploy.erase_devices", 100)]);
    assert_eq!(names(&turned), ["erase_devices", "erase_devices_metadata"]);
    let none = [("deploy.erase_devices", 0), ("deploy.erase_devices_metadata", 0)];
    assert!(names(&automated(&none)).is_empty());
    let failure = planned(&automated(&[("raid.create", 5)])).unwrap_err();
    assert!(failure.message.contains("no clean step raid.create"), "{failure:?}");
}

#[test]
fn manual_steps_run_as_named_and_everything_wrong_is_named_at_once() {
    let both =
        [("deploy", "erase_devices", json!(null)), ("deploy", "erase_devices_metadata", json!({}))];
    assert_eq!(names(&manual(&both)), ["erase_devices", "erase_devices_metadata"]);
    assert!(planned(&manual(&[])).unwrap_err().message.contains("has no steps"));
    let wrong = [
        ("raid", "create", json!({})),
        ("deploy", "burnin", json!({})),
        ("deploy", "erase_devices", json!({"passes": 3})),
    ];
    let failure = planned(&manual(&wrong)).unwrap_err();
    for part in ["nothing was changed", "raid.create", "deploy.burnin", "no argument passes"] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
    assert!(failure.remedy.contains("deploy.erase_devices_metadata"));
}

#[test]
fn of_fakes_with_the_same_step_the_highest_version_is_used_and_the_other_named() {
    let fakes =
        [fake("a", "1.9", &["raid.build"]), fake("b", "1.10", &["raid.build", "raid.show"])];
    let catalogue = catalogue(Phase::Clean, &fakes).unwrap();
    let keys: Vec<String> = catalogue.iter().map(Job::key).collect();
    assert_eq!(keys[OWN..], ["raid.build", "raid.show"]);
    let Job::Plugin(step) = &catalogue[OWN] else { panic!("{catalogue:?}") };
    assert_eq!(step.plugin.to_string(), "b 1.10 (b-1.10)");
    let words = "a 1.9 (a-1.9) has this step too and is passed over: b 1.10 (b-1.10) is higher";
    assert_eq!(step.passed_over, [words]);
    let chosen = plan(Phase::Clean, choice(&automated(&[("raid.show", 0)])), &catalogue).unwrap();
    let keys: Vec<String> = chosen.iter().map(Job::key).collect();
    assert_eq!(keys, ["deploy.erase_devices_metadata", "deploy.erase_devices", "raid.build"]);
}

#[test]
fn a_fake_that_would_stand_in_another_steps_place_is_refused_by_name() {
    let shadow = [fake("a", "1", &["deploy.erase_devices", "raid.erase_devices_metadata"])];
    let failure = catalogue(Phase::Clean, &shadow).unwrap_err();
    for key in ["deploy.erase_devices", "raid.erase_devices_metadata"] {
        let words = format!("plugin a 1 (a-1): its step {key} has the name of a built-in one");
        assert!(failure.message.contains(&words), "{failure:?}");
    }
    let two = [fake("a", "1", &["raid.build"]), fake("b", "2", &["bios.build"])];
    let failure = catalogue(Phase::Clean, &two).unwrap_err();
    assert!(failure.message.contains("has the step raid.build, plugin b 2 (b-2) has bios.build"));
}

#[test]
fn a_manual_cleaning_of_built_in_steps_needs_no_plugin_and_an_automated_one_may() {
    let only = |clean: &Clean| only_built_in(Phase::Clean, choice(clean));
    assert!(only(&manual(&[("deploy", "erase_devices", json!(null))])));
    assert!(!only(&manual(&[("raid", "erase_devices", json!(null))])));
    assert!(!only(&automated(&[])));
}

#[test]
fn each_phase_has_ironics_steps_with_ironics_priorities_and_no_others() {
    for (phase, expected) in [
        (
            Phase::Clean,
            "erase_devices_metadata 99, erase_devices 10, erase_devices_express 0, erase_pstore 0, clean_uefi_nvram 0",
        ),
        (Phase::Deploy, "erase_devices_metadata 0, clean_uefi_nvram 0, write_image 0"),
        (Phase::Service, "write_image 0"),
    ] {
        let steps = built_in(phase);
        assert!(steps.iter().all(|step| step.info().interface == "deploy"));
        let steps: Vec<String> =
            steps.iter().map(|step| format!("{} {}", step.name(), step.priority())).collect();
        assert_eq!(steps.join(", "), expected);
    }
}

#[test]
fn extra_deploy_steps_stand_around_the_image_and_what_cannot_be_is_named() {
    let plugins = [fake("a", "1", &["raid.build", "bios.tune"])];
    let catalogue = catalogue(Phase::Deploy, &plugins).unwrap();
    let step = |interface: &str, step: &str, priority| {
        let (interface, step) = (interface.to_owned(), step.to_owned());
        DeployStep { interface, step, args: json!(null), priority }
    };
    let good = [step("bios", "tune", 70), step("raid", "build", 95)];
    let jobs = plan(Phase::Deploy, Choice::Among(&good), &catalogue).unwrap();
    let placed: Vec<(&str, bool)> =
        jobs.iter().map(|job| (job.name(), before_image(job))).collect();
    assert_eq!(placed, [("build", true), ("tune", false)]);
    let wrong = [
        step("deploy", "write_image", 90),
        step("raid", "build", 0),
        step("raid", "build", 80),
        step("bios", "tune", 1),
        step("bios", "tune", 2),
        step("deploy", "erase_devices", 90),
    ];
    let failure = plan(Phase::Deploy, Choice::Among(&wrong), &catalogue).unwrap_err();
    for part in [
        "write_image is what every deploy does once",
        "raid.build has priority 0",
        "raid.build has priority 80, at which",
        "bios.tune is there twice: order it once more",
        "no deploy step deploy.erase_devices",
    ] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
}

#[test]
fn a_step_named_twice_is_refused_because_a_restart_could_not_tell_which_of_them_ended() {
    let step = |name: &str| CleanStep {
        interface: "deploy".to_owned(),
        step: name.to_owned(),
        args: json!(null),
    };
    let named =
        [step("erase_devices_metadata"), step("erase_devices"), step("erase_devices_metadata")];
    let catalogue = catalogue(Phase::Clean, &[]).unwrap();
    let failure = plan(Phase::Clean, Choice::Named(&named), &catalogue).unwrap_err();
    assert!(
        failure.message.contains("deploy.erase_devices_metadata is there twice"),
        "{failure:?}"
    );
}
