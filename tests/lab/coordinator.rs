//! The real coordinator as a child process, with a settings file of the lab's.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::api::Api;
use crate::host::{self, Program, Service};
use crate::net;

/// Where the operator's API listens inside a run.
pub const API: &str = "127.0.0.1:6385";

/// Port of the provisioning side: boot script, kernel, ramdisk (plain HTTP).
pub const PROVISIONING_PORT: u16 = 6388;

/// Port of the provisioning side: lookup and heartbeat (pinned TLS).
pub const PROVISIONING_TLS_PORT: u16 = 6389;

/// How long a coordinator may take until its API answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What the lab sets; the rest is the coordinator's default.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ramdisk's kernel.
    pub kernel: PathBuf,
    /// Ramdisk.
    pub ramdisk: PathBuf,
    /// What makes it a rescue system.
    pub rescue: PathBuf,
    /// Boots of the ramdisk before work is given up.
    pub attempts: u32,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Cleaning.
    pub cleaning: Cleaning,
    /// Public keys of plugins' authors; none: no plugins.
    pub plugin_keys: Vec<PathBuf>,
}

/// What automated cleaning does.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cleaning {
    /// Priority of the erase of all data; 0: off, as emulated disks are slow.
    pub erase_devices_priority: u32,
    /// Disks of one machine erased at once.
    pub concurrency: u32,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self { erase_devices_priority: 0, concurrency: 4 }
    }
}

/// Deadlines of the work, seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Deadlines {
    /// From power on to the agent's first word.
    pub await_agent: u64,
    /// Silence after which an agent is given up.
    pub agent_silent: u64,
    /// A whole deploy.
    pub deploy: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { await_agent: 300, agent_silent: 60, deploy: 1800 }
    }
}

/// A coordinator in a directory. Dropping it kills it.
#[derive(Debug)]
pub struct Coordinator {
    binary: PathBuf,
    dir: PathBuf,
    service: Service,
}

impl Coordinator {
    /// The URL of the boot script that iPXE is sent to.
    #[must_use]
    pub fn boot_url() -> String {
        format!("http://{}:{PROVISIONING_PORT}/boot/ipxe", net::HOST)
    }

    /// Starts `binary` with its files in `dir` and waits until its API answers.
    ///
    /// # Errors
    ///
    /// When it ends or does not answer within 20 seconds, with the last lines of its log.
    pub async fn start(binary: &Path, dir: &Path, options: &Options) -> anyhow::Result<Self> {
        let folder = plugins(dir);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        std::fs::write(dir.join("coordinator.toml"), settings(dir, options)?)?;
        let service = spawn(binary, dir)?;
        let mut this = Self { binary: binary.to_owned(), dir: dir.to_owned(), service };
        this.wait_until_it_answers().await?;
        Ok(this)
    }

