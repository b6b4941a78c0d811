//! Settings for dnsmasq, which does DHCP and TFTP: firmware gets iPXE, iPXE gets our first script.

use std::net::{IpAddr, Ipv4Addr};

use crate::settings::Settings;

/// A dnsmasq configuration for this coordinator's provisioning network.
///
/// It serves the /24 around the provisioning address, on the interface that has this address, and no DNS. What another network
/// needs otherwise is to be changed in the lines that say so.
#[must_use]
pub fn dnsmasq_config(settings: &Settings) -> String {
    let provisioning = &settings.provisioning;
    let listen = provisioning.listen;
    let address = match listen.map(|listen| listen.ip()) {
        Some(IpAddr::V4(address)) if !address.is_unspecified() => address,
        // Not known: the documentation's network, which the comment asks to replace.
        _ => advertised(provisioning.advertise.as_deref()).unwrap_or(Ipv4Addr::new(192, 0, 2, 1)),
    };
    let port = listen.map_or(6386, |listen| listen.port());
    let host = provisioning.advertise.as_deref().map_or_else(|| address.to_string(), bracketed);
    let [a, b, c, _] = address.octets();
    let root = settings.state_dir.join("tftp");
    format!(
        "\
# Ironwright: DHCP and TFTP for the provisioning network. No DNS.
port=0
# The coordinator's address there; dnsmasq serves the interface that has it.
listen-address={address}
bind-interfaces
except-interface=lo
# Change for networks that are no /24.
dhcp-range={a}.{b}.{c}.50,{a}.{b}.{c}.250,255.255.255.0,10m
dhcp-authoritative
no-ping
log-dhcp

# Firmware: iPXE by TFTP. Put undionly.kpxe and snponly.efi there (Debian: package ipxe, /usr/lib/ipxe).
enable-tftp
tftp-root={root}
dhcp-match=set:ipxe,175
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:efi64,option:client-arch,7
dhcp-match=set:efi64,option:client-arch,9
dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe
dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi
# iPXE: the coordinator's first script.
dhcp-boot=tag:ipxe,http://{host}:{port}/boot/ipxe

# iPXE waits 13 s for an IPv6 router where none answers. To spare that, give the interface an IPv6 address (here
# fd00:77::1/64) and take the marks off these lines, with its name in place of br0:
#enable-ra
#dhcp-range=fd00:77::,ra-only,64,10m
#ra-param=br0,0,600
",
        root = root.display(),
    )
}

fn advertised(advertise: Option<&str>) -> Option<Ipv4Addr> {
    advertise?.parse().ok()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn settings(listen: &str) -> Settings {
        let mut settings = Settings::default();
        settings.provisioning.listen = Some(listen.parse().unwrap());
        settings
    }

    #[test]
    fn ipxe_is_sent_to_the_first_script_and_firmware_to_ipxe() {
        let config = dnsmasq_config(&settings("172.22.0.1:6388"));
        for line in [
            "listen-address=172.22.0.1",
            "dhcp-range=172.22.0.50,172.22.0.250,255.255.255.0,10m",
            "dhcp-boot=tag:ipxe,http://172.22.0.1:6388/boot/ipxe",
            "dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi",
        ] {
            assert!(config.lines().any(|found| found == line), "{line}\n{config}");
        }
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "dnsmasq itself is asked whether it reads what we print"
    )]
    fn dnsmasq_accepts_the_settings() {
        let mut commented = dnsmasq_config(&settings("172.22.0.1:6388"));
        for line in ["enable-ra", "dhcp-range=fd00", "ra-param"] {
            commented = commented.replace(&format!("#{line}"), line);
        }
        for config in [dnsmasq_config(&Settings::default()), commented] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(config.as_bytes()).unwrap();
            let run = std::process::Command::new("dnsmasq")
                .arg("--test")
                .arg(format!("--conf-file={}", file.path().display()))
                .output();
            match run {
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert!(output.status.success(), "{said}\n{config}");
                }
                Err(error) => {
                    println!("skipped: dnsmasq cannot be run: {error}");
                    return;
                }
            }
        }
    }
}
