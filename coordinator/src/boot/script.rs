//! iPXE scripts, as text. Pure: who may have which script is decided elsewhere.
//!
//! A script is code and iPXE has no quoting, so nothing taken from a record goes in unchecked: addresses are rebuilt from
//! their parsed form, kernel parameters are refused when iPXE would read more into them than words.

use std::fmt::Write as _;

use url::Url;

/// Attempts to load something before a machine gives up; the pauses add up to about four minutes.
const ATTEMPTS: u32 = 20;

/// What the kernel calls the archive with the trusted keys of plugins, and the one of the rescue system.
const KEYS: &str = "plugin-keys";
const RESCUE: &str = "rescue";

/// Why a text must not become part of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A byte that a kernel command line cannot hold, or that ends the script's line.
    #[error("character {position} is not printable ASCII")]
    Character {
        /// Counted from 1.
        position: usize,
    },
    /// A word that is an operator or an expansion of iPXE.
    #[error("'{0}' has a meaning in an iPXE script and cannot be passed to the kernel")]
    Word(String),
    /// Not an address iPXE can load.
    #[error("'{0}' is not an http or https URL")]
    Address(String),
}

/// What the ramdisk of one machine is booted with.
#[derive(Debug, Clone)]
pub struct Ramdisk<'a> {
    /// Where the kernel is.
    pub kernel: &'a str,
    /// Where the initial ramdisk is.
    pub initrd: &'a str,
    /// Where the archive with the trusted keys of plugins is, a second initial ramdisk; none: no plugin is trusted.
    pub plugin_keys: Option<&'a str>,
    /// Where the archive is that makes it a rescue system, a further initial ramdisk; none: it is none.
    pub rescue: Option<&'a str>,
    /// Where the ramdisk says that its network is up; none: it does not.
    pub beacon: Option<&'a str>,
    /// The coordinator's address for the agent.
    pub api_url: &'a str,
    /// The one-time nonce of this boot, hexadecimal; none where no order waits for one.
    pub nonce: Option<&'a str>,
    /// SHA-256 of the coordinator's certificate, hexadecimal; none over plain HTTP.
    pub certificate_sha256: Option<&'a str>,
    /// MAC address of the NIC that booted, in the form `52-54-00-…`.
    pub boot_mac: &'a str,
    /// Whether the machine is inspected: then a ramdisk of Ironic's is told where to post what it found.
    pub inspects: bool,
    /// Further kernel parameters.
    pub append: &'a str,
}

/// The script a machine gets first: it names its NICs and asks for the script of its own.
///
/// `netX` is the NIC that booted. The others are named as well, because a node's record may know another port of the
/// machine. A machine that cannot reach the coordinator boots its own disk: a server must not depend on us to start.
///
/// # Errors
///
/// [`ScriptError::Address`].
pub fn entry(base: &str) -> Result<String, ScriptError> {
    let base = address(base)?;
    let base = base.trim_end_matches('/');
    let others =
        (0..8).map(|nic| format!("${{net{nic}/mac:hexhyp}}")).collect::<Vec<_>>().join(",");
    let mut script = header("coordinator");
    retry(
        &mut script,
        &format!("chain --replace {base}/boot/ipxe/${{netX/mac:hexhyp}}?nics={others}"),
        "ironwright: no answer from the coordinator; starting the local disk",
    );
    script.push_str(LOCAL_DISK);
    Ok(script)
}

/// Boots the ramdisk.
///
/// # Errors
///
/// [`ScriptError`] when a part of it cannot be written into a script.
pub fn ramdisk(boot: &Ramdisk<'_>) -> Result<String, ScriptError> {
    let kernel = address(boot.kernel)?;
    let initrd = address(boot.initrd)?;
    let line = command_line(boot)?;
    let mut more = String::new();
    for (name, url) in further(boot) {
        more.push_str(&format!(" && initrd --name {name} {}", address(url)?));
    }
    let mut script = header("ramdisk");
    retry(
        &mut script,
        &format!(
            "imgfree && kernel --name vmlinuz {kernel} {line} && initrd --name initrd {initrd}{more} && boot"
        ),
        "ironwright: the ramdisk cannot be loaded; restarting",
    );
    script.push_str("sleep 10\nreboot\n");
    Ok(script)
}

/// Starts the machine's own disk.
///
/// On BIOS the first disk is booted directly. Under UEFI the script ends with an error status, which makes the firmware go on
/// with its next boot entry (after success it would stop at its menu: UEFI specification 2.10, section 3.1.1).
#[must_use]
pub fn local_disk(why: &str) -> String {
    let mut script = header("local disk");
    let _ignored = writeln!(script, "echo ironwright: {}", plain_words(why));
    script.push_str(LOCAL_DISK);
    script
}

