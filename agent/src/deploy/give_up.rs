//! The end of a deploy that failed: what it had given the members of an array to start from is taken away again.
//!
//! It is decided by what is on the disks and in the order's record, never by what this process remembers: the deploy may have been
//! cut by a restart, and may now have failed before it came to look at an array. What cannot be seen to start nothing is named.

use std::path::PathBuf;

use ironwright_api::{Failure, StepRecord};

use super::{Action, members};
use crate::image::{StillStarts, left_alone, sweep_starters};
use crate::order::{Machine, blocking};
use crate::raid::{self, Remains};
use crate::report::chain;

/// How far the deploys of an order came, by its record, since the last one that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// Nothing was written.
    Nothing,
    /// An image was begun.
    Image,
    /// The members have a loader.
    Loader,
}

/// What was found of an unfinished deploy, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whether this order wrote anything.
    wrote: bool,
    /// Whether anything may have been written to the devices now.
    tried: bool,
    /// Devices that had something to start, and have not now.
    cleared: Vec<PathBuf>,
    /// Devices that may still start something.
    still: StillStarts,
}

/// What to do where an order wrote nothing: what is on the disks may be worth keeping.
const LOOK_FIRST: &str =
    "this order wrote nothing: look at the array before anything of it is erased";

/// Sees to it that nothing of an unfinished deploy starts, and says in the failure what was found. `done` are the steps of all
/// attempts and agent processes.
pub async fn give_up(machine: &Machine, done: &[StepRecord], failure: Failure) -> Failure {
    let (system, config, record) = (machine.system().clone(), machine.raid().config, record(done));
    let facts = machine.facts();
    let found = blocking(move || {
        let serial = |disk: &std::path::Path| {
            facts.disks.iter().find(|fact| fact.path == disk).map(|fact| fact.serial.clone())
        };
        Ok(raid::remains(&system, &config, serial).map(|remains| clear(&remains, record)))
    });
    match found.await {
        Ok(None) => failure,
        Ok(Some(found)) => with_words(failure, &found),
        Err(broken) => Failure {
            message: format!(
                "{}; whether something starts is not known: {}",
                failure.message, broken.message
            ),
            ..failure
        },
    }
}

fn record(done: &[StepRecord]) -> Record {
    let last = |action: Action| done.iter().rposition(|step| step.step == action.name());
    let committed = done.iter().rposition(|step| step.step == Action::Commit.name() && step.ended);
    let is_open = |action| last(action).is_some() && last(action) > committed;
    match (is_open(Action::MirrorBoot), is_open(Action::WriteImage)) {
        (true, _) => Record::Loader,
        (false, true) => Record::Image,
        (false, false) => Record::Nothing,
    }
}

/// Clears the members where the record has a loader, and where it has an image and the array is blank: no system is on it. A blank
/// array alone is not enough, nor is one that cannot be looked at: what would start from its members is left as it is, and named.
pub(super) fn clear(remains: &Remains, record: Record) -> Found {
    let starters = || members::starters(&remains.root, &remains.esp);
    let mut found = match (record, remains.is_blank()) {
        (Record::Loader, _) | (Record::Image, Some(true)) => {
            let (cleared, still) = sweep_starters(&starters());
            Found { wrote: true, tried: !(cleared.is_empty() && still.is_empty()), cleared, still }
        }
        (Record::Image | Record::Nothing, Some(false)) => return Found::default(),
        (Record::Nothing, Some(true)) => {
            let why = "its array is blank, and this order has written nothing to it";
            Found { still: left_alone(&starters(), why), ..Found::default() }
        }
        (Record::Image | Record::Nothing, None) => {
            let why = "whether its array has a system cannot be read from the members";
            let (wrote, still) = (record == Record::Image, left_alone(&starters(), why));
            Found { wrote, still, ..Found::default() }
        }
    };
    // A disk that is away comes back with what the deploy gave it.
    if record != Record::Nothing {
        found.still.extend(remains.missing.iter().cloned());
    }
    found
}

