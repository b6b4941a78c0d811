//! Turns the ramdisk into a rescue system: the account `rescue` with the given hash and no other, then an SSH server.
//!
//! Only a ramdisk that was booted with the rescue archive can do this. The account has all rights (its number is 0), because
//! mending an instance needs them; there is no other account and no other password. PID 1 starts the server and keeps it
//! running; nothing is called done before it answers.

use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironwright_api::{Blame, Failure, Rescue, is_password_hash};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::heartbeat::OrderDesk;
use crate::order::blocking;
use crate::report::chain;
use crate::supervisor::{RESCUE_OPEN, RESCUE_SYSTEM};
use crate::sys::{Effect, System};

/// The step's name in reports.
const STEP: &str = "rescue";

/// The account.
const ACCOUNT: &str = "rescue";

/// How long the SSH server may take until it answers.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The hash is none.
    #[error("the password hash is none that a shadow file can hold (SHA-256 crypt or better)")]
    Hash,
    /// The archive is not there.
    #[error("this ramdisk was booted without the rescue archive: it has no SSH server")]
    NoArchive,
    /// A file of the system could not be written.
    #[error("cannot write {path}")]
    File {
        /// Which.
        path: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No terminals.
    #[error("cannot mount /dev/pts")]
    Terminals(#[source] Errno),
    /// The SSH server is not there.
    #[error("the SSH server did not answer on port 22 within {} s", ANSWER.as_secs())]
    Silent,
}

/// Carries out a rescue order.
///
/// # Errors
/// The [`Failure`] to report.
pub(crate) async fn carry_out(
    system: &Arc<System>,
    work: &Rescue,
    desk: &OrderDesk,
) -> Result<(), Failure> {
    let failed = |message: String, blame| Failure {
        step: STEP.to_owned(),
        message,
        remedy:
            "check the setting boot.rescue and the machine's console, then ask for rescue again"
                .to_owned(),
        blame,
    };
    desk.step_started(STEP)
        .await
        .map_err(|cancelled| failed(cancelled.to_string(), Blame::Order))?;
    let (system, hash) = (system.clone(), work.password_hash.clone());
    let opened = blocking(move || Ok(open(&system, &hash))).await?;
    opened.map_err(|error| failed(chain(&error), Blame::Environment))?;
    desk.step_ended(STEP, None);
    Ok(())
}

/// Lets the holder of the password with this hash in, by SSH. In a sandbox that is recorded and not done.
///
/// Also what Ironic's command `rescue.finalize_rescue` does. To be called where blocking is allowed: it waits for the SSH
/// server, at most 20 seconds. Repeating it with another hash changes the password.
///
/// # Errors
/// [`RescueError`]; then nobody can get in, or (where only the server's answer was missed) only with the password.
pub fn open(system: &System, password_hash: &str) -> Result<(), RescueError> {
    if !is_password_hash(password_hash) {
        return Err(RescueError::Hash);
    }
    if !system.may(Effect::Rescue) {
        return Ok(());
    }
    if !Path::new(RESCUE_SYSTEM).exists() {
        return Err(RescueError::NoArchive);
    }
    accounts(Path::new("/etc"), password_hash)?;
    terminals()?;
    write(Path::new(RESCUE_OPEN), RESCUE_OPEN, "", 0o600)?;
    answers(SocketAddr::from((Ipv4Addr::LOCALHOST, 22)), ANSWER)
}

/// Whether somebody was let in in this boot: this process may be a later one.
#[must_use]
pub fn is_open(system: &System) -> bool {
    system.named_disks().is_none() && Path::new(RESCUE_OPEN).exists()
}

/// The whole of the account files below `etc`.
fn accounts(etc: &Path, hash: &str) -> Result<(), RescueError> {
    let shadow = format!("{ACCOUNT}:{hash}:1:0:99999:7:::\n");
    for (name, text, mode) in [
        ("group", "root:x:0:\n", 0o644),
        ("shells", "/bin/sh\n", 0o644),
        // Its password first: an account without one must not exist for a moment.
        ("shadow", shadow.as_str(), 0o600),
        ("passwd", "rescue:x:0:0:rescue:/root:/bin/sh\n", 0o644),
    ] {
        write(&etc.join(name), name, text, mode)?;
    }
    Ok(())
}

fn write(path: &Path, name: &'static str, text: &str, mode: u32) -> Result<(), RescueError> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(mode).open(path);
    opened
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(text.as_bytes())
        })
        .map_err(|source| RescueError::File { path: name, source })
}

/// Terminals for people.
fn terminals() -> Result<(), RescueError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let folder = "/dev/pts";
    fs::create_dir_all(folder).map_err(|source| RescueError::File { path: "/dev/pts", source })?;
    match mount(Some("devpts"), folder, Some("devpts"), flags, Some("mode=0620,ptmxmode=0666")) {
        // A second rescue order of the same boot finds it mounted.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(RescueError::Terminals(error)),
    }
}

/// Waits until an SSH server says who it is.
fn answers(address: SocketAddr, patience: Duration) -> Result<(), RescueError> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if greets(address).unwrap_or(false) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Err(RescueError::Silent)
}

/// Whether the first bytes are those of an SSH server (RFC 4253, 4.2).
fn greets(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting)?;
    Ok(&greeting == b"SSH-2.0-")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HASH: &str = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8";

    #[test]
    fn there_is_one_account_and_only_root_reads_its_hash() {
        let etc = tempfile::tempdir().unwrap();
        accounts(etc.path(), "$5$other$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8").unwrap();
        accounts(etc.path(), HASH).unwrap();
        let read = |name: &str| fs::read_to_string(etc.path().join(name)).unwrap();
        assert_eq!(read("shadow"), format!("rescue:{HASH}:1:0:99999:7:::\n"));
        assert_eq!(read("passwd"), "rescue:x:0:0:rescue:/root:/bin/sh\n");
        let mode = fs::metadata(etc.path().join("shadow")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_sandbox_records_the_rescue_and_a_text_that_is_no_hash_is_refused() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        let system = System::sandbox(Path::new("/"), &[disk.path().to_path_buf()]).unwrap();
        assert!(matches!(open(&system, "secret"), Err(RescueError::Hash)));
        assert!(system.recorded().is_empty());
        open(&system, HASH).unwrap();
        assert_eq!(system.recorded(), [Effect::Rescue]);
        assert!(!is_open(&system));
    }

    #[test]
    fn only_a_server_that_greets_is_taken_for_one() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for greeting in [&b"HTTP/1.1 400"[..], b"SSH-2.0-fake"] {
                listener.accept().unwrap().0.write_all(greeting).unwrap();
            }
        });
        answers(address, Duration::from_secs(5)).unwrap();
        server.join().unwrap();
        assert!(matches!(answers(address, Duration::ZERO), Err(RescueError::Silent)));
    }
}
