//! Nodes as lists showed them last, so that a list writes only those again that changed since: reading and writing a thousand
//! whole documents costs a hundred times what it costs to find out that they are the same.
//!
//! What a node looks like depends on its record and on the [`View`] alone, so an entry is good as long as the stamp is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::http::version::Version;
use crate::store::Stamp;

/// Views remembered; the one used longest ago goes first. Clients in use are few: a CLI, an SDK, a compute service.
const VIEWS_MAX: usize = 4;
/// Text kept for one view, bytes: about 20,000 whole nodes.
const BYTES_MAX: usize = 64 << 20;

/// How a list shows its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) version: Version,
    pub(super) base: String,
    /// The fields; none: all.
    pub(super) fields: Option<Vec<String>>,
}

/// One node, written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) version: i64,
    pub(super) uuid: Uuid,
    pub(super) json: Arc<[u8]>,
}

#[derive(Debug)]
struct Drawer {
    view: View,
    entries: HashMap<i64, Entry>,
    bytes: usize,
}

/// See the module. In memory only, bounded.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The one used last is the last.
    drawers: Mutex<Vec<Drawer>>,
}

impl Shelf {
    /// The entries of a list, none where one is missing or older than the stamp.
    pub(super) fn find(&self, view: &View, stamps: &[Stamp]) -> Vec<Option<Entry>> {
        self.with(view, |drawer| {
            let one = |stamp: &Stamp| {
                drawer.entries.get(&stamp.row).filter(|entry| entry.version >= stamp.version)
            };
            stamps.iter().map(|stamp| one(stamp).cloned()).collect()
        })
    }

    /// Keeps entries, by row.
    pub(super) fn keep(&self, view: &View, entries: impl Iterator<Item = (i64, Entry)>) {
        self.with(view, |drawer| {
            for (row, entry) in entries {
                let known = drawer.entries.get(&row);
                if known.is_some_and(|known| known.version > entry.version) {
                    continue;
                }
                drawer.bytes += entry.json.len();
                if let Some(old) = drawer.entries.insert(row, entry) {
                    drawer.bytes -= old.json.len();
                }
                // Nodes that were deleted go with the others.
                if drawer.bytes > BYTES_MAX {
                    drawer.entries.clear();
                    drawer.bytes = 0;
                }
            }
        });
    }

    fn with<T>(&self, view: &View, act: impl FnOnce(&mut Drawer) -> T) -> T {
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = drawers.iter().position(|drawer| drawer.view == *view);
        let mut drawer = match at {
            Some(at) => drawers.remove(at),
            None => Drawer { view: view.clone(), entries: HashMap::new(), bytes: 0 },
        };
        let result = act(&mut drawer);
        if drawers.len() == VIEWS_MAX {
            drawers.remove(0);
        }
        drawers.push(drawer);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(base: &str) -> View {
        View { version: Version(110), base: base.to_owned(), fields: None }
    }

    fn entry(version: i64, text: &str) -> Entry {
        Entry { version, uuid: Uuid::nil(), json: text.as_bytes().into() }
    }

    fn found(shelf: &Shelf, base: &str, row: i64, version: i64) -> Option<String> {
        let found = shelf.find(&view(base), &[Stamp { row, version }]).remove(0);
        found.map(|entry| String::from_utf8(entry.json.to_vec()).unwrap())
    }

    #[test]
    fn an_entry_is_good_until_its_node_changes_and_for_its_view_alone() {
        let shelf = Shelf::default();
        shelf.keep(&view("a"), [(1, entry(1, "old"))].into_iter());
        assert_eq!(found(&shelf, "a", 1, 1).as_deref(), Some("old"));
        assert_eq!(found(&shelf, "a", 1, 2), None, "it changed");
        assert_eq!(found(&shelf, "a", 2, 1), None, "another enrolment");
        assert_eq!(found(&shelf, "b", 1, 1), None, "another view");
        shelf.keep(&view("a"), [(1, entry(2, "new")), (1, entry(1, "late"))].into_iter());
        assert_eq!(found(&shelf, "a", 1, 2).as_deref(), Some("new"));
    }

    #[test]
    fn views_and_bytes_are_bounded() {
        let shelf = Shelf::default();
        for at in 0..20 {
            shelf.keep(&view(&at.to_string()), [(1, entry(1, "x"))].into_iter());
        }
        assert_eq!(shelf.drawers.lock().unwrap().len(), VIEWS_MAX);
        let long: Arc<[u8]> = vec![b'x'; BYTES_MAX / 4].into();
        let many = (0..9).map(|row| (row, Entry { json: long.clone(), ..entry(1, "") }));
        shelf.keep(&view("0"), many);
        shelf.keep(&view("0"), (0..9).map(|_| (0, Entry { json: long.clone(), ..entry(1, "") })));
        let drawers = shelf.drawers.lock().unwrap();
        let last = drawers.last().unwrap();
        assert_eq!(last.bytes, last.entries.len() * long.len());
        assert!(last.bytes <= BYTES_MAX, "{}", last.bytes);
    }
}
