//! The BMC's own addresses, asked through the machine (IPMI 2.0, 22.24 Get Channel Info, 23.2 Get LAN Configuration Parameters).
//!
//! A BMC can be slow: this is not asked for the first heartbeat.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::sys::bmc::{Bmc, BmcError};

/// What Ironic shows for a BMC that has no address.
const NO_IPV4: &str = "0.0.0.0";
const NO_IPV6: &str = "::/0";

/// Channels that can be a network (Ironic asks the same).
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=11;
/// Medium type of 802.3 networks (table 6-3).
const LAN: u8 = 4;
/// Addresses of one kind that are looked at.
const ADDRESSES_MAX: u8 = 4;

/// Network functions and commands.
const APP: u8 = 0x06;
const CHANNEL_INFO: u8 = 0x42;
const TRANSPORT: u8 = 0x0c;
const LAN_PARAMETERS: u8 = 0x02;
/// Parameters (table 23-4).
const IP_ADDRESS: u8 = 3;
const MAC_ADDRESS: u8 = 5;
const STATIC_IPV6: u8 = 56;
const DYNAMIC_IPV6: u8 = 59;

/// Ironic's three fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BmcAddresses {
    /// IPv4; `0.0.0.0` where the BMC has none, none where there is no BMC.
    pub bmc_address: Option<String>,
    /// IPv6; `::/0` where the BMC has none, none where there is no BMC.
    pub bmc_v6address: Option<String>,
    /// Hardware address of its network port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmc_mac: Option<String>,
}

/// Asks `bmc`. What it does not answer is not known; a BMC that is silent once is not asked further.
pub(super) fn collect(bmc: &mut dyn Bmc) -> BmcAddresses {
    let mut found = BmcAddresses {
        bmc_address: Some(NO_IPV4.to_owned()),
        bmc_v6address: Some(NO_IPV6.to_owned()),
        bmc_mac: None,
    };
    for channel in CHANNELS {
        match ask_channel(bmc, channel, &mut found) {
            Ok(true) => return found,
            Ok(false) | Err(BmcError::Refused { .. }) => {}
            Err(error @ (BmcError::Silent { .. } | BmcError::Driver(_))) => {
                tracing::warn!(
                    "the BMC's addresses are not known: {}",
                    crate::report::chain(&error)
                );
                return found;
            }
        }
    }
    found
}

