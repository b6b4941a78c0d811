//! DHCP, TFTP and router advertisements of a run.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::host::{Program, Service};
use crate::net;
use crate::serial::Console;

/// Where Debian's `ipxe` package keeps the boot files of stage 1.
const TFTP_ROOT: &str = "/usr/lib/ipxe";

/// How long a lease is, minutes, where nothing else is asked for.
pub const LEASE_MINUTES: u32 = 10;

/// Starts dnsmasq; machines that speak iPXE are sent to `boot_url`, leases are `minutes` long (dnsmasq takes no less than 2).
///
/// # Errors
///
/// When it cannot be started, or does not say that it serves within 5 seconds.
pub async fn start(dir: &Path, boot_url: &str, minutes: u32) -> anyhow::Result<Service> {
    std::fs::create_dir_all(dir)?;
    let (file, log) = (dir.join("dnsmasq.conf"), dir.join("dnsmasq.log"));
    std::fs::write(&file, config(&dir.join("leases"), boot_url, minutes))?;
    let service = Program::new("dnsmasq")
        .arg("--keep-in-foreground")
        .arg(format!("--pid-file={}", dir.join("dnsmasq.pid").display()))
        .arg(format!("--conf-file={}", file.display()))
        .service(&log)?;
    Console::new(&log)
        .wait_for("DHCP, IP range", Duration::from_secs(5))
        .await
        .context("dnsmasq does not serve DHCP")?;
    Ok(service)
}

/// The settings file. Stage 1 (firmware) gets iPXE over TFTP, stage 2 (iPXE, known by option 175) the coordinator's script.
fn config(leases: &Path, boot_url: &str, minutes: u32) -> String {
    let (bridge, prefix) = (net::BRIDGE, net::IPV6_PREFIX);
    let (first, last) = net::DHCP_RANGE;
    let leases = leases.display();
    format!(
        "port=0\n\
         user=root\n\
         interface={bridge}\n\
         bind-interfaces\n\
         except-interface=lo\n\
         log-facility=-\n\
         log-dhcp\n\
         dhcp-leasefile={leases}\n\
         dhcp-range={first},{last},255.255.255.0,{minutes}m\n\
         dhcp-authoritative\n\
         no-ping\n\
         enable-tftp\n\
         tftp-root={TFTP_ROOT}\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-match=set:bios,option:client-arch,0\n\
         dhcp-match=set:efi64,option:client-arch,7\n\
         dhcp-match=set:efi64,option:client-arch,9\n\
         dhcp-boot=tag:ipxe,{boot_url}\n\
         dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe\n\
         dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi\n\
         enable-ra\n\
         dhcp-range={prefix},ra-only,64,10m\n\
         ra-param={bridge},0,600\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_gets_ipxe_and_ipxe_gets_the_script() {
        let text = config(Path::new("/x/leases"), "http://172.22.0.1:6388/boot/ipxe", 10);
        for line in [
            "dhcp-boot=tag:ipxe,http://172.22.0.1:6388/boot/ipxe",
            "dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe",
            "dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi",
            "dhcp-leasefile=/x/leases",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn no_dns_is_served_and_router_advertisements_are() {
        let text = config(Path::new("/x"), "http://x/", 2);
        assert!(text.starts_with("port=0\n") && text.contains("\nenable-ra\n"));
    }
}
