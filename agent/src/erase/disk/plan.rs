//! What will be done to a disk, in words, before it is.

use ironwright_api::{DiskIdentity, EraseMethod, PassedOver};

use super::Task;
use crate::erase::ladder::{Ladder, Rung};
use crate::erase::words;
use crate::steps::Erase;

impl Task {
    /// One sentence for a plan: what is done, how it is verified, what is passed over.
    #[must_use]
    pub fn sentence(&self) -> String {
        let DiskIdentity { path, serial, bytes, .. } = &self.disk.identity;
        let serial = if serial.is_empty() { "no serial" } else { serial };
        if let Some(why) = &self.protected {
            return format!("{path} ({serial}): protected: {why}");
        }
        if self.kind == Erase::Metadata {
            return format!(
                "{path} ({serial}): partition tables and signatures at both ends, of the disk and of every partition"
            );
        }
        let Some(best) = self.ladder.best() else {
            return format!("{path} ({serial}, {bytes} bytes): nothing that the settings allow");
        };
        // A discard is worth no more than an overwrite.
        let better =
            |over: &&PassedOver| over.method < best.method && over.method != EraseMethod::Discard;
        let over = self.ladder.passed_over.iter().filter(better).count();
        let over = match over {
            0 => String::new(),
            1 => "; 1 better method passed over".to_owned(),
            more => format!("; {more} better methods passed over"),
        };
        format!("{path} ({serial}, {bytes} bytes): {}{over}", words::rung(best))
    }

    /// The whole ladder, one thing a line.
    #[must_use]
    pub fn ladder_lines(&self) -> Vec<String> {
        if self.kind == Erase::Metadata || self.protected.is_some() {
            return Vec::new();
        }
        let Ladder { rungs, passed_over, .. } = &self.ladder;
        let weaker = |rung: &Rung| {
            let best = self.ladder.best().map(|best| best.category);
            best.is_some_and(|best| rung.category < best) && !self.settings.allow_weaker
        };
        let after = rungs.iter().skip(1).map(|rung| {
            let note = if weaker(rung) { " - only with allow_weaker_erase" } else { "" };
            format!("if that fails: {}{note}", words::rung(rung))
        });
        let over = passed_over.iter().map(|PassedOver { method, reason }| {
            format!("passed over: {}: {reason}", words::method(*method))
        });
        let first = self.first.map(|first| format!("before that: {first}"));
        first.into_iter().chain(after).chain(over).collect()
    }

    /// Why the order must not be begun.
    #[must_use]
    pub fn forbidden(&self) -> Option<String> {
        let path = self.disk.path.display();
        if let Some(why) = &self.protected {
            return Some(format!("{path} is protected: {why}"));
        }
        if self.kind == Erase::Metadata || self.ladder.best().is_some() {
            return None;
        }
        let turns = self.disk.identity.rotational;
        let best = self.ladder.passed_over.iter().map(|over| over.method.category(turns)).max();
        Some(format!(
            "{path} offers nothing better than {}, the settings ask for {}",
            if self.ladder.passed_over.iter().any(|over| over.method == EraseMethod::Overwrite) {
                "an overwrite (clear)"
            } else {
                best.map_or("none", words::category)
            },
            words::category(self.settings.least),
        ))
    }
}
