//! Off every network, until the machine starts anew.
//!
//! The agent orders it; the helper that keeps addresses would undo it, because it takes links up whenever a lease cannot be
//! renewed. So a mark is left first, which the helper looks at before and after it takes a link up, and then the links go down:
//! whichever of the two acts last, the link is down. The mark outlives both processes.

use std::fs;
use std::io;
use std::path::Path;

use super::console::{complain, say};
use super::netlink::Netlink;
use super::{RUN, record};

/// The mark, in [`RUN`].
const MARK: &str = "lockdown";

/// Whether this machine was ordered off every network.
pub(super) fn is_on() -> bool {
    Path::new(RUN).join(MARK).exists()
}

/// Takes every network link but loopback down, for the rest of this boot.
pub(crate) fn lock_down() {
    complain("cannot leave the mark of the lockdown", record::write(Path::new(RUN), MARK, ""));
    let Some(netlink) = complain("cannot take the network down", Netlink::open()) else { return };
    let links = Path::new("/sys/class/net");
    let names = fs::read_dir(links).into_iter().flatten().flatten();
    for name in names.map(|entry| entry.file_name()).filter(|name| name != "lo") {
        let index = nix::net::if_::if_nametoindex(name.as_os_str());
        if let Some(index) = complain("cannot find a link", index) {
            complain("cannot take a link down", netlink.link_down(index));
        }
    }
    let up = links_up(links);
    say(&match up.is_empty() {
        true => "lockdown: every network link is down".to_owned(),
        false => format!("lockdown: {} did not go down", up.join(", ")),
    });
}

/// Takes a link up, where the machine was not ordered off.
///
/// # Errors
/// The kernel's answer, or that there is a lockdown; then the link is down.
pub(super) fn link_up(netlink: &Netlink, index: u32) -> io::Result<()> {
    guarded(is_on, |up| if up { netlink.link_up(index) } else { netlink.link_down(index) })
}

/// Turns a link up unless `is_locked`; down again where that became so meanwhile.
fn guarded(
    is_locked: impl Fn() -> bool,
    mut turn: impl FnMut(bool) -> io::Result<()>,
) -> io::Result<()> {
    let locked = || Err(io::Error::other("lockdown: the link stays down"));
    if is_locked() {
        return locked();
    }
    turn(true)?;
    if is_locked() {
        turn(false)?;
        return locked();
    }
    Ok(())
}

/// The links below `folder` that are up, loopback aside.
fn links_up(folder: &Path) -> Vec<String> {
    /// `IFF_UP` of Linux `linux/if.h`.
    const UP: u32 = 1;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut up: Vec<String> = entries
        .filter(|entry| {
            let flags = fs::read_to_string(entry.path().join("flags")).unwrap_or_default();
            let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
            entry.file_name() != "lo" && flags.is_ok_and(|flags| flags & UP != 0)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    up.sort();
    up
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn a_link_is_down_whenever_the_lockdown_came() {
        // The lockdown comes at the so-manieth look, if at all.
        for (comes_at, expected) in
            [(1, vec![]), (2, vec![true, false]), (3, vec![true]), (u32::MAX, vec![true])]
        {
            let (looks, turns) = (Cell::new(0), RefCell::new(Vec::new()));
            let is_locked = || {
                looks.set(looks.get() + 1);
                looks.get() >= comes_at
            };
            let turn = |up| {
                turns.borrow_mut().push(up);
                Ok(())
            };
            let result = guarded(is_locked, turn);
            assert_eq!((turns.take(), result.is_ok()), (expected, comes_at > 2), "at {comes_at}");
        }
    }

    #[test]
    fn links_that_are_up_are_named_without_loopback() {
        let folder = tempfile::tempdir().unwrap();
        for (name, flags) in [("lo", "0x9"), ("eth1", "0x1003"), ("eth0", "0x1002"), ("x", "no")] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("flags"), format!("{flags}\n")).unwrap();
        }
        assert_eq!(links_up(folder.path()), ["eth1"]);
    }
}
