//! The end of a deploy that failed: what it had given the members of an array to start from is taken away again.
//!
//! It is decided by what is on the disks and in the order's record, never by what this process remembers: the deploy may have been
//! cut by a restart, and may now have failed before it came to look at an array.

use ironwright_api::{Failure, StepRecord};

use super::{Action, members};
use crate::image::{StillStarts, clear_starters};
use crate::order::{Machine, blocking};
use crate::raid::{self, Remains};
use crate::report::chain;

/// Sees to it that nothing of an unfinished deploy starts, and says in the failure what was found. `done` are the steps of all
/// attempts and agent processes.
pub async fn give_up(machine: &Machine, done: &[StepRecord], failure: Failure) -> Failure {
    let (system, config, unfinished) =
        (machine.system().clone(), machine.raid().config, unfinished(done));
    let cleared = blocking(move || {
        Ok(raid::remains(&system, &config).map(|remains| clear(&remains, unfinished)))
    });
    match cleared.await {
        Ok(None) => failure,
        Ok(Some(cleared)) => with_words(failure, cleared),
        Err(broken) => Failure {
            message: format!(
                "{}; whether something starts is not known: {}",
                failure.message, broken.message
            ),
            ..failure
        },
    }
}

/// Whether the members have a loader whose deploy was not committed.
fn unfinished(done: &[StepRecord]) -> bool {
    let mirrored = done.iter().rposition(|step| step.step == Action::MirrorBoot.name());
    let committed = done.iter().rposition(|step| step.step == Action::Commit.name() && step.ended);
    mirrored.is_some() && mirrored > committed
}

/// Clears the members where the record says so, or where the array is blank: no system is on it. One that cannot be looked at is left
/// as it is.
pub(super) fn clear(
    remains: &Remains,
    unfinished: bool,
) -> Result<Vec<std::path::PathBuf>, StillStarts> {
    if !unfinished && remains.is_blank() != Some(true) {
        return Ok(Vec::new());
    }
    clear_starters(&members::starters(&remains.root, &remains.esp))
}

pub(super) fn with_words(
    failure: Failure,
    cleared: Result<Vec<std::path::PathBuf>, StillStarts>,
) -> Failure {
    let (words, remedy) = match cleared {
        Ok(devices) if devices.is_empty() => return failure,
        Ok(devices) => {
            let names: Vec<String> =
                devices.iter().map(|device| device.display().to_string()).collect();
            (
                format!(
                    "what an unfinished deploy left there to start from was taken away from {}",
                    names.join(", ")
                ),
                "",
            )
        }
        Err(error) => (chain(&error), StillStarts::REMEDY),
    };
    // Said already where it is what failed.
    if failure.message.contains(&words) {
        return failure;
    }
    let remedy = match (failure.remedy.as_str(), remedy) {
        (first, "") => first.to_owned(),
        ("", second) => second.to_owned(),
        (first, second) => format!("{second}; {first}"),
    };
    Failure { message: format!("{}; {words}", failure.message), remedy, ..failure }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ironwright_api::Blame;

    use super::*;
    use crate::raid::Member;

    fn step(step: &str, ended: bool) -> StepRecord {
        StepRecord { step: step.to_owned(), attempt: 1, ended, evidence: None, reboot: None }
    }

    #[test]
    fn a_loader_without_its_commit_is_unfinished() {
        let (image, commit) = (step("write_image", true), step("commit", true));
        let (mirror, begun) = (step("mirror_boot", true), step("mirror_boot", false));
        for (done, expected) in [
            (vec![], false),
            (vec![image.clone()], false),
            (vec![image.clone(), begun.clone()], true),
            (vec![image.clone(), mirror.clone(), step("commit", false)], true),
            (vec![image.clone(), mirror.clone(), commit.clone()], false),
            (vec![mirror, commit, image, begun], true),
        ] {
            assert_eq!(unfinished(&done), expected, "{done:?}");
        }
    }

    /// The members' EFI system partition and the array's first sector, as files.
    fn remains(folder: &std::path::Path, system: bool) -> Remains {
        let (esp, root) = (folder.join("esp"), folder.join("root"));
        fs::write(&esp, vec![7; 4096]).unwrap();
        // A member, with something of its own before the array's start.
        let mut bytes = vec![0; 256 << 10];
        bytes[4095] = 7;
        // No partition table: a file system directly on the array.
        bytes[4096 + 1080] = u8::from(system);
        fs::write(&root, bytes).unwrap();
        let member = Member { node: esp.clone(), disk: esp };
        Remains { root: Vec::new(), esp: vec![member], starts: vec![(root, 4096)] }
    }

    #[test]
    fn the_disk_decides_and_where_the_record_knows_better_the_record() {
        for (system, unfinished, expected) in
            [(false, false, true), (false, true, true), (true, false, false), (true, true, true)]
        {
            let folder = tempfile::tempdir().unwrap();
            let remains = remains(folder.path(), system);
            let cleared = clear(&remains, unfinished).unwrap();
            assert_eq!(!cleared.is_empty(), expected, "system {system}, unfinished {unfinished}");
            let left = fs::read(folder.path().join("esp")).unwrap();
            assert_eq!(left.iter().all(|byte| *byte == 0), expected);
        }
        let folder = tempfile::tempdir().unwrap();
        let blind = Remains { starts: Vec::new(), ..remains(folder.path(), false) };
        assert!(clear(&blind, false).unwrap().is_empty(), "nobody knows what is on the array");
        assert!(!clear(&blind, true).unwrap().is_empty());
    }

    #[test]
    fn a_member_that_may_still_start_is_in_the_failure_with_what_to_do() {
        let failure = || Failure {
            step: "commit".to_owned(),
            message: "it failed".to_owned(),
            remedy: "try again".to_owned(),
            blame: Blame::Environment,
        };
        let folder = tempfile::tempdir().unwrap();
        let mut remains = remains(folder.path(), false);
        let told = with_words(failure(), clear(&remains, true));
        assert!(
            told.message.starts_with("it failed; what an unfinished deploy"),
            "{}",
            told.message
        );
        assert!(told.message.ends_with("/esp"), "{}", told.message);
        assert_eq!(told.remedy, "try again");
        assert_eq!(with_words(failure(), clear(&remains, true)), failure(), "nothing was found");

        remains.esp[0].node = folder.path().join("gone");
        let told = with_words(failure(), clear(&remains, true));
        assert!(told.message.contains("may still be on"), "{}", told.message);
        assert!(told.message.contains("/gone"), "{}", told.message);
        assert!(told.remedy.contains("before the machine starts"), "{}", told.remedy);
        let again = with_words(told.clone(), clear(&remains, true));
        assert_eq!(again, told, "it is said once");
    }
}
