//! Which members of an array are not here, by what the node's record and the labels that are here say of it. Pure.

/// A member: device node, and serial number of its disk; each empty where it is not known.
type Known = (String, String);

/// The members of the array `uuid` that are not among `here`: what is known of each, and why it is listed. `recorded` is what the
/// array was built of, `labelled` how many members it has by the labels that are here.
pub(super) fn missing(
    uuid: &str,
    recorded: &[Known],
    labelled: u32,
    here: &[Known],
) -> Vec<(String, String)> {
    let wanted = recorded.len().max(usize::try_from(labelled).unwrap_or(usize::MAX));
    let lacking = wanted.saturating_sub(here.len());
    if wanted == 0 && here.is_empty() {
        let all = format!("all members of the array {uuid}");
        return vec![(all, "none of them was found".to_owned())];
    }
    if lacking == 0 {
        return Vec::new();
    }
    let is_here = |member: &Known| here.iter().any(|other| is(member, recorded, other, here));
    let gone: Vec<&Known> = recorded.iter().filter(|member| !is_here(member)).collect();
    if gone.len() == lacking && gone.iter().all(|(node, _)| !node.is_empty()) {
        return gone.into_iter().map(|member| one(uuid, member)).collect();
    }
    let found = match here {
        [] => "none".to_owned(),
        here => here.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>().join(", "),
    };
    let some = format!("{lacking} of the {wanted} members of the array {uuid}");
    vec![(some, format!("not found, or the label cannot be read; found: {found}"))]
}

fn one(uuid: &str, (node, serial): &Known) -> (String, String) {
    let disk = match serial.as_str() {
        "" => String::new(),
        serial => format!(", its disk's serial number is {serial}"),
    };
    let why = format!(
        "so named when the array {uuid} was built{disk}: not found, or its label cannot be read"
    );
    (node.clone(), why)
}

/// Whether a recorded member is the one that is here. Names change between boots; a serial number that several disks have, as
/// behind some bridges and controllers, tells nothing.
fn is(member: &Known, recorded: &[Known], other: &Known, here: &[Known]) -> bool {
    let alone =
        |among: &[Known]| among.iter().filter(|(_, serial)| *serial == member.1).count() == 1;
    match (member.1.as_str(), other.1.as_str()) {
        ("", _) | (_, "") => member.0 == other.0,
        (serial, here) if serial != here => false,
        _ => member.0 == other.0 || alone(recorded) && alone(here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(members: &[(&str, &str)]) -> Vec<Known> {
        members.iter().map(|(node, serial)| ((*node).to_owned(), (*serial).to_owned())).collect()
    }

    #[test]
    fn a_member_that_is_not_here_is_named_by_what_was_recorded_of_it() {
        let (a, b) = (("/dev/sda2", "A"), ("/dev/sdb2", "B"));
        let unnamed = "1 of the 2 members of the array u";
        for (recorded, labelled, here, expected) in [
            (&[a, b][..], 2, &[a, b][..], &[][..]),
            (&[a, b], 2, &[a], &["/dev/sdb2"]),
            // The second disk has the first one's name now.
            (&[a, b], 2, &[("/dev/sda2", "B")], &["/dev/sda2"]),
            (&[a, b], 0, &[], &["/dev/sda2", "/dev/sdb2"]),
            // All disks have one serial number: the name is all there is.
            (&[("/dev/sda2", "X"), ("/dev/sdb2", "X")], 2, &[("/dev/sdb2", "X")], &["/dev/sda2"]),
            (&[("/dev/sda2", "X"), ("/dev/sdb2", "X")], 2, &[("/dev/sdc2", "X")], &[unnamed]),
            // Only the labels know how many there are.
            (&[], 2, &[a], &[unnamed]),
            (&[a, ("", "")], 2, &[a], &[unnamed]),
            (&[], 2, &[a, b], &[]),
            // A disk was replaced and the array synced.
            (&[a, b], 2, &[a, ("/dev/sdb2", "C")], &[]),
            (&[], 0, &[], &["all members of the array u"]),
        ] {
            let found = missing("u", &known(recorded), labelled, &known(here));
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, expected, "{recorded:?}, {labelled}, {here:?}");
        }
        let found = missing("u", &known(&[a, b]), 2, &known(&[a]));
        assert!(found[0].1.contains("serial number is B: not found"), "{found:?}");
        let found = missing("u", &[], 2, &known(&[a]));
        assert!(found[0].1.ends_with("found: /dev/sda2"), "{found:?}");
    }
}
