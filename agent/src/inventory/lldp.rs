//! What the switches say of the ports that this machine hangs on (LLDP, IEEE 802.1AB).
//!
//! Switches speak every 30 seconds, so hearing them takes that long: it is done beside everything else, and ends as soon as
//! every card with a carrier has heard its neighbour.

mod neighbour;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::tree::Tree;
use crate::sys::link::LldpSocket;

/// How long is listened (`ipa-lldp-timeout`), Ironic's default.
pub const LISTEN: Duration = Duration::from_secs(30);

/// Frames read at most: somebody may send without end.
const FRAMES_MAX: usize = 10_000;
/// Elements of one frame at most: the shortest has two bytes.
const ELEMENTS_MAX: usize = 750;

/// One element of a frame: its type (0 to 127) and its value.
pub(super) type Element = (u8, Vec<u8>);

/// The elements of the newest frame, by the name of the card that heard it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Neighbours(BTreeMap<String, Vec<Element>>);

impl Neighbours {
    /// Ironic's `lldp_raw`: `{card: [[type, hexadecimal value], …]}`.
    #[must_use]
    pub(super) fn raw(&self) -> Value {
        let element = |(kind, value): &Element| {
            Value::from(vec![Value::from(*kind), Value::from(hex(value))])
        };
        let card = |(name, elements): (&String, &Vec<Element>)| {
            (name.clone(), elements.iter().map(element).collect())
        };
        Value::Object(self.0.iter().map(card).collect::<Map<_, _>>())
    }

    /// Ironic's `parsed_lldp`: the same in words.
    #[must_use]
    pub(super) fn parsed(&self) -> Value {
        let card =
            |(name, elements): (&String, &Vec<Element>)| (name.clone(), neighbour::words(elements));
        Value::Object(self.0.iter().map(card).collect::<Map<_, _>>())
    }
}

/// Listens on every card of the machine until each that has a carrier has heard something, at most for `patience`.
/// None: the machine cannot be listened on, or has no card.
pub(super) fn listen(tree: &Tree, patience: Duration) -> Option<Neighbours> {
    let until = Instant::now() + patience;
    let cards: Vec<String> = tree
        .names("sys/class/net")
        .into_iter()
        .filter(|name| tree.exists(format!("sys/class/net/{name}/device")))
        .collect();
    if cards.is_empty() {
        return None;
    }
    let socket = LldpSocket::open(cards.iter().map(String::as_str));
    let socket =
        socket.map_err(|error| tracing::debug!("cannot listen to switches: {error}")).ok()?;
    let index = |name: &String| tree.number::<u32>(format!("sys/class/net/{name}/ifindex"));
    let mut heard = Neighbours::default();
    for _ in 0..FRAMES_MAX {
        let linked = |name: &&String| tree.flag(format!("sys/class/net/{name}/carrier"));
        // A link may come up while we listen.
        if cards.iter().filter(linked).count() > 0
            && cards.iter().filter(linked).all(|name| heard.0.contains_key(name))
        {
            break;
        }
        match socket.next(until) {
            Ok(Some((from, frame))) => {
                let card = cards.iter().find(|name| index(name) == Some(from));
                if let (Some(card), Some(elements)) = (card, parse(&frame)) {
                    heard.0.insert(card.clone(), elements);
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!("listening to switches ended: {error}");
                break;
            }
        }
    }
    Some(heard)
}

/// The elements of an Ethernet frame, without the one that ends it; none where it is no LLDP.
fn parse(frame: &[u8]) -> Option<Vec<Element>> {
    let mut rest = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[0x88, 0xcc]))?;
    let mut elements = Vec::new();
    while let [high, low, value @ ..] = rest {
        let (kind, length) = (high >> 1, usize::from(high & 1) << 8 | usize::from(*low));
        // 0: the end; what follows is padding.
        if kind == 0 || elements.len() >= ELEMENTS_MAX {
            break;
        }
        let Some((value, after)) = value.split_at_checked(length) else { break };
        elements.push((kind, value.to_vec()));
        rest = after;
    }
    (!elements.is_empty()).then_some(elements)
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn element(kind: u8, value: &[u8]) -> Vec<u8> {
        let header = u16::from(kind) << 9 | u16::try_from(value.len()).unwrap();
        [&header.to_be_bytes(), value].concat()
    }

    /// A frame as a switch sends it.
    fn frame(elements: &[Vec<u8>]) -> Vec<u8> {
        let head = b"\x01\x80\xc2\0\0\x0e\x52\x54\0\0\0\x01\x88\xcc".to_vec();
        [head, elements.concat(), vec![0; 2], vec![0; 20]].concat()
    }

    fn usual() -> Vec<u8> {
        frame(&[
            element(1, b"\x04\x52\x54\0\0\0\x01"),
            element(2, b"\x05Ethernet1/7"),
            element(3, &[0, 120]),
            element(4, b"to the rack"),
            element(5, b"tor-1"),
            element(7, &[0, 0x14, 0, 0x04]),
            element(8, b"\x05\x01\x0a\0\0\x01\x02\0\0\0\x01\0"),
            element(127, b"\0\x80\xc2\x01\0\x64"),
            element(127, b"\0\x80\xc2\x03\0\x65\x04data"),
            element(127, b"\0\x12\x0f\x04\x24\x00"),
        ])
    }

    fn heard(frame: &[u8]) -> Neighbours {
        Neighbours(BTreeMap::from([("eth0".to_owned(), parse(frame).unwrap())]))
    }

    #[test]
    fn a_frame_is_kept_raw_and_told_in_ironics_words() {
        let heard = heard(&usual());
        assert_eq!(heard.raw()["eth0"][0], json!([1, "04525400000001"]));
        assert_eq!(heard.raw()["eth0"].as_array().unwrap().len(), 10);
        assert_eq!(
            heard.parsed()["eth0"],
            json!({
                "switch_chassis_id": "52:54:00:00:00:01", "switch_port_id": "Ethernet1/7",
                "switch_port_description": "to the rack", "switch_system_name": "tor-1",
                "switch_capabilities_support": ["Bridge", "Router"], "switch_capabilities_enabled": ["Bridge"],
                "switch_mgmt_addresses": ["10.0.0.1"], "switch_port_untagged_vlan_id": 100,
                "switch_port_vlans": [{"id": 101, "name": "data"}], "switch_port_mtu": 9216,
            })
        );
    }

    #[test]
    fn cut_and_foreign_frames_are_read_as_far_as_they_go() {
        let whole = usual();
        for length in 0..whole.len() {
            if let Some(elements) = parse(&whole[..length]) {
                assert!(elements.len() <= 10);
                neighbour::words(&elements);
            }
        }
        assert_eq!(parse(&[0; 64]), None);
        assert_eq!(parse(&frame(&[])), None);
    }
}
