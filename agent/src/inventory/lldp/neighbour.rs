//! The elements of an LLDP frame in Ironic's words (`parsed_lldp`; IEEE 802.1AB-2016 8.5, 802.1Q annex D, 802.3 79.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::{Element, hex};

/// 802.1 and 802.3 as organisations.
const DOT1: [u8; 3] = [0x00, 0x80, 0xc2];
const DOT3: [u8; 3] = [0x00, 0x12, 0x0f];

/// Capabilities by their bits, from bit 0.
const CAPABILITIES: [&str; 11] = [
    "Other",
    "Repeater",
    "Bridge",
    "WLAN",
    "Router",
    "Telephone",
    "DOCSIS cable device",
    "Station only",
    "C-Vlan component",
    "S-Vlan component",
    "TPMR component",
];

/// What the elements say; those that make no sense are left out.
pub(super) fn words(elements: &[Element]) -> Value {
    let mut said = Map::new();
    for (kind, value) in elements {
        let one = match kind {
            1 => chassis(value).map(|id| ("switch_chassis_id", Value::from(id))),
            2 => port(value).map(|id| ("switch_port_id", Value::from(id))),
            4 => text(value).map(|text| ("switch_port_description", Value::from(text))),
            5 => text(value).map(|text| ("switch_system_name", Value::from(text))),
            6 => text(value).map(|text| ("switch_system_description", Value::from(text))),
            _ => None,
        };
        if let Some((key, value)) = one {
            said.insert(key.to_owned(), value);
        }
        match kind {
            7 => capabilities(value, &mut said),
            8 => {
                let length = value.first().copied().map_or(0, usize::from);
                let address = value.get(1..).and_then(|rest| rest.get(..length)).and_then(address);
                append(&mut said, "switch_mgmt_addresses", address.map(Value::from));
            }
            127 => organisation(value, &mut said),
            _ => {}
        }
    }
    Value::Object(said)
}

/// Subtype 4 is a MAC address, 5 a network address, the others are text (table 8-2).
fn chassis(value: &[u8]) -> Option<String> {
    identifier(value, 4, 5)
}

/// Subtype 3 is a MAC address, 4 a network address, the others are text (table 8-3).
fn port(value: &[u8]) -> Option<String> {
    identifier(value, 3, 4)
}

fn identifier(value: &[u8], mac: u8, network: u8) -> Option<String> {
    let (subtype, id) = value.split_first()?;
    if *subtype == mac && id.len() == 6 {
        return Some(id.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
    }
    if *subtype == network { address(id) } else { text(id) }
}

/// An address with its family in front (IANA: 1 IPv4, 2 IPv6, 6 MAC).
fn address(value: &[u8]) -> Option<String> {
    match *value {
        [1, ref bytes @ ..] => {
            bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).to_string())
        }
        [2, ref bytes @ ..] => {
            bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).to_string())
        }
        [6, ref bytes @ ..] if bytes.len() == 6 => identifier(&[&[4], bytes].concat(), 4, 5),
        _ => None,
    }
}

/// Text without control characters.
fn text(value: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).collect();
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn capabilities(value: &[u8], said: &mut Map<String, Value>) {
    let Some([a, b, c, d]) = value.first_chunk::<4>() else { return };
    for (key, bits) in [
        ("switch_capabilities_support", u16::from_be_bytes([*a, *b])),
        ("switch_capabilities_enabled", u16::from_be_bytes([*c, *d])),
    ] {
        let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        said.insert(key.to_owned(), names.map(|(_, name)| *name).collect());
    }
}

fn append(said: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    let Some(value) = value else { return };
    let list = said.entry(key).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

/// What 802.1 and 802.3 added; others are kept raw only.
fn organisation(value: &[u8], said: &mut Map<String, Value>) {
    let Some((owner, [subtype, rest @ ..])) = value.split_first_chunk::<3>() else { return };
    let word = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk::<2>()?));
    let flag = |bit: u8| rest.first().map(|flags| Value::from(flags >> bit & 1 == 1));
    let mut say = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            said.insert(key.to_owned(), value);
        }
    };
    match (*owner, subtype) {
        (DOT1, 1) => say("switch_port_untagged_vlan_id", word(0).map(Value::from)),
        (DOT1, 2) => {
            say("switch_port_protocol_vlan_support", flag(1));
            say("switch_port_protocol_vlan_enabled", flag(2));
            append(
                said,
                "switch_port_protocol_vlan_ids",
                rest.get(1..)
                    .and_then(<[u8]>::first_chunk::<2>)
                    .map(|id| Value::from(u16::from_be_bytes(*id))),
            );
        }
        (DOT1, 3) => {
            let length = rest.get(2).copied().map_or(0, usize::from);
            let name = rest.get(3..).and_then(|rest| rest.get(..length)).and_then(text);
            append(said, "switch_port_vlans", word(0).map(|id| json!({ "id": id, "name": name })));
        }
        (DOT1, 4) => {
            let protocol =
                rest.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
            append(
                said,
                "switch_protocol_identities",
                protocol.map(|bytes| Value::from(hex(bytes))),
            );
        }
        (DOT1, 6) => say("switch_port_management_vlan_id", word(0).map(Value::from)),
        (DOT1, 7) | (DOT3, 3) => {
            say("switch_port_link_aggregation_support", flag(0));
            say("switch_port_link_aggregation_enabled", flag(1));
            let id =
                rest.get(1..).and_then(<[u8]>::first_chunk::<4>).map(|id| u32::from_be_bytes(*id));
            say("switch_port_link_aggregation_id", id.map(Value::from));
        }
        (DOT3, 1) => {
            say("switch_port_autonegotiation_support", flag(0));
            say("switch_port_autonegotiation_enabled", flag(1));
            // ifMauType of RFC 4836.
            say("switch_port_mau_type", word(3).map(Value::from));
        }
        (DOT3, 4) => say("switch_port_mtu", word(0).map(Value::from)),
        _ => {}
    }
}
