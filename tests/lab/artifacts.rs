//! What a lab run boots and deploys: the ramdisk, operating system images, the coordinator's binary. All of it is built
//! here from Debian packages and our own sources, and kept in the cache until an input changes.

pub mod command;

/// Tells the person at the terminal what is being built.
#[expect(
    clippy::print_stderr,
    reason = "progress of a build belongs on the terminal, results on stdout"
)]
pub(crate) fn say(text: &str) {
    eprintln!("lab: {text}");
}
