//! Everything a test or the demo needs, up: machines with BMCs on a provisioning network, an image server, a coordinator.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::{Api, Node};
use crate::bmc::{self, Bmc, Kind};
use crate::coordinator::{Cleaning, Coordinator, Deadlines, Options};
use crate::host::Service;
use crate::image_server::ImageServer;
use crate::machine::{BootDevice, Bus, DiskSpec, Firmware, Machine, Spec};
use crate::runs::Inputs;
use crate::{dnsmasq, inside, net, runs};

/// Port of the image server on the provisioning network.
const IMAGE_PORT: u16 = 8088;

/// First local port of the in-band and console links between BMCs and machines; each machine has two.
const FIRST_LINK_PORT: u16 = 9100;

/// What varies between machines of a lab.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Firmware.
    pub firmware: Firmware,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Disks; the first is booted.
    pub disks: Vec<DiskSpec>,
    /// Its BMC.
    pub bmc: Kind,
    /// Further hardware, as QEMU's arguments.
    pub hardware: Vec<String>,
}

impl MachineSpec {
    /// A machine with one empty NVMe disk of 4 GiB and 1 GiB of memory.
    #[must_use]
    pub fn new(firmware: Firmware) -> Self {
        let disk = DiskSpec {
            bus: Bus::Nvme,
            bytes: 4 << 30,
            serial: "LAB-DISK-0".into(),
            sector_bytes: 512,
            write_limit: None,
        };
        Self {
            firmware,
            memory_mib: 1024,
            disks: vec![disk],
            bmc: Kind::default(),
            hardware: Vec::new(),
        }
    }
}

/// What a lab has.
#[derive(Debug, Clone)]
pub struct LabSpec {
    /// Its machines, powered off.
    pub machines: Vec<MachineSpec>,
    /// Boots of the ramdisk before work is given up.
    pub attempts: u32,
    /// The coordinator's deadlines.
    pub deadlines: Deadlines,
    /// What automated cleaning does.
    pub cleaning: Cleaning,
    /// Plugins of this run whose authors are trusted, by name. They are offered once [`Lab::offer`] says so.
    pub plugins: Vec<&'static str>,
    /// Public keys of other authors who are trusted.
    pub authors: Vec<PathBuf>,
    /// Another rescue archive than the built one.
    pub rescue: Option<PathBuf>,
}

impl LabSpec {
    /// A lab with these machines and the usual deadlines.
    #[must_use]
    pub fn new(machines: Vec<MachineSpec>) -> Self {
        Self {
            machines,
            attempts: 3,
            deadlines: Deadlines::default(),
            cleaning: Cleaning::default(),
            plugins: Vec::new(),
            authors: Vec::new(),
            rescue: None,
        }
    }
}

/// Machines with BMCs on a provisioning network with DHCP: what stands in a data centre before we come.
#[derive(Debug)]
pub struct Rack {
    /// The machines.
    pub machines: Vec<Machine>,
    /// Their BMCs, by the same index.
    pub bmcs: Vec<Bmc>,
    kinds: Vec<Kind>,
    _dnsmasq: Service,
}

impl Rack {
    /// Sets it up with its files in `dir`; iPXE is sent to `boot_url`.
    ///
    /// # Errors
    ///
    /// Outside of a run, or what the part that failed says.
    pub async fn start(dir: &Path, specs: &[MachineSpec], boot_url: &str) -> anyhow::Result<Self> {
        Self::start_leasing(dir, specs, boot_url, dnsmasq::LEASE_MINUTES).await
    }

    /// The same with leases of so many minutes.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub async fn start_leasing(
        dir: &Path,
        specs: &[MachineSpec],
        boot_url: &str,
        minutes: u32,
    ) -> anyhow::Result<Self> {
        inside::confirm()?;
        let count = u8::try_from(specs.len()).unwrap_or(u8::MAX);
        ensure!(count <= net::MAX_MACHINES, "a lab has at most {} machines", net::MAX_MACHINES);
        net::up(count)?;
        let dnsmasq = dnsmasq::start(&dir.join("dnsmasq"), boot_url, minutes).await?;
        let (mut machines, mut bmcs) = (Vec::new(), Vec::new());
        for (index, spec) in (0..count).zip(specs) {
            let machine_dir = dir.join("machines").join(index.to_string());
            let machine = Machine::create(&machine_dir, machine_spec(index, spec))?;
            bmcs.push(start_bmc(spec.bmc, &machine, net::bmc(index)).await?);
            machines.push(machine);
        }
        let kinds = specs.iter().map(|spec| spec.bmc).collect();
        Ok(Self { machines, bmcs, kinds, _dnsmasq: dnsmasq })
    }

    /// Starts the BMC of machine `index` again; the machine does not notice.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub async fn restart_bmc(&mut self, index: usize) -> anyhow::Result<()> {
        let address = self.bmcs[index].address();
        self.bmcs[index].kill();
        self.bmcs[index] = start_bmc(self.kinds[index], &self.machines[index], address).await?;
        Ok(())
    }
}

