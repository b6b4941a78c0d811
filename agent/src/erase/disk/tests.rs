//! Tasks on files: what is done, said and certified.

use ironwright_api::{Category, DiskIdentity};

use super::*;

pub(in crate::erase) struct Never;

impl Follow for Never {
    fn go_on(&self, _phase: &'static str, _bytes: u64) -> bool {
        true
    }
}

fn task(system: &System, path: &Path, kind: Erase, least: Category) -> Task {
    let identity = DiskIdentity {
        path: path.display().to_string(),
        bytes: 3 << 20,
        sector_bytes: 512,
        ..DiskIdentity::default()
    };
    let disk = DiskFact {
        path: path.to_owned(),
        serial: String::new(),
        read_only: false,
        partitions: Vec::new(),
        identity,
    };
    let settings = EraseSettings { least, ..EraseSettings::default() };
    Task::survey(system, disk, kind, Uuid::nil(), &settings)
}

fn file() -> (tempfile::TempDir, std::path::PathBuf, System) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, vec![0xa5; 3 << 20]).unwrap();
    let path = path.canonicalize().unwrap();
    let system = System::sandbox(folder.path(), std::slice::from_ref(&path)).unwrap();
    (folder, path, system)
}

#[test]
fn a_file_full_of_data_is_zero_afterwards_and_its_certificate_says_how_it_was_proven() {
    let (_folder, path, system) = file();
    let notary = Notary::by_hand().unwrap();
    let erased = task(&system, &path, Erase::Devices, Category::Clear)
        .perform(&system, Some(&notary), &Never)
        .unwrap();
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    let certificate = erased.certificate.unwrap().certificate;
    assert_eq!(
        (certificate.method, certificate.category),
        (EraseMethod::Overwrite, Category::Clear)
    );
    assert_eq!(
        (certificate.verification.mode.as_str(), certificate.verification.bytes_read),
        ("full", 3 << 20)
    );
    assert_eq!(certificate.passed_over.len(), 1, "{:?}", certificate.passed_over);
    assert!(certificate.started <= certificate.ended && certificate.result == EraseResult::Erased);
}

#[test]
fn a_failed_erase_has_a_certificate_that_says_so() {
    let (_folder, path, system) = file();
    let notary = Notary::by_hand().unwrap();
    let mut task = task(&system, &path, Erase::Devices, Category::Clear);
    task.disk.read_only = true;
    let failed = task.perform(&system, Some(&notary), &Never).unwrap_err();
    let certificate = failed.certificate.unwrap().certificate;
    assert_eq!(certificate.verification.mode, "none");
    let EraseResult::Failed { reason } = certificate.result else { panic!("erased") };
    assert!(reason == failed.why && reason.contains("read-only"), "{reason}");
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_setting_that_asks_for_more_than_an_overwrite_is_refused_by_name() {
    let (_folder, path, system) = file();
    let asked = |least| task(&system, &path, Erase::Devices, least);
    assert_eq!(asked(Category::Clear).forbidden(), None);
    let purge = asked(Category::Purge);
    assert!(purge.forbidden().unwrap().contains("the settings ask for purge"));
    assert!(purge.sentence().ends_with("nothing that the settings allow"));
    let clear = asked(Category::Clear);
    assert!(
        clear.sentence().ends_with("overwrite with zeros (clear), verified in full"),
        "{}",
        clear.sentence()
    );
    assert!(clear.ladder_lines()[0].starts_with("passed over: discard: nothing promises"));
}