/// Takes what a channel says; whether it has an address.
fn ask_channel(bmc: &mut dyn Bmc, channel: u8, found: &mut BmcAddresses) -> Result<bool, BmcError> {
    let info = bmc.ask(APP, CHANNEL_INFO, &[channel])?;
    if info.get(1).map(|medium| medium & 0x7f) != Some(LAN) {
        return Ok(false);
    }
    let v4 = parameter(bmc, channel, IP_ADDRESS, 0)?;
    let v4 = v4
        .as_deref()
        .and_then(|bytes| bytes.first_chunk::<4>())
        .map(|octets| Ipv4Addr::from(*octets));
    let v4 = v4.filter(|address| !address.is_unspecified() && !address.is_broadcast());
    let v6 = ipv6(bmc, channel)?;
    if v4.is_none() && v6.is_none() {
        return Ok(false);
    }
    let mac = parameter(bmc, channel, MAC_ADDRESS, 0)?;
    let mac = mac.as_deref().and_then(|bytes| bytes.first_chunk::<6>());
    found.bmc_mac = mac
        .filter(|mac| **mac != [0; 6])
        .map(|mac| mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
    if let Some(v4) = v4 {
        found.bmc_address = Some(v4.to_string());
    }
    if let Some(v6) = v6 {
        found.bmc_v6address = Some(v6.to_string());
    }
    Ok(true)
}

/// The first address in use: those of the network before those that were set by hand, as Ironic has it.
fn ipv6(bmc: &mut dyn Bmc, channel: u8) -> Result<Option<Ipv6Addr>, BmcError> {
    for kind in [DYNAMIC_IPV6, STATIC_IPV6] {
        for set in 0..ADDRESSES_MAX {
            let Some(entry) = parameter(bmc, channel, kind, set)? else { break };
            let address = entry.get(2..18).and_then(|bytes| bytes.first_chunk::<16>());
            let address = address.map(|octets| Ipv6Addr::from(*octets));
            // Bit 7 of the second byte of a static entry: enabled. Status 0: active.
            let enabled =
                kind == DYNAMIC_IPV6 || entry.get(1).is_some_and(|flags| flags & 0x80 != 0);
            let active = entry.get(19).is_none_or(|status| *status == 0);
            let usable =
                |address: &Ipv6Addr| !address.is_unspecified() && !address.is_unicast_link_local();
            if let Some(address) = address.filter(usable).filter(|_| enabled && active) {
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

/// A LAN parameter without its revision byte; none where this BMC does not know it.
fn parameter(
    bmc: &mut dyn Bmc,
    channel: u8,
    number: u8,
    set: u8,
) -> Result<Option<Vec<u8>>, BmcError> {
    match bmc.ask(TRANSPORT, LAN_PARAMETERS, &[channel, number, set, 0]) {
        Ok(answer) => Ok(answer.get(1..).map(<[u8]>::to_vec)),
        Err(BmcError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as a captured BMC does: network function, command, data, answer.
    struct FakeBmc(Vec<(u8, u8, Vec<u8>, Vec<u8>)>);

    impl Bmc for FakeBmc {
        fn ask(&mut self, net_fn: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, BmcError> {
            let known = |(f, c, d, _): &&(u8, u8, Vec<u8>, Vec<u8>)| {
                (*f, *c, d.as_slice()) == (net_fn, command, data)
            };
            let answer = self.0.iter().find(known).map(|(.., answer)| answer.clone());
            answer.ok_or(BmcError::Refused { command, code: 0xcc })
        }
    }

    struct SilentBmc(u32);

    impl Bmc for SilentBmc {
        fn ask(&mut self, _: u8, command: u8, _: &[u8]) -> Result<Vec<u8>, BmcError> {
            self.0 += 1;
            Err(BmcError::Silent { command })
        }
    }

    fn lan(channel: u8, number: u8, answer: &[u8]) -> (u8, u8, Vec<u8>, Vec<u8>) {
        (TRANSPORT, LAN_PARAMETERS, vec![channel, number, 0, 0], [&[0x11], answer].concat())
    }

    fn channel(number: u8, medium: u8) -> (u8, u8, Vec<u8>, Vec<u8>) {
        (APP, CHANNEL_INFO, vec![number], vec![number, medium, 1, 0x84, 0xf2, 0x1b, 0, 0, 0])
    }

    #[test]
    fn a_fake_bmcs_addresses_are_those_of_its_first_network_that_has_any() {
        let mut v6 = vec![0, 1];
        v6.extend("2001:db8::5".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend([64, 0]);
        let mut bmc = FakeBmc(vec![
            channel(1, 5),
            channel(2, LAN),
            lan(2, IP_ADDRESS, &[0; 4]),
            channel(8, LAN),
            lan(8, IP_ADDRESS, &[10, 0, 0, 5]),
            lan(8, MAC_ADDRESS, &[0x52, 0x54, 0, 0, 0, 0xb0]),
            lan(8, DYNAMIC_IPV6, &v6),
        ]);
        let found = collect(&mut bmc);
        assert_eq!(found.bmc_address.as_deref(), Some("10.0.0.5"));
        assert_eq!(found.bmc_v6address.as_deref(), Some("2001:db8::5"));
        assert_eq!(found.bmc_mac.as_deref(), Some("52:54:00:00:00:b0"));
    }

    #[test]
    fn a_fake_bmc_without_an_address_is_told_from_no_bmc_and_a_silent_one_is_asked_once() {
        let found = collect(&mut FakeBmc(vec![channel(1, LAN)]));
        assert_eq!(found.bmc_address.as_deref(), Some("0.0.0.0"));
        assert_eq!((found.bmc_v6address.as_deref(), found.bmc_mac), (Some("::/0"), None));
        let mut silent = SilentBmc(0);
        assert_eq!(collect(&mut silent).bmc_address.as_deref(), Some("0.0.0.0"));
        assert_eq!(silent.0, 1);
    }
}
