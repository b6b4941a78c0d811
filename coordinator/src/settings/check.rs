//! The rules between the entries of the settings file.

use super::{AuthStrategy, CleanSettings, PluginSettings, Settings, SettingsError};
use crate::node::interfaces::HARDWARE_TYPES;

/// A month: longer waits are typing errors.
const MAX_SECONDS: u64 = 31 * 24 * 3600;

/// Most disks erased at once: more than any machine has controllers for.
const MAX_CONCURRENCY: u32 = 256;

/// Most boots of a ramdisk for one order: more only hides a machine that does not boot.
const MAX_ATTEMPTS: u32 = 100;

/// Longest pause between two sessions with one BMC, milliseconds: a minute (Ironic's default is 5 s).
const MAX_PAUSE_MS: u64 = 60_000;

impl Settings {
    /// Checks the rules between the entries.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Value`] for the first rule that is broken.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refuse =
            |key, problem: &str| Err(SettingsError::Value { key, problem: problem.to_owned() });
        self.check_access()?;
        let provisioning = &self.provisioning;
        if provisioning.listen.is_some()
            && provisioning.tls_listen.is_none()
            && !provisioning.insecure_plain_http
        {
            return refuse(
                "provisioning.tls_listen",
                "is missing, so agents could only talk over plain HTTP; set it, or set \
                 provisioning.insecure_plain_http = true to accept that anyone on the provisioning network can read \
                 config drives",
            );
        }
        self.check_hardware_types()?;
        self.check_boot()?;
        self.clean.check()?;
        self.plugins.check()?;
        let deadlines = &self.deadlines;
        for (key, seconds) in [
            ("deadlines.await_agent", deadlines.await_agent),
            ("deadlines.agent_silent", deadlines.agent_silent),
            ("deadlines.deploy", deadlines.deploy),
            ("deadlines.clean", deadlines.clean),
            ("deadlines.hold", deadlines.hold),
            ("ipmi.power_state_change_timeout", self.ipmi.power_state_change_timeout),
        ] {
            if seconds == 0 || seconds > MAX_SECONDS {
                return refuse(key, &format!("is {seconds}, must be 1 to {MAX_SECONDS} seconds"));
            }
        }
        let interval = self.power.sync_interval;
        if interval > MAX_SECONDS {
            return refuse(
                "power.sync_interval",
                &format!("is {interval}, must be 0 to {MAX_SECONDS} seconds"),
            );
        }
        let pause = self.ipmi.min_command_interval_ms;
        if pause > MAX_PAUSE_MS {
            return refuse(
                "ipmi.min_command_interval_ms",
                &format!("is {pause}, must be 0 to {MAX_PAUSE_MS} milliseconds"),
            );
        }
        Ok(())
    }

    /// Who may use the operator's API from where.
    fn check_access(&self) -> Result<(), SettingsError> {
        let refuse = |key, problem: String| Err(SettingsError::Value { key, problem });
        let basic = self.auth_strategy == AuthStrategy::HttpBasic;
        if basic != self.http_basic_auth_user_file.is_some() {
            let problem = "and auth_strategy = \"http_basic\" belong together: set both or none";
            return refuse("http_basic_auth_user_file", problem.to_owned());
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return refuse(
                "tls_key",
                "and tls_certificate belong together: set both or none".into(),
            );
        }
        if !self.listen.ip().is_loopback() && !basic {
            let problem = format!(
                "{} is not a loopback address, and there is no authentication; set auth_strategy = \"http_basic\" and \
                 TLS, or listen on 127.0.0.1 or [::1] and reach it through a tunnel",
                self.listen
            );
            return refuse("listen", problem);
        }
        if !self.listen.ip().is_loopback() && self.tls_key.is_none() {
            let problem = format!(
                "{} is not a loopback address, and passwords would travel unencrypted; set tls_certificate and tls_key",
                self.listen
            );
            return refuse("listen", problem);
        }
        Ok(())
    }

    fn check_hardware_types(&self) -> Result<(), SettingsError> {
        let refuse = |problem| Err(SettingsError::Value { key: "enabled_hardware_types", problem });
        let known: Vec<&str> = HARDWARE_TYPES.iter().map(|hardware| hardware.name).collect();
        match self.enabled_hardware_types.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => {
                refuse(format!("names {unknown:?}; the hardware types are {}", known.join(", ")))
            }
            None if self.enabled_hardware_types.is_empty() => {
                refuse(format!("is empty; name at least one of {}", known.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// What goes into boot scripts.
    fn check_boot(&self) -> Result<(), SettingsError> {
        let refuse = |key, problem: String| Err(SettingsError::Value { key, problem });
        let boot = &self.boot;
        if boot.attempts == 0 || boot.attempts > MAX_ATTEMPTS {
            return refuse(
                "boot.attempts",
                format!("is {}, must be 1 to {MAX_ATTEMPTS}", boot.attempts),
            );
        }
        if boot.kernel_append_params.chars().any(char::is_control) {
            return refuse(
                "boot.kernel_append_params",
                "has a line break or control character".into(),
            );
        }
        for (key, file) in [("boot.kernel", &boot.kernel), ("boot.ramdisk", &boot.ramdisk)] {
            if let Some(file) = file
                && !file.is_file()
            {
                let path = file.display();
                return refuse(key, format!("{path} is not a file; build it with ramdisk/build"));
            }
        }
        let host = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
        if let Some(name) = &self.provisioning.advertise
            && (name.is_empty() || !name.chars().all(host))
        {
            let problem = format!("{name:?} is no host name or address (no scheme, no path)");
            return refuse("provisioning.advertise", problem);
        }
        Ok(())
    }
}

impl CleanSettings {
    fn check(&self) -> Result<(), SettingsError> {
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            let problem = format!("is {}, must be 1 to {MAX_CONCURRENCY}", self.concurrency);
            return Err(SettingsError::Value { key: "cleaning.concurrency", problem });
        }
        let refuse = |problem| Err(SettingsError::Value { key: "cleaning.priorities", problem });
        for step in self.priorities.keys() {
            let parts: Vec<&str> = step.split('.').collect();
            if let ["deploy", own @ ("erase_devices" | "erase_devices_metadata")] = parts[..] {
                return refuse(format!("names {step:?}; set cleaning.{own}_priority instead"));
            }
            if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                return refuse(format!("names {step:?}; write \"interface.step\""));
            }
        }
        Ok(())
    }
}

impl PluginSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let refuse = |key, problem| Err(SettingsError::Value { key, problem });
        if self.keys.is_empty() {
            return Ok(());
        }
        if let Some(key) = self.keys.iter().find(|key| !key.is_file()) {
            let problem = format!(
                "names {}, which is not a file; name the FILE.pub of `ironwright-agent plugin keygen`",
                key.display()
            );
            return refuse("plugins.keys", problem);
        }
        if !self.dir.is_dir() {
            let problem = format!(
                "{} is not a folder; make it, and put signed *.plugin bundles into it",
                self.dir.display()
            );
            return refuse("plugins.dir", problem);
        }
        Ok(())
    }
}
