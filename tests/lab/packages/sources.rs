//! Which Debian mirror this machine uses, read from apt itself, so that no address is written into the project.

use std::fmt::Write as _;
use std::fs;

use crate::artifacts::command::{CommandError, Program};

/// What a machine without `Signed-By` trusts.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The release whose own QEMU is too old, so that backports are needed.
const NEEDS_BACKPORTS: &str = "bookworm";

/// Why the machine's package sources are of no use.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// apt could not be asked.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// No Debian.
    #[error(
        "/etc/os-release names no Debian release (VERSION_CODENAME); the lab runs on Debian 12 or newer"
    )]
    NotDebian,
    /// No source for the release.
    #[error("apt has no source for {release}; add one to /etc/apt/sources.list.d")]
    NoMirror {
        /// Code name.
        release: String,
    },
}

/// A mirror and who signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    uri: String,
    signed_by: String,
}

/// The machine's Debian release and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    release: String,
    backports: Option<String>,
    main: Mirror,
    security: Option<Mirror>,
}

impl Sources {
    /// Asks apt.
    ///
    /// # Errors
    /// [`SourcesError`] on a machine that is not Debian or has no source for its own release.
    pub fn of_this_machine() -> Result<Self, SourcesError> {
        let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let release = code_name(&os).ok_or(SourcesError::NotDebian)?;
        let targets = Program::new("apt-get")
            .args(["indextargets", "--format", "$(RELEASE)|$(SITE)|$(SIGNED_BY)"])
            .arg("Created-By: Packages")
            .run()?;
        Self::parse(release, &targets)
    }

    fn parse(release: &str, targets: &str) -> Result<Self, SourcesError> {
        let find = |suite: &str| {
            targets.lines().find_map(|line| {
                let mut fields = line.splitn(3, '|');
                let found = fields.next()? == suite;
                let uri = fields.next()?.to_owned();
                let key = fields.next().unwrap_or_default();
                let signed_by = if key.starts_with('/') { key } else { DEBIAN_KEYRING };
                found.then(|| Mirror { uri, signed_by: signed_by.to_owned() })
            })
        };
        let main =
            find(release).ok_or_else(|| SourcesError::NoMirror { release: release.to_owned() })?;
        Ok(Self {
            release: release.to_owned(),
            backports: (release == NEEDS_BACKPORTS).then(|| format!("{release}-backports")),
            main,
            security: find(&format!("{release}-security")),
        })
    }

    /// Code name of the release.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The suite QEMU comes from, where the release's own is too old.
    #[must_use]
    pub fn backports(&self) -> Option<&str> {
        self.backports.as_deref()
    }

    /// `sources.list` of the release with its security updates: what an image is made of.
    #[must_use]
    pub fn release_list(&self) -> String {
        let mut list = line(&self.main, &self.release);
        if let Some(security) = &self.security {
            list += &line(security, &format!("{}-security", self.release));
        }
        list
    }

    /// `sources.list` of everything, backports included: what the lab installs from.
    #[must_use]
    pub fn list(&self) -> String {
        let backports = self.backports.as_deref().map(|suite| line(&self.main, suite));
        self.release_list() + &backports.unwrap_or_default()
    }
}

/// This machine's way to its mirrors, as lines of an apt configuration: proxies, and whether dates of archives are checked.
///
/// # Errors
/// [`SourcesError::Command`].
pub fn transport_options() -> Result<String, SourcesError> {
    Ok(transport(&Program::new("apt-config").arg("dump").run()?))
}

fn transport(dump: &str) -> String {
    let wanted = |line: &&str| {
        ["Acquire::http::", "Acquire::https::", "Acquire::Check-"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    dump.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

fn line(mirror: &Mirror, suite: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    writeln!(text, "deb [signed-by={}] {} {suite} main", mirror.signed_by, mirror.uri).ok();
    text
}

fn code_name(os_release: &str) -> Option<&str> {
    let value = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    value("VERSION_CODENAME").filter(|name| value("ID") == Some("debian") && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "stable|https://elsewhere.example/apt|/etc/apt/keyrings/other.gpg\n\
        bookworm|http://mirror.example/debian|/usr/share/keyrings/k.gpg\n\
        bookworm-updates|http://mirror.example/debian|/usr/share/keyrings/k.gpg\n\
        bookworm-security|http://mirror.example/debian-security|\n";

    #[test]
    fn the_private_list_names_only_the_machines_own_mirror() {
        let list = Sources::parse("bookworm", TARGETS).unwrap().list();
        assert_eq!(
            list,
            "deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian bookworm main\n\
             deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian-security bookworm-security main\n\
             deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian bookworm-backports main\n"
        );
    }

    #[test]
    fn a_newer_release_needs_no_backports() {
        let targets = "trixie|http://mirror.example/debian|\n";
        let sources = Sources::parse("trixie", targets).unwrap();
        assert_eq!(sources.backports(), None);
        assert!(!sources.list().contains("backports"));
    }

    #[test]
    fn a_machine_without_a_source_for_its_release_is_refused() {
        assert!(matches!(Sources::parse("trixie", TARGETS), Err(SourcesError::NoMirror { .. })));
    }

    #[test]
    fn proxies_and_date_checks_are_carried_on_and_nothing_else() {
        let dump = "APT::Architecture \"amd64\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\n\
            Acquire::Check-Date \"false\";\nAcquire::Languages \"\";\nDPkg::Post-Invoke:: \"rm\";\n";
        assert_eq!(
            transport(dump),
            "Acquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::Check-Date \"false\";\n"
        );
    }

    #[test]
    fn only_debian_has_a_code_name() {
        assert_eq!(code_name("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(code_name("ID=\"ubuntu\"\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(code_name(""), None);
    }
}