    /// A client of its API.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be built.
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(format!("http://{API}"))
    }

    /// Kills it (SIGKILL), as a power cut would.
    pub fn kill(&mut self) {
        self.service.kill();
    }

    /// Starts it again on the same files and waits until its API answers.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.service.kill();
        self.service = spawn(&self.binary, &self.dir)?;
        self.wait_until_it_answers().await
    }

    /// Its folder of plugins.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        plugins(&self.dir)
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        log(&self.dir)
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let (api, end) = (self.api()?, Instant::now() + START_LIMIT);
        while !api.answers().await {
            if let Some(status) = self.service.ended()? {
                bail!("the coordinator ended ({status}):\n{}", host::tail(&self.log(), 15));
            }
            if Instant::now() >= end {
                let seconds = START_LIMIT.as_secs();
                bail!(
                    "no coordinator at {API} after {seconds} s:\n{}",
                    host::tail(&self.log(), 15)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn plugins(dir: &Path) -> PathBuf {
    dir.join("plugins")
}

fn log(dir: &Path) -> PathBuf {
    dir.join("coordinator.log")
}

fn spawn(binary: &Path, dir: &Path) -> anyhow::Result<Service> {
    let settings = dir.join("coordinator.toml");
    let program = Program::new(binary).args(["serve", "--config"]).arg(settings).dir(dir);
    Ok(program.service(&log(dir))?)
}

#[derive(Serialize)]
struct Settings {
    listen: &'static str,
    database: PathBuf,
    state_dir: PathBuf,
    provisioning: Provisioning,
    boot: BootSettings,
    deadlines: Deadlines,
    cleaning: Cleaning,
    plugins: Plugins,
    ipmi: Ipmi,
}

#[derive(Serialize)]
struct Plugins {
    dir: PathBuf,
    keys: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Provisioning {
    listen: SocketAddrV4,
    tls_listen: SocketAddrV4,
}

#[derive(Serialize)]
struct BootSettings {
    kernel: PathBuf,
    ramdisk: PathBuf,
    rescue: PathBuf,
    kernel_append_params: &'static str,
    attempts: u32,
}

#[derive(Serialize)]
struct Ipmi {
    min_command_interval_ms: u64,
}

fn settings(dir: &Path, options: &Options) -> anyhow::Result<String> {
    let settings = Settings {
        listen: API,
        database: dir.join("ironwright.db"),
        state_dir: dir.join("state"),
        provisioning: Provisioning {
            listen: SocketAddrV4::new(net::HOST, PROVISIONING_PORT),
            tls_listen: SocketAddrV4::new(net::HOST, PROVISIONING_TLS_PORT),
        },
        boot: BootSettings {
            kernel: options.kernel.clone(),
            ramdisk: options.ramdisk.clone(),
            rescue: options.rescue.clone(),
            kernel_append_params: "console=ttyS0 sysrq_always_enabled",
            attempts: options.attempts,
        },
        deadlines: options.deadlines,
        cleaning: options.cleaning,
        plugins: Plugins { dir: plugins(dir), keys: options.plugin_keys.clone() },
        // The simulated BMCs need no rest between commands.
        ipmi: Ipmi { min_command_interval_ms: 0 },
    };
    toml::to_string(&settings).context("writing the coordinator's settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_name_both_sides_and_the_ramdisk() {
        let options = Options {
            kernel: "/a/vmlinuz".into(),
            ramdisk: "/a/initrd".into(),
            rescue: "/a/rescue".into(),
            attempts: 3,
            deadlines: Deadlines::default(),
            cleaning: Cleaning::default(),
            plugin_keys: Vec::new(),
        };
        let text = settings(Path::new("/x"), &options).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["listen"].as_str(), Some("127.0.0.1:6385"));
        assert_eq!(table["provisioning"]["tls_listen"].as_str(), Some("172.22.0.1:6389"));
        assert_eq!(table["boot"]["kernel"].as_str(), Some("/a/vmlinuz"));
        assert_eq!(table["deadlines"]["agent_silent"].as_integer(), Some(60));
        assert_eq!(table["cleaning"]["erase_devices_priority"].as_integer(), Some(0));
        assert_eq!(table["ipmi"]["min_command_interval_ms"].as_integer(), Some(0));
    }

    #[tokio::test]
    async fn a_coordinator_that_ends_at_once_is_reported_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("fake");
        std::fs::write(&binary, "#!/bin/sh\necho the database is locked >&2\nexit 4\n").unwrap();
        crate::host::run("chmod", &["+x", &binary.display().to_string()]).unwrap();
        let options = Options {
            kernel: "k".into(),
            ramdisk: "r".into(),
            rescue: "s".into(),
            attempts: 1,
            deadlines: Deadlines::default(),
            cleaning: Cleaning::default(),
            plugin_keys: Vec::new(),
        };
        let error =
            Coordinator::start(&binary, dir.path(), &options).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 4") && error.contains("locked"), "{error}");
    }
}