const LOCAL_DISK: &str = "iseq ${platform} efi && goto firmware ||\n\
    sanboot --no-describe --drive 0x80 ||\n\
    :firmware\n\
    exit 1\n";

fn header(what: &str) -> String {
    format!("#!ipxe\n# ironwright: {what}\n")
}

/// `command` until it works, with longer and longer pauses; after [`ATTEMPTS`] the script goes on behind it.
fn retry(script: &mut String, command: &str, gave_up: &str) {
    let _ignored = write!(
        script,
        "set attempt:int32 0\n\
         :try\n\
         {command} ||\n\
         inc attempt\n\
         iseq ${{attempt}} {ATTEMPTS} && goto gave_up ||\n\
         echo ironwright: attempt ${{attempt}} of {ATTEMPTS} failed, trying again in ${{attempt}} s\n\
         sleep ${{attempt}} ||\n\
         goto try\n\
         :gave_up\n\
         echo {gave_up}\n"
    );
}

/// The initial ramdisks behind the first one.
fn further<'a>(boot: &Ramdisk<'a>) -> impl Iterator<Item = (&'static str, &'a str)> {
    [(KEYS, boot.plugin_keys), (RESCUE, boot.rescue)]
        .into_iter()
        .filter_map(|(name, url)| url.map(|url| (name, url)))
}

fn command_line(boot: &Ramdisk<'_>) -> Result<String, ScriptError> {
    let api_url = address(boot.api_url)?;
    let api_url = api_url.trim_end_matches('/');
    let mut words = vec!["initrd=initrd".to_owned()];
    words.extend(further(boot).map(|(name, _)| format!("initrd={name}")));
    words.push(format!("ipa-api-url={api_url}"));
    if let Some(nonce) = boot.nonce.filter(|_| boot.inspects) {
        words.push(format!(
            "ipa-inspection-callback-url={api_url}/v1/continue_inspection?nonce={nonce}"
        ));
    }
    for (key, value) in
        [("ironwright.nonce", boot.nonce), ("ironwright.tls", boot.certificate_sha256)]
    {
        if let Some(value) = value {
            words.push(format!("{key}={value}"));
        }
    }
    if let Some(url) = boot.beacon {
        words.push(format!("ironwright.beacon={}", address(url)?));
    }
    words.push(format!("BOOTIF=01-{}", boot.boot_mac));
    words.push("panic=30".to_owned());
    words.push(boot.append.to_owned());
    parameters(&words.join(" "))
}

/// Kernel parameters as they may stand in a script: words, one space between them.
///
/// # Errors
///
/// [`ScriptError`] for bytes and words that iPXE would act on.
pub fn parameters(line: &str) -> Result<String, ScriptError> {
    if let Some(at) = line.bytes().position(|byte| !matches!(byte, b' '..=b'~' | b'\t')) {
        return Err(ScriptError::Character { position: at + 1 });
    }
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words
        .iter()
        .find(|word| matches!(**word, "||" | "&&") || word.contains("${") || word.starts_with('#'))
    {
        Some(word) => Err(ScriptError::Word((*word).to_owned())),
        None => Ok(words.join(" ")),
    }
}

/// An address rebuilt from its parsed form, in which nothing is left that iPXE would expand or split.
fn address(text: &str) -> Result<String, ScriptError> {
    let wrong = || ScriptError::Address(text.to_owned());
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    let url: String = url.as_str().replace('$', "%24");
    if url.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(url) } else { Err(wrong()) }
}

