//! Deploys to an array, whose members are files: what a failure leaves on them.

use std::fs;
use std::os::unix::fs::FileExt as _;

use ironwright_api::Deploy;
use uuid::Uuid;

use super::super::run::run;
use super::super::{Ground, give_up, plan};
use super::*;
use crate::heartbeat::Desk;
use crate::layout::MIB;
use crate::layout::testing::{ESP, LINUX, TestImage};
use crate::order::tests::Lab;
use crate::raid::{Array, Member, Remains};
use crate::report::LogTail;

const ESP_OF_IMAGE: std::ops::Range<usize> = 2 << 20..3 << 20;
/// What the last system left in the members' EFI system partition.
const OLD: u8 = 0x77;

/// A lab whose disk is an array, with the mirror of its members' EFI system partitions beside it.
struct OnArray {
    lab: Lab,
    desk: OrderDesk,
}

impl OnArray {
    async fn start() -> Self {
        let sectors = |mib: u64| mib * 2048;
        let parts =
            [(ESP, sectors(2), sectors(3) - 1, "esp"), (LINUX, sectors(3), sectors(5) - 1, "root")];
        let lab = Lab::with_image(TestImage::gpt(512, 8 * MIB, &parts).bytes).await;
        for name in ["esp", "broken"] {
            fs::write(lab.beside(name), vec![OLD; 4 << 20]).unwrap();
        }
        let desk = Arc::new(Desk::new(lab.journal.clone(), LogTail::default()));
        desk.acknowledge_all();
        let desk = desk.for_order(Uuid::nil(), 1);
        Self { lab, desk }
    }

    /// `members` are the files that play the members' EFI system partitions; "esp" is the mirror itself.
    fn performer(&self, order: &Deploy, members: &[&str]) -> Performer {
        let member =
            |name: &&str| Member { node: self.lab.beside(name), disk: self.lab.beside(name) };
        let array =
            |device: PathBuf, members: Vec<Member>| Array { uuid: String::new(), device, members };
        let esp = array(self.lab.beside("esp"), members.iter().map(member).collect());
        let arrays = Arrays { root: array(self.lab.disk(), Vec::new()), esp: Some(esp) };
        let disks = (root(&self.lab), Vec::new());
        let performer =
            Performer::open(&self.lab.machine, (order, &[]), disks, None, self.desk.clone());
        let mut performer = performer.unwrap();
        performer.on_array(Some(arrays), true);
        performer
    }

    async fn deploy(&self, order: &Deploy, members: &[&str]) -> Result<(), Failure> {
        let (disk, drive_bytes) = (Ok(root(&self.lab)), Ok(None));
        let ground = Ground { disk, drive_bytes, uefi: true, on_array: true, members: Ok(()) };
        let plan = plan(order, ground, &[]).unwrap();
        let ended = run(&plan.actions, &self.desk, &mut self.performer(order, members)).await;
        ended.map_err(|failure| self.given_up(failure, members))
    }

    /// What the next agent, that knows nothing of this one, makes of a failure.
    fn given_up(&self, failure: Failure, members: &[&str]) -> Failure {
        let member =
            |name: &&str| Member { node: self.lab.beside(name), disk: self.lab.beside(name) };
        let esp = members.iter().map(member).collect();
        let starts = vec![(self.lab.disk(), 0)];
        let remains = Remains { esp, starts, ..Remains::default() };
        give_up::with_words(failure, &give_up::clear(&remains, give_up::Record::Image))
    }

    /// Whether firmware would find nothing to start: neither on the array nor on its members.
    fn starts_nothing(&self) -> bool {
        let esp = fs::read(self.lab.beside("esp")).unwrap();
        let head = self.lab.read(0, 1 << 20);
        esp[..1 << 20].iter().chain(&head).all(|byte| *byte == 0)
    }
}

fn root(lab: &Lab) -> RootDisk {
    let (path, serial) = (lab.disk(), String::new());
    let bytes = fs::metadata(&path).unwrap().len();
    RootDisk { path, serial, bytes, sector_bytes: 512, warning: None }
}

#[tokio::test]
async fn the_members_have_the_loader_before_the_array_has_its_table() {
    let array = OnArray::start().await;
    array.deploy(&array.lab.deploy(), &["esp", "esp"]).await.unwrap();
    let proofs = array.lab.evidence();
    let [Evidence::Written(_), Evidence::Mirrored(mirrored), Evidence::Committed(_), ..] =
        &proofs[..]
    else {
        panic!("{proofs:?}");
    };
    assert_eq!((mirrored.bytes, mirrored.devices.len()), (MIB, 2));
    let esp = fs::read(array.lab.beside("esp")).unwrap();
    assert_eq!(esp[..1 << 20], array.lab.image[ESP_OF_IMAGE]);
    assert_eq!(array.lab.read(510, 2), [0x55, 0xaa]);
    assert_eq!(array.lab.read(2 * MIB, 4096), [0; 4096], "two file systems of one name");
}

