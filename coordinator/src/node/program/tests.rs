use ironwright_api::{Checksum, ChecksumAlgorithm, EraseSettings, Image, ReadbackMode, Service};
use serde_json::Value;
use uuid::Uuid;

use super::*;

fn step(name: &str) -> CleanStep {
    let (step, args) = match name.strip_prefix("wait ") {
        Some(seconds) => ("wait", json!({"seconds": seconds.parse::<u64>().unwrap()})),
        None => (name, Value::Null),
    };
    CleanStep { interface: "deploy".into(), step: step.into(), args }
}

fn service(steps: Vec<CleanStep>) -> Work {
    Work::Service(Service { steps, ..Service::default() })
}

/// The parts in words: `[a b]` is an order of two steps.
fn words(parts: &[Part]) -> String {
    let names = |steps: &mut dyn Iterator<Item = &String>| {
        format!("[{}]", steps.map(String::as_str).collect::<Vec<_>>().join(" "))
    };
    let word = |part: &Part| match part {
        Part::Own(own) => format!("{own:?}"),
        Part::Agent(work) => match &**work {
            Work::Service(service) => names(&mut service.steps.iter().map(|step| &step.step)),
            Work::Deploy(deploy) => {
                format!("image{}", names(&mut deploy.steps.iter().map(|step| &step.step)))
            }
            other @ (Work::Inspect | Work::Clean(_) | Work::Rescue(_) | Work::Unknown) => {
                panic!("{other:?}")
            }
        },
    };
    parts.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn our_own_steps_cut_the_agent_s_work_and_never_start_the_disk_of_a_machine_in_its_ramdisk() {
    for (steps, ramdisk, bare) in [
        ("a|b", "[a b]", "[a b]"),
        ("a|hold|b", "[a] Hold [b]", "[a] Hold [b]"),
        ("hold|a", "Hold [a]", "Hold [a]"),
        ("a|hold", "[a] Hold", "[a] Hold"),
        ("wait 5|a", "Wait(5) [a]", "Wait(5) [a]"),
        ("a|reboot|b", "[a] PowerOff [b]", "[a] Reboot [b]"),
        ("a|reboot|hold", "[a] PowerOff [] Hold", "[a] Reboot Hold"),
        ("power_off|hold|power_on", "PowerOff Hold []", "PowerOff Hold PowerOn"),
        ("power_on|a", "[a]", "PowerOn [a]"),
        ("reboot", "PowerOff []", "Reboot"),
    ] {
        let steps: Vec<CleanStep> = steps.split('|').map(step).collect();
        assert_eq!(words(&of_steps(&steps, false, service)), ramdisk);
        assert_eq!(words(&of_steps(&steps, true, service)), bare);
    }
}

#[test]
fn wrong_arguments_and_steps_that_need_a_ramdisk_are_named() {
    let wait = |seconds: Value| CleanStep { args: json!({"seconds": seconds}), ..step("wait") };
    for (step, without_ramdisk, problem) in [
        (step("erase_devices"), true, Some("leave disable_ramdisk out")),
        (step("erase_devices"), false, None),
        (step("hold"), true, None),
        (wait(json!(3)), true, None),
        (wait(json!("long")), false, Some("\"long\"")),
        (wait(json!(86401)), false, Some("86401")),
        (CleanStep { args: json!({"x": 1}), ..step("hold") }, false, Some("no argument x")),
    ] {
        let found = problems(std::slice::from_ref(&step), without_ramdisk).join(" ");
        assert!(found.contains(problem.unwrap_or_default()), "{step:?}: {found}");
        assert_eq!(found.is_empty(), problem.is_none(), "{step:?}: {found}");
    }
}

fn deploy() -> Deploy {
    let checksum = Checksum { algorithm: ChecksumAlgorithm::Sha256, value: String::new() };
    Deploy {
        image: Image {
            urls: Vec::new(),
            checksum,
            disk_format: None,
            access: None,
            partition: None,
        },
        root_device: Value::Null,
        configdrive: Value::Null,
        readback: ReadbackMode::Full,
        node_name: String::new(),
        node_uuid: Uuid::nil(),
        steps: Vec::new(),
        erase: EraseSettings::default(),
        plugins: Vec::new(),
    }
}

fn prioritised(name: &str, priority: u32) -> DeployStep {
    let CleanStep { interface, step, args } = step(name);
    DeployStep { interface, step, args, priority }
}

#[test]
fn a_deploy_has_its_image_once_where_its_priority_is() {
    for (steps, expected) in [
        (&[][..], "image[]"),
        (&[("late", 10), ("early", 90)], "image[early late]"),
        (&[("early", 95), ("hold", 90), ("late", 10)], "[early] Hold image[late]"),
        (&[("early", 95), ("hold", 50), ("late", 10)], "image[early] Hold [late]"),
        (&[("reboot", 99)], "PowerOff image[]"),
        (&[("hold", 99), ("a", 98), ("hold", 97), ("hold", 5)], "Hold [a] Hold image[] Hold"),
    ] {
        let steps = steps.iter().map(|(name, priority)| prioritised(name, *priority)).collect();
        assert_eq!(words(&of_deploy(steps, &deploy(), service)), expected);
    }
}

#[test]
fn what_the_request_says_comes_in_the_place_of_a_template_s_step() {
    let templates = vec![prioritised("a", 90), prioritised("b", 20), prioritised("c", 5)];
    let asked =
        [prioritised("b", 30), prioritised("c", 0), prioritised("hold", 1), prioritised("hold", 2)];
    let found = merged(templates, &asked).unwrap();
    let found: Vec<_> = found.iter().map(|step| (step.step.as_str(), step.priority)).collect();
    assert_eq!(found, [("a", 90), ("b", 30), ("hold", 1), ("hold", 2)]);
    let twice = DeployStep { interface: "raid".into(), ..prioritised("a", 7) };
    for (steps, problem) in [
        (vec![prioritised("write_image", 70)], "deploy.write_image is a part of every deploy"),
        (vec![prioritised("a", 80)], "priority 80"),
        (vec![prioritised("a", 5), twice], "raid.a: there is a step a already"),
    ] {
        let refused = merged(steps, &[]).unwrap_err();
        assert!(refused.len() == 1 && refused[0].contains(problem), "{refused:?}");
    }
}