/// A sentence for the console, without what iPXE acts on.
fn plain_words(text: &str) -> String {
    let safe =
        |character: char| character.is_ascii_alphanumeric() || " .,:;()'-_/".contains(character);
    text.chars().filter(|character| safe(*character)).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot<'a>() -> Ramdisk<'a> {
        Ramdisk {
            kernel: "http://172.22.0.1:6386/boot/vmlinuz?node=x",
            initrd: "http://172.22.0.1:6386/boot/initrd?node=x",
            plugin_keys: None,
            rescue: None,
            beacon: None,
            api_url: "https://172.22.0.1:6387",
            nonce: Some("00ff"),
            certificate_sha256: Some("abcd"),
            boot_mac: "52-54-00-00-10-02",
            inspects: false,
            append: "console=ttyS0  quiet",
        }
    }

    #[test]
    fn the_ramdisk_gets_everything_the_agent_needs() {
        let script = ramdisk(&boot()).unwrap();
        assert!(script.starts_with("#!ipxe\n"), "{script}");
        let kernel = script.lines().find(|line| line.contains("kernel ")).unwrap();
        for part in [
            "kernel --name vmlinuz http://172.22.0.1:6386/boot/vmlinuz?node=x ",
            " initrd=initrd ",
            " ipa-api-url=https://172.22.0.1:6387 ",
            " ironwright.nonce=00ff ",
            " ironwright.tls=abcd ",
            " BOOTIF=01-52-54-00-00-10-02 ",
            " panic=30 console=ttyS0 quiet && initrd --name initrd http://172.22.0.1:6386/boot/initrd?node=x && boot ||",
        ] {
            assert!(kernel.contains(part), "{part}: {kernel}");
        }
        assert!(script.ends_with("sleep 10\nreboot\n"));
    }

    #[test]
    fn the_keys_of_plugins_are_a_second_initrd_where_there_are_any() {
        let keys = Some("http://172.22.0.1:6386/boot/plugin-keys");
        let script = ramdisk(&Ramdisk { plugin_keys: keys, ..boot() }).unwrap();
        for part in [
            " initrd=initrd initrd=plugin-keys ipa-api-url=",
            "/boot/initrd?node=x && initrd --name plugin-keys http://172.22.0.1:6386/boot/plugin-keys && boot ||",
        ] {
            assert!(script.contains(part), "{part}: {script}");
        }
        assert!(!ramdisk(&boot()).unwrap().contains("plugin-keys"));
    }

    #[test]
    fn a_rescue_boots_with_one_more_archive_and_the_ramdisk_is_told_where_to_speak_first() {
        let rescue = Some("http://172.22.0.1:6386/boot/rescue?node=x");
        let beacon = Some("http://172.22.0.1:6386/boot/beacon?node=x&boot=00aa");
        let script = ramdisk(&Ramdisk { rescue, beacon, ..boot() }).unwrap();
        for part in [
            " initrd=initrd initrd=rescue ",
            " ironwright.beacon=http://172.22.0.1:6386/boot/beacon?node=x&boot=00aa ",
            " && initrd --name rescue http://172.22.0.1:6386/boot/rescue?node=x && boot ||",
        ] {
            assert!(script.contains(part), "{part}: {script}");
        }
    }

    #[test]
    fn over_plain_http_no_certificate_is_named() {
        let script = ramdisk(&Ramdisk { certificate_sha256: None, nonce: None, ..boot() }).unwrap();
        assert!(!script.contains("ironwright.tls") && !script.contains("nonce"), "{script}");
    }

    #[test]
    fn a_machine_that_is_inspected_is_told_where_to_post_and_with_which_nonce() {
        let script = ramdisk(&Ramdisk { inspects: true, ..boot() }).unwrap();
        let url = " ipa-inspection-callback-url=https://172.22.0.1:6387/v1/continue_inspection?nonce=00ff ";
        assert!(script.contains(url), "{script}");
        for boot in [boot(), Ramdisk { inspects: true, nonce: None, ..boot() }] {
            assert!(!ramdisk(&boot).unwrap().contains("continue_inspection"));
        }
    }

    #[test]
    fn nothing_from_a_record_becomes_code() {
        for append in ["a\nshell", "a || shell", "a && shell", "${net0/mac}", "x # y", "ünicode"] {
            assert!(ramdisk(&Ramdisk { append, ..boot() }).is_err(), "{append}");
        }
        for kernel in ["file:///etc/shadow", "http://h/ || shell\n", "nothing"] {
            let script = ramdisk(&Ramdisk { kernel, ..boot() });
            assert!(script.is_err() || !script.unwrap().contains("|| shell"), "{kernel}");
        }
        let script = ramdisk(&Ramdisk { kernel: "http://h/?${net0/mac}", ..boot() }).unwrap();
        assert!(!script.contains("${net0/mac}"), "{script}");
        assert!(!local_disk("${x}\nshell || y").contains("||\ny"));
        assert!(!local_disk("a\nshell").contains("\nshell"));
    }

    #[test]
    fn the_first_script_names_the_nic_that_booted_before_the_others_and_ends_at_the_local_disk() {
        let script = entry("http://172.22.0.1:6386/").unwrap();
        assert!(script.contains("chain --replace http://172.22.0.1:6386/boot/ipxe/${netX/mac:hexhyp}?nics=${net0/mac:hexhyp},"));
        assert!(script.ends_with(LOCAL_DISK), "{script}");
    }

    #[test]
    fn the_local_disk_is_booted_on_bios_and_left_to_the_firmware_under_uefi() {
        let script = local_disk("unknown machine");
        assert_eq!(
            script,
            "#!ipxe\n# ironwright: local disk\necho ironwright: unknown machine\n\
             iseq ${platform} efi && goto firmware ||\nsanboot --no-describe --drive 0x80 ||\n:firmware\nexit 1\n"
        );
    }
}
