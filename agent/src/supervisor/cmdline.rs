//! What the supervisor reads from the kernel command line.

use std::collections::HashMap;

/// A network card's hardware address.
pub(super) type Mac = [u8; 6];

/// The card the machine was booted from: `BOOTIF=01-52-54-00-12-34-56`, as PXELINUX and iPXE write it (01: Ethernet).
pub(super) fn boot_mac(cmdline: &str) -> Option<Mac> {
    let value = cmdline.split_whitespace().find_map(|word| word.strip_prefix("BOOTIF="))?;
    let octets = match value.len() {
        20 => value.strip_prefix("01-")?,
        _ => value,
    };
    // No card has a group address; what looks like one is a value cut short.
    parse_mac(octets).filter(|mac| mac[0] & 1 == 0)
}

/// Six octets in hexadecimal, separated by `-` or `:`.
pub(super) fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let mut octets = text.trim().split(['-', ':']);
    for octet in &mut mac {
        let digits = octets.next().filter(|digits| digits.len() == 2)?;
        *octet = u8::from_str_radix(digits, 16).ok()?;
    }
    octets.next().is_none().then_some(mac)
}

/// Parameters for modules that are not built in: `name.parameter=value`, by module, as modprobe reads them.
pub(super) fn module_parameters(cmdline: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::<String, String>::new();
    for word in cmdline.split_whitespace() {
        let Some((module, parameter)) = word.split_once('.') else { continue };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if module.is_empty() || parameter.is_empty() || !module.chars().all(plain) {
            continue;
        }
        let all = parameters.entry(module.replace('-', "_")).or_default();
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(parameter);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_card_is_read_in_every_form_loaders_write_it() {
        let mac = Some([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        for (cmdline, expected) in [
            ("vmlinuz initrd=initrd BOOTIF=01-52-54-00-ab-cd-ef panic=30", mac),
            ("BOOTIF=01-52-54-00-AB-CD-EF\n", mac),
            ("BOOTIF=52:54:00:ab:cd:ef", mac),
            ("console=ttyS0", None),
            ("BOOTIF=", None),
            ("BOOTIF=01-52-54-00-ab-cd", None),
            ("BOOTIF=20-52-54-00-ab-cd-ef", None),
            ("BOOTIF=01-52-54-00-ab-cd-zz", None),
            ("xBOOTIF=01-52-54-00-ab-cd-ef", None),
        ] {
            assert_eq!(boot_mac(cmdline), expected, "{cmdline}");
        }
    }

    #[test]
    fn module_parameters_are_gathered_by_module() {
        let found = module_parameters(
            "ro nvme-core.multipath=N panic=30 nvme_core.io_timeout=9 .x=1 a/b.c=1",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found["nvme_core"], "multipath=N io_timeout=9");
    }
}
