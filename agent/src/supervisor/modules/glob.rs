//! The patterns of `modules.alias`: `*`, `?` and `[...]`, as fnmatch(3) without flags, over bytes.

/// Whether all of `text` matches `pattern`. Linear in practice; never worse than the product of the lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when a comparison fails: after the last star, with one more byte given to it.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        match (one(pattern.get(p..).unwrap_or_default(), text.get(t)), retry) {
            (Step::End, _) => return true,
            (Step::Matches(used), _) => {
                p += used;
                t += 1;
            }
            (Step::Differs, Some((after, from))) if from < text.len() => {
                retry = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (Step::Differs, _) => return false,
        }
    }
}

enum Step {
    /// Pattern and text are both used up.
    End,
    /// One byte of text matches this many bytes of pattern.
    Matches(usize),
    Differs,
}

/// Compares one byte of text with the start of the pattern, which is no star.
fn one(pattern: &[u8], text: Option<&u8>) -> Step {
    let (Some(first), Some(byte)) = (pattern.first(), text) else {
        return if pattern.is_empty() && text.is_none() { Step::End } else { Step::Differs };
    };
    match first {
        b'?' => Step::Matches(1),
        b'[' => match class(pattern, *byte) {
            Some((true, used)) => Step::Matches(used),
            Some((false, _)) => Step::Differs,
            // A bracket that is never closed stands for itself.
            None => literal(*first, *byte),
        },
        _ => literal(*first, *byte),
    }
}

fn literal(expected: u8, byte: u8) -> Step {
    if expected == byte { Step::Matches(1) } else { Step::Differs }
}

/// `[abc]`, `[0-9A-F]`, `[!x]` at the start of `pattern`: whether `byte` is in it, and the length of the class.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    let mut at = start;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > start {
            return Some((found != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                found |= (low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcb", false),
            ("*b*b", "abab", true),
            ("*bb", "abab", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("v[0-9A-F]d", "vAd", true),
            ("v[0-9A-F]d", "vGd", false),
            ("x[!0-9]", "xa", true),
            ("x[!0-9]", "x5", false),
            ("x[]]y", "x]y", true),
            ("x[a-]y", "x-y", true),
            ("x[", "x[", true),
            ("x[ab", "xa", false),
            ("ab", "abc", false),
            ("abc", "ab", false),
            ("ab*", "ab", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn real_aliases_find_their_devices() {
        let virtio_net = "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00";
        for (pattern, text, expected) in [
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", virtio_net, true),
            ("pci:v00008086d00001533sv*sd*bc*sc*i*", virtio_net, false),
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                true,
            ),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            (
                "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                true,
            ),
            ("acpi*:IPI0001:*", "acpi:IPI0001:", true),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*0099*",
                "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0099,00C0",
                true,
            ),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_in_reasonable_time() {
        let text = "a".repeat(2000);
        let pattern = "a*".repeat(40);
        assert!(matches(pattern.as_bytes(), text.as_bytes()));
        assert!(!matches(format!("{pattern}c").as_bytes(), text.as_bytes()));
    }
}
