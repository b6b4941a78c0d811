//! From a request's name and parameters to what is to be done.

use serde_json::Value;

use super::fault::Refusal;
use crate::steps::Phase;

/// What a conductor may ask for.
#[derive(Debug, Clone)]
pub(super) enum Command {
    GetSteps { phase: Phase, node: Value },
    ExecuteStep { phase: Phase, step: Value, node: Value, versions: Value },
    PrepareImage { args: Value },
    PartitionUuids,
    InstallBootloader(Bootloader),
    Sync,
    PowerOff,
    Reboot,
    FinalizeRescue { password: String },
    CollectLogs,
    Lockdown,
    HardwareInfo,
}

/// How what was written is to be started.
#[derive(Debug, Clone)]
pub(super) struct Bootloader {
    /// By UEFI firmware.
    pub(super) uefi: bool,
    /// The EFI system partition, where the conductor names it.
    pub(super) esp: Option<String>,
    /// A failure is only logged.
    pub(super) ignore_failure: bool,
}

/// The extensions there are: a name in another one is a 404.
const EXTENSIONS: [&str; 9] =
    ["clean", "deploy", "service", "standby", "image", "rescue", "log", "system", "poll"];

/// Longest password hash taken.
const MAX_HASH: usize = 512;

impl Command {
    /// Reads `extension.command` and its parameters. Parameters that are not known are not looked at.
    ///
    /// # Errors
    /// [`Refusal`]: 404 for an unknown extension, else 400.
    pub(super) fn parse(name: &str, params: &Value) -> Result<Self, Refusal> {
        let Some((extension, command)) = name.split_once('.') else {
            return Err(Refusal::new(
                400,
                format!(
                    "Invalid command: Command name must be of the form <extension>.<name>: {name:?}"
                ),
            ));
        };
        if !EXTENSIONS.contains(&extension) {
            return Err(Refusal::new(
                404,
                format!("Requested resource not found: Extension {extension}"),
            ));
        }
        let field = |key: &str| params.get(key).cloned().unwrap_or(Value::Null);
        Ok(match (extension, command) {
            ("clean", "get_clean_steps") => Self::get_steps(Phase::Clean, params),
            ("deploy", "get_deploy_steps") => Self::get_steps(Phase::Deploy, params),
            ("service", "get_service_steps") => Self::get_steps(Phase::Service, params),
            ("clean", "execute_clean_step") => Self::execute(Phase::Clean, params)?,
            ("deploy", "execute_deploy_step") => Self::execute(Phase::Deploy, params)?,
            ("service", "execute_service_step") => Self::execute(Phase::Service, params)?,
            ("standby", "prepare_image") => {
                let args = serde_json::json!({
                    "image_info": field("image_info"), "configdrive": field("configdrive"),
                });
                crate::deploy::image_info::deploy(&args).map_err(|why| invalid(&why.join("; ")))?;
                Self::PrepareImage { args }
            }
            ("standby", "get_partition_uuids") => Self::PartitionUuids,
            ("standby", "run_image") => Self::Reboot,
            ("standby", "power_off") => Self::PowerOff,
            ("standby", "sync") => Self::Sync,
            ("image", "install_bootloader") => Self::bootloader(params)?,
            ("rescue", "finalize_rescue") => Self::rescue(params)?,
            ("log", "collect_system_logs") => Self::CollectLogs,
            ("system", "lockdown") => Self::Lockdown,
            ("poll", "get_hardware_info") => Self::HardwareInfo,
            ("poll", "set_node_info") => {
                return Err(Refusal::new(
                    400,
                    "Invalid command: set_node_info is for standalone agents, this one was looked up",
                ));
            }
            _ => {
                return Err(Refusal::new(
                    400,
                    format!("Invalid command: Unknown command: {command}"),
                ));
            }
        })
    }

