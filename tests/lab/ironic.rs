//! The real Ironic, API and conductor in one process, from PyPI, in a virtual environment of its own in the cache.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::api::Api;
use crate::host::{Program, Service};
use crate::venv;

/// The release the tests were written against.
const RELEASE: &str = "ironic==39.0.0";

/// The newest version of its API that the tests speak.
const MICROVERSION: &str = "1.95";

/// How long it may take to answer for the first time.
const START: Duration = Duration::from_secs(180);

/// How long it may take to end.
const END: Duration = Duration::from_secs(20);

/// Installs it once and returns the folder of its programs.
///
/// # Errors
///
/// What `python3 -m venv` or `pip` say.
pub fn install() -> anyhow::Result<PathBuf> {
    Ok(venv::install("ironic", RELEASE)?.join("bin"))
}

/// Where it listens and what it is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address of its API, also for ramdisks.
    pub address: IpAddr,
    /// The port of its API.
    pub port: u16,
    /// Where machines fetch what is in its `httpboot`.
    pub http_url: String,
    /// Settings by `[section]`, after ours.
    pub more: String,
}

/// An Ironic at work. It ends with this value.
#[derive(Debug)]
pub struct Ironic {
    service: Service,
    folder: PathBuf,
    /// A client of its API.
    pub api: Api,
}

impl Ironic {
    /// Starts it in `folder`, which must be empty, and waits until its API answers.
    ///
    /// # Errors
    ///
    /// What its programs say.
    pub async fn start(folder: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let bin = install()?;
        for name in ["cert", "deploylogs", "httpboot", "images", "master_images", "tftpboot"] {
            fs::create_dir_all(folder.join(name))?;
        }
        // Enabling ipxe needs the files to exist; firmware gets them from elsewhere.
        for name in ["snponly.efi", "undionly.kpxe"] {
            fs::write(folder.join("tftpboot").join(name), "")?;
        }
        let config = folder.join("ironic.conf");
        fs::write(&config, configuration(folder, settings))?;
        // Its own tools (mkisofs for config drives) are looked up in PATH.
        let program =
            |name: &str| Program::new(bin.join(name)).arg("--config-file").arg(&config).dir(folder);
        program("ironic-dbsync").arg("create_schema").text().context("making its database")?;
        let service = program("ironic").service(&folder.join("ironic.log"))?;
        let api = Api::new(format!("http://{}:{}", settings.address, settings.port))?;
        let mut ironic =
            Self { service, folder: folder.to_owned(), api: api.speaking(MICROVERSION) };
        let end = Instant::now() + START;
        while !ironic.has_conductor().await {
            let ended = ironic.service.ended()?;
            anyhow::ensure!(
                ended.is_none() && Instant::now() < end,
                "Ironic does not answer: {}",
                ironic.tail()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(ironic)
    }

    async fn has_conductor(&self) -> bool {
        let conductors = self.api.send(reqwest::Method::GET, "/v1/conductors", None).await;
        conductors
            .is_ok_and(|answer| answer["conductors"].as_array().is_some_and(|c| !c.is_empty()))
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.service.tail(60)
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Ironic {
    fn drop(&mut self) {
        // It has a process of its own for the work, which a killed parent would leave behind.
        let pid = i32::try_from(self.service.pid()).map(Pid::from_raw);
        if let Ok(pid) = pid
            && kill(pid, Signal::SIGTERM).is_ok()
        {
            self.service.wait(END).ok();
        }
    }
}

fn configuration(folder: &Path, settings: &Settings) -> String {
    let Settings { address, port, http_url, more } = settings;
    let run = folder.display();
    format!(
        "[DEFAULT]
auth_strategy = noauth
rpc_transport = none
host = localhost
my_ip = {address}
state_path = {run}
tempdir = {run}
enabled_hardware_types = fake-hardware,ipmi
enabled_boot_interfaces = fake,ipxe
enabled_deploy_interfaces = fake,direct
enabled_inspect_interfaces = no-inspect,agent,fake
enabled_management_interfaces = fake,ipmitool,noop
enabled_power_interfaces = fake,ipmitool
enabled_network_interfaces = noop
default_network_interface = noop
enabled_raid_interfaces = no-raid,agent,fake
enabled_rescue_interfaces = no-rescue,agent,fake
enabled_bios_interfaces = no-bios,fake
enabled_firmware_interfaces = no-firmware,fake
enabled_console_interfaces = no-console,fake
enabled_storage_interfaces = noop,fake
enabled_vendor_interfaces = no-vendor,fake
[api]
host_ip = {address}
port = {port}
public_endpoint = http://{address}:{port}
[database]
connection = sqlite:///{run}/ironic.sqlite
[service_catalog]
auth_type = none
endpoint_override = http://{address}:{port}
[deploy]
http_root = {run}/httpboot
http_url = {http_url}
[dhcp]
dhcp_provider = none
[pxe]
tftp_root = {run}/tftpboot
tftp_master_path = {run}/master_images
images_path = {run}/images
instance_master_path = {run}/master_images
[agent]
certificates_path = {run}/cert
deploy_logs_local_path = {run}/deploylogs
post_deploy_get_power_state_retry_interval = 1
[inventory]
data_backend = database
[oslo_concurrency]
lock_path = {run}
{more}
"
    )
}
