//! depmod's text indexes: from a name or alias to the files to load, in order.

use std::collections::HashMap;
use std::path::PathBuf;

use super::glob;

/// One line of `modules.dep`.
#[derive(Debug)]
struct Module {
    path: PathBuf,
    /// Everything it needs, by name; depmod lists it so that the reverse is the order to load in.
    needs: Vec<String>,
}

/// The modules of one kernel.
#[derive(Debug, Default)]
pub(in super::super) struct Index {
    modules: HashMap<String, Module>,
    /// (pattern, module) by what stands before the first colon, where that is no pattern itself.
    aliases: HashMap<String, Vec<(String, String)>>,
    /// What a module wants loaded before it, where it exists.
    soft: HashMap<String, Vec<String>>,
}

impl Index {
    /// Reads `modules.dep`, `modules.alias` and `modules.softdep`. A line that is none is left out.
    pub(in super::super) fn parse(dependencies: &str, aliases: &str, soft: &str) -> Self {
        let mut index = Self::default();
        for line in dependencies.lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let needs = needs.split_whitespace().map(name_of).collect();
            index.modules.insert(name_of(path), Module { path: path.into(), needs });
        }
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                let entry = (normal(pattern), normal(module));
                index.aliases.entry(bus(&entry.0)).or_default().push(entry);
            }
        }
        for line in soft.lines() {
            let mut words = line.split_whitespace();
            if let (Some("softdep"), Some(module), Some("pre:")) =
                (words.next(), words.next(), words.next())
            {
                let before = words.take_while(|word| *word != "post:").map(str::to_owned);
                index.soft.entry(normal(module)).or_default().extend(before);
            }
        }
        index
    }

    /// The files to load for `wanted`, a module's name or an alias, in this order. Empty where nothing fits.
    pub(in super::super) fn plan(&self, wanted: &str) -> Vec<PathBuf> {
        let mut names = Vec::new();
        for module in self.resolve(wanted) {
            self.add(&module, &mut names);
        }
        names.iter().filter_map(|name| self.modules.get(name)).map(|m| m.path.clone()).collect()
    }

    fn resolve(&self, wanted: &str) -> Vec<String> {
        let wanted = normal(wanted);
        if self.modules.contains_key(&wanted) {
            return vec![wanted];
        }
        let exact = bus(&wanted);
        let families = [exact.as_str(), PATTERN];
        let candidates = families.iter().filter_map(|family| self.aliases.get(*family)).flatten();
        candidates
            .filter(|(pattern, _)| glob::matches(pattern.as_bytes(), wanted.as_bytes()))
            .map(|(_, module)| module.clone())
            .collect()
    }

    /// Appends `module` after what it needs. A name already listed ends the walk, so a circle does too.
    fn add(&self, module: &str, names: &mut Vec<String>) {
        let Some(found) = self.modules.get(module) else { return };
        if names.iter().any(|name| name == module) {
            return;
        }
        let mut before = Vec::new();
        for need in found.needs.iter().rev().chain(std::iter::once(&module.to_owned())) {
            let soft = self.soft.get(need).into_iter().flatten();
            before.extend(soft.flat_map(|wanted| self.resolve(wanted)));
            before.push(need.clone());
        }
        // Soft dependencies have dependencies of their own; depmod does not list those.
        for need in before {
            let listed = found.needs.contains(&need) || need == module;
            let closure = self.modules.get(&need).filter(|_| !listed);
            let closure = closure.into_iter().flat_map(|module| module.needs.iter().rev());
            for name in closure.chain(std::iter::once(&need)) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
    }
}

/// The family of aliases whose own first part is a pattern, such as `acpi*:`.
const PATTERN: &str = "*";

/// What stands before the first colon (`pci`, `usb`); [`PATTERN`] where that is a pattern.
fn bus(alias: &str) -> String {
    let first = alias.split(':').next().unwrap_or_default();
    if first.contains(['*', '?', '[']) { PATTERN.to_owned() } else { first.to_owned() }
}

/// kmod takes `-` and `_` in names and aliases for the same, except in brackets, where `-` makes a range.
fn normal(text: &str) -> String {
    let mut inside = false;
    let plain = |c: char| {
        inside = (inside || c == '[') && c != ']';
        if c == '-' && !inside { '_' } else { c }
    };
    text.trim().chars().map(plain).collect()
}

/// `kernel/drivers/net/virtio-net.ko.zst` is `virtio_net`.
pub(super) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split(".ko").next().unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/drivers/net/virtio_net.ko.zst: kernel/drivers/net/net_failover.ko.zst kernel/net/core/failover.ko.zst
kernel/drivers/net/net_failover.ko.zst: kernel/net/core/failover.ko.zst
kernel/net/core/failover.ko.zst:
kernel/drivers/virtio/virtio_pci.ko.zst: kernel/drivers/virtio/virtio.ko.zst
kernel/drivers/virtio/virtio.ko.zst:
kernel/fs/ext4/ext4.ko.zst: kernel/fs/jbd2/jbd2.ko.zst
kernel/fs/jbd2/jbd2.ko.zst:
kernel/arch/x86/crypto/crc32c-intel.ko.zst: kernel/lib/helper.ko.zst
kernel/lib/helper.ko.zst:
";
    const ALIASES: &str = "\
# Aliases extracted from modules themselves.
alias virtio:d00000001v* virtio_net
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias fs-ext4 ext4
alias crypto-crc32c crc32c-intel
alias acpi*:IPI0001:* ipmi_si
alias usb:v05ACp026[8-9A-B]d* failover
alias broken
";
    const SOFT: &str = "softdep ext4 pre: crypto-crc32c missing\nsoftdep jbd2 post: x\n";

    fn plan(wanted: &str) -> Vec<String> {
        let index = Index::parse(DEPENDENCIES, ALIASES, SOFT);
        index.plan(wanted).iter().map(|path| name_of(&path.to_string_lossy())).collect()
    }

    #[test]
    fn what_a_module_needs_comes_before_it() {
        assert_eq!(plan("virtio-net"), ["failover", "net_failover", "virtio_net"]);
        assert_eq!(plan("failover"), ["failover"]);
    }

    #[test]
    fn a_device_finds_its_driver_by_modalias() {
        assert_eq!(
            plan("pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00\n"),
            ["virtio", "virtio_pci"]
        );
        assert_eq!(plan("virtio:d00000001v00001AF4"), ["failover", "net_failover", "virtio_net"]);
        assert_eq!(plan("usb:v05ACp0269d0100"), ["failover"]);
        assert_eq!(plan("virtio:d00000002v00001AF4"), [""; 0]);
    }

    #[test]
    fn soft_dependencies_are_loaded_first_with_what_they_need() {
        assert_eq!(plan("fs-ext4"), ["jbd2", "helper", "crc32c_intel", "ext4"]);
    }

    #[test]
    fn an_alias_to_a_module_that_was_left_out_of_the_ramdisk_loads_nothing() {
        assert_eq!(plan("acpi:IPI0001:"), [""; 0]);
        assert_eq!(plan("no_such_module"), [""; 0]);
    }

    #[test]
    fn modules_that_need_each_other_do_not_hang_the_boot() {
        let index =
            Index::parse("a.ko: b.ko\nb.ko: a.ko\n", "", "softdep a pre: b\nsoftdep b pre: a\n");
        assert_eq!(index.plan("a").len(), 2);
    }
}