pub(super) fn with_words(failure: Failure, found: &Found) -> Failure {
    let said = |words: &String| failure.message.contains(words.as_str());
    let names: Vec<String> =
        found.cleared.iter().map(|device| device.display().to_string()).collect();
    let cleared = format!(
        "what an unfinished deploy left there to start from was taken away from {}",
        names.join(", ")
    );
    let (cleared, still) = (Some(cleared).filter(|_| !names.is_empty()), chain(&found.still));
    let still = Some(still).filter(|_| !found.still.is_empty());
    // Said already where it is what failed.
    let cleared = cleared.filter(|words| !said(words));
    let still = still.filter(|words| !said(words));
    let remedy = match (failure.remedy.as_str(), &still) {
        (first, None) => first.to_owned(),
        (first, Some(_)) if !found.wrote => [first, LOOK_FIRST]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        ("", Some(_)) => StillStarts::REMEDY.to_owned(),
        (first, Some(_)) => format!("{}; {first}", StillStarts::REMEDY),
    };
    let words: Vec<String> = cleared.into_iter().chain(still).collect();
    if words.is_empty() {
        return failure;
    }
    // That was true of what failed, and is true no more.
    let why = match found.tried {
        true => failure.message.strip_prefix("nothing was changed: ").unwrap_or(&failure.message),
        false => failure.message.as_str(),
    };
    Failure { message: format!("{why}; {}", words.join("; ")), remedy, ..failure }
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
    fn a_loader_or_an_image_without_its_commit_is_unfinished() {
        let (image, commit) = (step("write_image", true), step("commit", true));
        let (mirror, begun) = (step("mirror_boot", true), step("mirror_boot", false));
        for (done, expected) in [
            (vec![], Record::Nothing),
            (vec![step("raid.show_configuration", true)], Record::Nothing),
            (vec![step("write_image", false)], Record::Image),
            (vec![image.clone()], Record::Image),
            (vec![image.clone(), begun.clone()], Record::Loader),
            (vec![image.clone(), mirror.clone(), step("commit", false)], Record::Loader),
            (vec![image.clone(), mirror.clone(), commit.clone()], Record::Nothing),
            (vec![mirror.clone(), commit.clone(), image.clone()], Record::Image),
            (vec![mirror, commit, image, begun], Record::Loader),
        ] {
            assert_eq!(record(&done), expected, "{done:?}");
        }
    }

    /// The members' EFI system partition and the array's start, as files; `system` is what begins in the array, and where.
    fn remains(folder: &std::path::Path, system: Option<(usize, &[u8])>) -> Remains {
        let (esp, root) = (folder.join("esp"), folder.join("root"));
        fs::write(&esp, vec![7; 4096]).unwrap();
        // A member, with something of its own before the array's start.
        let mut bytes = vec![0; 1 << 20];
        bytes[4095] = 7;
        if let Some((at, magic)) = system {
            bytes[4096 + at..4096 + at + magic.len()].copy_from_slice(magic);
        }
        fs::write(&root, bytes).unwrap();
        let member = Member { node: esp.clone(), disk: esp };
        Remains { esp: vec![member], starts: vec![(root, 4096)], ..Remains::default() }
    }

    /// No partition table: file systems directly on the array.
    const EXT4: (usize, &[u8]) = (1080, &[0x53, 0xef]);
    const BTRFS: (usize, &[u8]) = (0x10040, b"_BHRfS_M");

    #[test]
    fn the_disk_decides_and_where_the_record_knows_better_the_record() {
        for (system, record, expected) in [
            (None, Record::Image, true),
            (None, Record::Loader, true),
            (Some(EXT4), Record::Image, false),
            (Some(BTRFS), Record::Image, false),
            (Some(EXT4), Record::Loader, true),
            (None, Record::Nothing, false),
            (Some(BTRFS), Record::Nothing, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let found = clear(&remains(folder.path(), system), record);
            assert_eq!(!found.cleared.is_empty(), expected, "system {system:?}, {record:?}");
            let left = fs::read(folder.path().join("esp")).unwrap();
            assert_eq!(left.iter().all(|byte| *byte == 0), expected);
            // Blank, and nobody knows whose: that is said.
            let doubtful = system.is_none() && record == Record::Nothing;
            assert_eq!(!found.still.is_empty(), doubtful, "system {system:?}, {record:?}");
        }
    }

    #[test]
    fn an_array_that_cannot_be_looked_at_keeps_its_loaders_and_that_is_said() {
        for record in [Record::Image, Record::Nothing] {
            let folder = tempfile::tempdir().unwrap();
            let blind = Remains { starts: Vec::new(), ..remains(folder.path(), None) };
            let found = clear(&blind, record);
            assert!(found.cleared.is_empty(), "nobody knows what is on the array");
            let told = with_words(refused(), &found);
            assert!(told.message.starts_with("nothing was changed: no; "), "{}", told.message);
            assert!(told.message.contains("/esp (left alone: whether its"), "{}", told.message);
            let erase = told.remedy.contains("before the machine starts");
            assert_eq!(erase, record == Record::Image, "{}", told.remedy);
            assert_eq!(told.remedy.ends_with(LOOK_FIRST), !erase, "{}", told.remedy);
            assert_eq!(fs::read(folder.path().join("esp")).unwrap(), vec![7; 4096]);
            assert!(!clear(&blind, Record::Loader).cleared.is_empty());
        }
    }

    #[test]
    fn a_member_that_is_away_is_in_the_failure_also_where_none_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let away = ("/dev/sdb2".to_owned(), "not found".to_owned());
        let remains = Remains { missing: vec![away], ..remains(folder.path(), None) };
        let told = with_words(refused(), &clear(&remains, Record::Loader));
        for part in ["no; what an unfinished deploy", "/esp; ", "still be on /dev/sdb2 (not found)"]
        {
            assert!(told.message.contains(part), "{part}: {}", told.message);
        }
        assert!(told.remedy.contains("before the machine starts"), "{}", told.remedy);
        let nothing_there = clear(&Remains { esp: Vec::new(), ..remains.clone() }, Record::Loader);
        let told = with_words(refused(), &nothing_there);
        assert!(told.message.starts_with("nothing was changed: no; "), "{}", told.message);
        let gone = Remains { missing: remains.missing.clone(), ..Remains::default() };
        for (record, expected) in
            [(Record::Loader, true), (Record::Image, true), (Record::Nothing, false)]
        {
            let told = with_words(refused(), &clear(&gone, record));
            assert_eq!(told.message.contains("/dev/sdb2"), expected, "{record:?}");
        }
    }

    fn failure() -> Failure {
        Failure {
            step: "commit".to_owned(),
            message: "it failed".to_owned(),
            remedy: "try again".to_owned(),
            blame: Blame::Environment,
        }
    }

    fn refused() -> Failure {
        Failure { message: "nothing was changed: no".to_owned(), ..failure() }
    }

    #[test]
    fn a_member_that_may_still_start_is_in_the_failure_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let mut remains = remains(folder.path(), None);
        let told = with_words(failure(), &clear(&remains, Record::Loader));
        assert!(
            told.message.starts_with("it failed; what an unfinished deploy"),
            "{}",
            told.message
        );
        assert!(told.message.ends_with("/esp"), "{}", told.message);
        assert_eq!(told.remedy, "try again");
        assert_eq!(
            with_words(failure(), &clear(&remains, Record::Loader)),
            failure(),
            "nothing was found"
        );
        assert_eq!(with_words(refused(), &clear(&remains, Record::Loader)), refused());
        fs::write(folder.path().join("esp"), [7]).unwrap();
        let told = with_words(refused(), &clear(&remains, Record::Loader));
        assert!(told.message.starts_with("no; what an unfinished"), "{}", told.message);

        remains.esp[0].node = folder.path().join("gone");
        let told = with_words(failure(), &clear(&remains, Record::Loader));
        assert!(told.message.contains("may still be on"), "{}", told.message);
        assert!(told.message.contains("/gone"), "{}", told.message);
        assert!(told.remedy.contains("before the machine starts"), "{}", told.remedy);
        let again = with_words(told.clone(), &clear(&remains, Record::Loader));
        assert_eq!(again, told, "it is said once");
    }
}