    /// Whether the conductor waits for its end only where it asks so.
    pub(super) fn is_asynchronous(&self) -> bool {
        match self {
            Self::ExecuteStep { .. }
            | Self::PrepareImage { .. }
            | Self::InstallBootloader(_)
            | Self::PowerOff
            | Self::Reboot => true,
            Self::GetSteps { .. }
            | Self::PartitionUuids
            | Self::Sync
            | Self::FinalizeRescue { .. }
            | Self::CollectLogs
            | Self::Lockdown
            | Self::HardwareInfo => false,
        }
    }

    /// `root_uuid` is not looked at: the boot loader's own files name the root.
    fn bootloader(params: &Value) -> Result<Self, Refusal> {
        if params["prep_boot_part_uuid"].as_str().is_some_and(|uuid| !uuid.is_empty()) {
            return Err(invalid(
                "prep_boot_part_uuid names a partition of PowerPC machines, which this agent does not make: \
                 correct properties/cpu_arch of the node",
            ));
        }
        let esp = params["efi_system_part_uuid"].as_str().filter(|uuid| !uuid.is_empty());
        Ok(Self::InstallBootloader(Bootloader {
            uefi: params["target_boot_mode"] == "uefi",
            esp: esp.map(str::to_owned),
            ignore_failure: params["ignore_bootloader_failure"] == true,
        }))
    }

    fn get_steps(phase: Phase, params: &Value) -> Self {
        Self::GetSteps { phase, node: params["node"].clone() }
    }

    fn execute(phase: Phase, params: &Value) -> Result<Self, Refusal> {
        let step = &params["step"];
        if step["step"].as_str().is_none_or(str::is_empty) {
            return Err(invalid("step names no step"));
        }
        let versions = params[format!("{}_version", phase.name())].clone();
        Ok(Self::ExecuteStep { phase, step: step.clone(), node: params["node"].clone(), versions })
    }

    /// The conductor hashes the password; a plain one would have to be hashed with what this agent does not have.
    fn rescue(params: &Value) -> Result<Self, Refusal> {
        if params["hashed"] != true {
            return Err(invalid(
                "rescue_password must be a hash, with hashed true: set [conductor]rescue_password_hash_algorithm",
            ));
        }
        let password = params["rescue_password"].as_str().unwrap_or_default();
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if !password.starts_with('$') || password.len() > MAX_HASH || !password.bytes().all(good) {
            return Err(invalid("rescue_password is not a hash as crypt(3) has it ($5$SALT$HASH)"));
        }
        Ok(Self::FinalizeRescue { password: password.to_owned() })
    }
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(400, format!("Invalid command parameters: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_command_is_refused_as_ironics_agent_does() {
        let plain = json!({"rescue_password": "fake-password", "hashed": false});
        let two_lines = json!({"rescue_password": "$5$a$b\nroot::0:0", "hashed": true});
        for (name, params, status, part) in [
            ("sync", json!({}), 400, "must be of the form"),
            ("flow.start_flow", json!({}), 404, "Extension flow"),
            ("standby.cache_image", json!({}), 400, "Unknown command: cache_image"),
            ("clean.execute_clean_step", json!({"step": {}}), 400, "step names no step"),
            ("standby.prepare_image", json!({}), 400, "urls names no URL"),
            ("rescue.finalize_rescue", plain, 400, "must be a hash"),
            ("rescue.finalize_rescue", two_lines, 400, "not a hash"),
            ("poll.set_node_info", json!({}), 400, "standalone"),
            ("image.install_bootloader", json!({"prep_boot_part_uuid": "x"}), 400, "PowerPC"),
        ] {
            let refusal = Command::parse(name, &params).unwrap_err();
            assert_eq!(refusal.status, status, "{name}");
            assert!(refusal.why.contains(part), "{name}: {}", refusal.why);
        }
    }

    #[test]
    fn parameters_that_are_not_known_do_not_matter() {
        let params = json!({"step": {"step": "erase_devices", "interface": "deploy"}, "node": {"x": 1}, "ports": [], "later": 3,
            "clean_version": {"ironwright": "1"}});
        let command = Command::parse("clean.execute_clean_step", &params).unwrap();
        assert!(command.is_asynchronous());
        let Command::ExecuteStep { versions, .. } = command else { panic!("{command:?}") };
        assert_eq!(versions["ironwright"], "1");
    }
}