/// The BMC of a machine, with its files beside the machine's.
async fn start_bmc(kind: Kind, machine: &Machine, address: SocketAddrV4) -> anyhow::Result<Bmc> {
    match kind {
        Kind::IpmiSim => Bmc::ipmi_sim(&machine.file("bmc"), machine, address).await,
        Kind::Own => Bmc::own(machine, address).await,
    }
}

fn machine_spec(index: u8, spec: &MachineSpec) -> Spec {
    let port = FIRST_LINK_PORT + 2 * u16::from(index);
    Spec {
        name: format!("machine-{index}"),
        firmware: spec.firmware,
        memory_mib: spec.memory_mib,
        mac: net::mac(index),
        tap: Some(net::tap(index)),
        disks: spec.disks.clone(),
        serial: format!("LAB-{index:04}"),
        uuid: Uuid::from_u128(0x4c41_4200_0000_4000_8000_0000_0000_0000 | u128::from(index)),
        default_boot: BootDevice::Disk,
        kcs_port: Some(port),
        sol_port: Some(port + 1),
        hardware: spec.hardware.clone(),
    }
}

/// A whole lab. Dropping it ends its programs; the machines end with the run.
#[derive(Debug)]
pub struct Lab {
    /// Machines and BMCs.
    pub rack: Rack,
    /// Serves operating system images.
    pub images: ImageServer,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// A client of its API.
    pub api: Api,
    /// What was built for this run.
    pub inputs: Inputs,
    /// The run's directory.
    pub dir: PathBuf,
}

impl Lab {
    /// Starts a lab inside the run this process lives in.
    ///
    /// # Errors
    ///
    /// Outside of a run, or what the part that failed says.
    pub async fn start(spec: &LabSpec) -> anyhow::Result<Self> {
        let dir = runs::dir_of_this_run()?;
        let inputs = Inputs::of_this_run()?;
        let rack = Rack::start(&dir, &spec.machines, &Coordinator::boot_url()).await?;
        let images = ImageServer::start((net::HOST, IMAGE_PORT)).await?;
        let bundle = |name: &&str| {
            inputs.plugin(name).with_context(|| format!("this run has no plugin {name}"))
        };
        let bundles = spec.plugins.iter().map(bundle).collect::<anyhow::Result<Vec<_>>>()?;
        let options = Options {
            plugin_keys: bundles
                .iter()
                .map(|bundle| &bundle.key)
                .chain(&spec.authors)
                .cloned()
                .collect(),
            kernel: inputs.kernel.clone(),
            ramdisk: inputs.ramdisk.clone(),
            rescue: spec.rescue.clone().unwrap_or_else(|| inputs.rescue.clone()),
            attempts: spec.attempts,
            deadlines: spec.deadlines,
            cleaning: spec.cleaning,
        };
        let coordinator =
            Coordinator::start(&inputs.coordinator, &dir.join("coordinator"), &options).await?;
        let api = coordinator.api()?;
        Ok(Self { rack, images, coordinator, api, inputs, dir })
    }

    /// Puts a plugin's bundle into the coordinator's folder, as an operator does.
    ///
    /// # Errors
    ///
    /// When this run has no such plugin.
    pub fn offer(&self, name: &str) -> anyhow::Result<()> {
        let bundle =
            self.inputs.plugin(name).with_context(|| format!("this run has no plugin {name}"))?;
        self.offer_file(name.rsplit('/').next().unwrap_or(name), &bundle.file)
    }

    /// The same with a bundle of the caller's own.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn offer_file(&self, short: &str, bundle: &Path) -> anyhow::Result<()> {
        let (partial, file) = (format!("{short}.partial"), format!("{short}.plugin"));
        let folder = self.coordinator.plugins();
        std::fs::copy(bundle, folder.join(&partial))?;
        std::fs::rename(folder.join(partial), folder.join(file))?;
        Ok(())
    }

    /// Enrols machine `index` under `name`, with its network port.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn enrol(&self, index: usize, name: &str) -> anyhow::Result<Node> {
        let machine = &self.rack.machines[index];
        let node = self.api.create_node(&self.node_body(index, name)).await?;
        self.api.create_port(node.uuid, &machine.spec().mac).await?;
        Ok(node)
    }

    /// The body that enrols machine `index`.
    #[must_use]
    pub fn node_body(&self, index: usize, name: &str) -> Value {
        let (spec, bmc) = (self.rack.machines[index].spec(), &self.rack.bmcs[index]);
        let boot_mode = match spec.firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        };
        json!({
            "name": name,
            "driver": "ipmi",
            "driver_info": {
                "ipmi_address": bmc.address().ip().to_string(),
                "ipmi_port": bmc.address().port(),
                "ipmi_username": bmc::USERNAME,
                "ipmi_password": bmc::PASSWORD,
            },
            "properties": {
                "cpus": 1,
                "cpu_arch": "x86_64",
                "memory_mb": spec.memory_mib,
                "local_gb": spec.disks.first().map_or(0, |disk| disk.bytes >> 30),
                "capabilities": format!("boot_mode:{boot_mode}"),
            },
        })
    }
}
