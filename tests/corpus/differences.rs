//! Where the agent and `qemu-img convert` may differ, and why. Nothing else may.

/// A part of what was said, and the reason.
type Rule = (&'static str, &'static str);

/// The agent refuses with these words what QEMU reads.
const ONLY_QEMU_READS: [Rule; 10] = [
    (
        "does not inflate to",
        "a deflate stream that does not end with its cluster is damage; QEMU takes what fills it",
    ),
    ("image needs a backing file", "backing file: an image must not read files it does not own"),
    (
        "keeps its data in an external file",
        "data file: an image must not read files it does not own",
    ),
    ("image is marked corrupt", "QEMU still reads an image that it marked corrupt"),
    ("image describes a disk of 0 bytes", "nothing to write is no success"),
    ("is outside the file of", "QEMU reads zeros behind the end of a file that is cut off"),
    ("header needs", "QEMU reads zeros behind the end of a header that is cut off"),
    ("overlaps", "one byte of the file with two roles is damage; QEMU does not look"),
    ("two L1 entries name the L2 table", "one table for two places is damage; QEMU does not look"),
    ("bytes, disk has", "larger than the disk it is put on here"),
];

/// QEMU refuses with these words what the agent reads.
const ONLY_THE_AGENT_READS: [Rule; 1] =
    [("napshot", "internal snapshots are not read: a damaged one does not change the disk")];

/// Why the agent's words are right.
pub(crate) fn only_qemu_reads(ours: &str) -> Option<&'static str> {
    find(&ONLY_QEMU_READS, ours)
}

/// Why QEMU's words do not concern the agent.
pub(crate) fn only_the_agent_reads(theirs: &str) -> Option<&'static str> {
    find(&ONLY_THE_AGENT_READS, theirs)
}

fn find(rules: &[Rule], words: &str) -> Option<&'static str> {
    rules.iter().find(|(part, _)| words.contains(part)).map(|(_, reason)| *reason)
}
