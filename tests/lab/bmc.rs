//! Baseboard management controllers of the lab's machines.

mod ipmi_sim;
mod wired;

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::host::Service;
use crate::lab_bmc::{Account, Faults, LabBmc};
use crate::machine::Machine;

/// User of every lab BMC. Not a secret: nothing outside a run's own network reaches it.
pub const USERNAME: &str = "admin";

/// Password of every lab BMC.
pub const PASSWORD: &str = "labpassword";

/// Which BMC a machine has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// `OpenIPMI`'s simulator: suite 3, an independent peer.
    #[default]
    IpmiSim,
    /// The lab's own: suite 17 only, boot flags it remembers, faults.
    Own,
}

/// A running BMC. Dropping it kills it; the machine stays as it is.
#[derive(Debug)]
pub struct Bmc {
    address: SocketAddrV4,
    works: Works,
}

#[derive(Debug)]
enum Works {
    IpmiSim(Service),
    Own(Option<LabBmc>),
}

impl Bmc {
    /// Starts `OpenIPMI`'s simulator as the BMC of `machine`, listening at `address`, with its files in `dir`.
    ///
    /// # Errors
    ///
    /// When it does not answer within 5 seconds: it says nothing when its settings are wrong.
    pub async fn ipmi_sim(
        dir: &Path,
        machine: &Machine,
        address: SocketAddrV4,
    ) -> anyhow::Result<Self> {
        let mut service = ipmi_sim::start(dir, machine, address)?;
        ipmi_sim::wait_until_it_listens(&mut service, address, Duration::from_secs(5)).await?;
        Ok(Self { address, works: Works::IpmiSim(service) })
    }

    /// Starts the lab's own BMC with cipher suite 17 only.
    ///
    /// # Errors
    ///
    /// When the address cannot be used.
    pub async fn own(machine: &Machine, address: SocketAddrV4) -> anyhow::Result<Self> {
        let account = Account { username: USERNAME.into(), password: PASSWORD.into() };
        let chassis = std::sync::Arc::new(wired::Wired::new(machine.clone()));
        let bmc = LabBmc::start(address.into(), account, &[17], chassis).await?;
        Ok(Self { address, works: Works::Own(Some(bmc)) })
    }

    /// The switches of the lab's own BMC.
    #[must_use]
    pub fn faults(&self) -> Option<&Faults> {
        match &self.works {
            Works::Own(bmc) => bmc.as_ref().map(LabBmc::faults),
            Works::IpmiSim(_) => None,
        }
    }

    /// Where it listens (UDP).
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Takes the BMC away: from now on nothing answers at its address.
    pub fn kill(&mut self) {
        match &mut self.works {
            Works::IpmiSim(service) => service.kill(),
            Works::Own(bmc) => drop(bmc.take()),
        }
    }

    /// Asks with the independent client `ipmitool` (RMCP+, the suite this BMC has) and returns its words.
    ///
    /// # Errors
    ///
    /// What ipmitool says.
    pub fn ipmitool(&self, words: &str) -> anyhow::Result<String> {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let suite = match &self.works {
            Works::IpmiSim(_) => "3",
            Works::Own(_) => "17",
        };
        let text = crate::host::Program::new("ipmitool")
            .args(["-I", "lanplus", "-C", suite, "-H", &host, "-p", &port, "-U", USERNAME, "-E"])
            .env("IPMI_PASSWORD", PASSWORD)
            .args(words.split_whitespace())
            .text()
            .with_context(|| format!("asking the BMC at {}", self.address))?;
        Ok(text.trim().to_owned())
    }
}

/// Whether somebody has bound the UDP address on this network. Looked up, not tried: a trial would take the port from a
/// simulator that starts at that moment. The kernel's table (proc_pid_net(5)) has the address as it lies in memory.
fn is_taken(address: SocketAddrV4) -> bool {
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(local.as_str()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

    use super::*;

    #[test]
    fn a_bound_address_is_taken_and_a_free_one_is_not() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("not IPv4") };
        assert!(is_taken(address));
        drop(socket);
        assert!(!is_taken(address));
    }
}