#[tokio::test]
async fn a_member_that_keeps_no_loader_fails_the_deploy_and_nothing_starts() {
    let array = OnArray::start().await;
    // It lies outside of the mirror: the loader never reaches it.
    fs::write(array.lab.beside("broken"), vec![0; 4 << 20]).unwrap();
    let failure = array.deploy(&array.lab.deploy(), &["esp", "broken"]).await.unwrap_err();
    assert_eq!((failure.step.as_str(), failure.blame), ("mirror_boot", Blame::Hardware));
    assert!(failure.message.contains("broken reads back other bytes"), "{}", failure.message);
    assert!(failure.message.contains(UNBOOTABLE), "{}", failure.message);
    let cleared = format!("taken away from {}", array.lab.beside("esp").display());
    assert!(failure.message.ends_with(&cleared), "{}", failure.message);
    assert!(array.starts_nothing());
}

#[tokio::test]
async fn a_deploy_that_ends_before_its_commit_takes_the_loader_away_from_the_members_again() {
    for cancelled in [true, false] {
        let array = OnArray::start().await;
        let mut performer = array.performer(&array.lab.deploy(), &["esp"]);
        run(&[Action::WriteImage, Action::MirrorBoot], &array.desk, &mut performer).await.unwrap();
        let loader = fs::read(array.lab.beside("esp")).unwrap();
        assert_eq!(loader[..1 << 20], array.lab.image[ESP_OF_IMAGE]);
        let words = match cancelled {
            true => {
                array.desk.cancel();
                "cancelled by the coordinator before commit"
            }
            false => {
                let mut other = performer.layout.as_deref().unwrap().clone();
                other.disk_tail_offset = u64::MAX / 2;
                performer.layout = Some(Arc::new(other));
                "planned for another disk"
            }
        };
        let failure = run(&[Action::Commit], &array.desk, &mut performer).await.unwrap_err();
        drop(performer);
        let failure = array.given_up(failure, &["esp"]);
        assert!(failure.message.contains(words), "{}", failure.message);
        assert!(array.starts_nothing(), "{words}");
    }
}

#[tokio::test]
async fn a_deploy_that_was_cut_before_its_commit_and_then_cannot_begin_leaves_nothing_that_starts()
{
    let array = OnArray::start().await;
    let order = array.lab.deploy();
    let mut performer = array.performer(&order, &["esp"]);
    run(&[Action::WriteImage, Action::MirrorBoot], &array.desk, &mut performer).await.unwrap();
    // The power goes, and with it all that the agent knew.
    drop(performer);
    let mut gone = order;
    gone.image.urls = vec![array.lab.url.replace("/image", "/nothing")];
    let failure = array.deploy(&gone, &["esp"]).await.unwrap_err();
    assert!(failure.message.contains("404"), "{}", failure.message);
    assert!(failure.message.contains("taken away from"), "{}", failure.message);
    assert!(array.starts_nothing());
}

#[tokio::test]
async fn the_old_loader_goes_with_the_old_system_and_not_before() {
    let array = OnArray::start().await;
    let mut order = array.lab.deploy();
    let old = |array: &OnArray| fs::read(array.lab.beside("esp")).unwrap()[0] == OLD;
    let disk = fs::OpenOptions::new().write(true).open(array.lab.disk()).unwrap();
    disk.write_all_at(&[OLD; 512], 0).unwrap();

    order.image.urls = vec![array.lab.url.replace("/image", "/nothing")];
    let refused = array.deploy(&order, &["esp"]).await.unwrap_err();
    assert!(refused.message.contains("404"), "{}", refused.message);
    assert!(old(&array) && array.lab.read(0, 1) == [OLD], "nothing was changed");

    order = array.lab.deploy();
    order.image.checksum.value = "0".repeat(64);
    let forged = array.deploy(&order, &["esp"]).await.unwrap_err();
    assert_eq!(forged.step, "write_image");
    assert!(array.starts_nothing(), "{}", forged.message);
}

#[tokio::test]
async fn a_member_that_keeps_its_old_loader_fails_the_deploy_and_the_others_are_cleared() {
    let array = OnArray::start().await;
    // Nobody can write to it.
    let broken = fs::File::open(array.lab.beside("broken")).unwrap();
    broken.try_lock().unwrap();
    let failure = array.deploy(&array.lab.deploy(), &["broken", "esp"]).await.unwrap_err();
    assert_eq!((failure.step.as_str(), failure.blame), ("write_image", Blame::Hardware));
    let words = format!("may still be on {} (open", array.lab.beside("broken").display());
    assert_eq!(failure.message.matches(&words).count(), 1, "{}", failure.message);
    assert_eq!(failure.remedy, StillStarts::REMEDY);
    assert_eq!(array.lab.read(510, 2), [0, 0]);
    assert!(array.starts_nothing());
}

#[tokio::test]
async fn a_partition_image_finds_no_old_loader_left_beside_the_cleared_table() {
    let array = OnArray::start().await;
    let mut order = array.lab.deploy();
    // Too small for the image, which is seen after the table is gone and before the image's own partition is cleared.
    order.image.partition = Some(PartitionImage { root_mib: 4, swap_mib: 0 });
    let mut performer = array.performer(&order, &["esp"]);
    let failure = run(&[Action::WriteImage], &array.desk, &mut performer).await.unwrap_err();
    assert!(failure.message.contains("image needs"), "{}", failure.message);
    assert!(array.starts_nothing(), "{}", failure.message);
}
