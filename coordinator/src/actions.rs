//! What an operator's requests do to a node: they change the record and wake the reconciler, which does the work.
//!
//! The exceptions are the boot device, which Ironic sets and reads while the client waits, and vendor commands.

use ironwright_api::{CleanStep, DeployStep, hash_password};
use ironwright_ipmi::Reset;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use uuid::Uuid;

use crate::app::{App, Change, Severity};
use crate::node::interfaces::class_of;
use crate::node::lifecycle::{Event, Refused, Verb};
use crate::node::order::{self, OrderError};
use crate::node::transition::{self, Asked, TransitionError};
use crate::node::{Node, PowerTarget, ProvisionState};
use crate::node::{pretend, program};
use crate::power::{BmcError, Boot, BootDevice, Command, Vendor, VendorReply, boots_efi};
use crate::store::StoreError;

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// 404.
    #[error("Node {0} could not be found.")]
    NotFound(String),
    /// 400, Ironic's sentence.
    #[error("{0}")]
    Refused(String),
    /// 400: the order cannot be made from what the node says.
    #[error("{0}")]
    Invalid(String),
    /// 403.
    #[error("Node {0} is protected and can not be undeployed, rebuilt or deleted.")]
    Protected(Uuid),
    /// 409.
    #[error(
        "Node {node} is locked by host {host}, please retry after the current operation is completed."
    )]
    Busy {
        /// The node.
        node: Uuid,
        /// This coordinator, or what it is doing.
        host: String,
    },
    /// 500: the BMC did not do it.
    #[error("{}", crate::app::chain(.0))]
    Bmc(BmcError),
    /// 500, or 409 for a conflict.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ActionError {
    /// The HTTP status that Ironic uses for it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Refused(_) | Self::Invalid(_) | Self::Bmc(BmcError::Setting { .. }) => 400,
            Self::Protected(_) => 403,
            Self::Busy { .. }
            | Self::Store(StoreError::Conflict(_) | StoreError::Duplicate { .. }) => 409,
            Self::Bmc(_) | Self::Store(StoreError::Database { .. }) => 500,
        }
    }
}

/// The body of `PUT states/provision`, checked for its shape.
#[derive(Debug, Clone)]
pub struct Request {
    /// The target.
    pub verb: Verb,
    /// The config drive, for `active` and `rebuild`; none: a rebuild keeps the one it has.
    pub configdrive: Option<Value>,
    /// The steps, for `clean` and `service`.
    pub steps: Vec<CleanStep>,
    /// The password of the account `rescue`, for `rescue`. It is hashed at once and then forgotten.
    pub rescue_password: Option<SecretString>,
    /// Steps besides the image, for `active` and `rebuild`.
    pub deploy_steps: Vec<DeployStep>,
    /// Whether `clean` or `service` must do without a ramdisk.
    pub without_ramdisk: bool,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn plain(verb: Verb) -> Self {
        Self {
            verb,
            configdrive: None,
            steps: Vec::new(),
            rescue_password: None,
            deploy_steps: Vec::new(),
            without_ramdisk: false,
        }
    }
}

/// Starts a change of the provision state. The answer is 202: the wish is stored, the work is not done.
///
/// # Errors
///
/// [`ActionError`]; the node is unchanged.
pub async fn provision(app: &App, ident: &str, request: Request) -> Result<(), ActionError> {
    let rescue = match request.rescue_password.clone() {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    let uuid = change(app, ident, |node| ask(app, node, &request, rescue.as_deref())).await?;
    app.note(uuid, Severity::Info, "provisioning", format!("asked to {}", request.verb.text()))
        .await;
    app.waker.wake(uuid);
    Ok(())
}

/// The hash of a password, made where it keeps nobody waiting.
async fn hashed(password: SecretString) -> Result<String, ActionError> {
    tokio::task::spawn_blocking(move || hash_password(password.expose_secret()))
        .await
        .map_err(|_| ActionError::Invalid("The rescue_password could not be hashed.".to_owned()))
}

/// Starts a change of the power state, which may take `timeout_s` seconds if that is said.
///
/// # Errors
///
/// [`ActionError`]; the node is unchanged.
pub async fn power(
    app: &App,
    ident: &str,
    target: PowerTarget,
    timeout_s: Option<u64>,
) -> Result<(), ActionError> {
    let uuid = change(app, ident, |node| {
        if matches!(node.provision_state, ProvisionState::Cleaning | ProvisionState::CleanWait) {
            let sentence =
                Refused { state: node.provision_state, event: Event::Asked(Verb::Clean) }
                    .on(node.uuid);
            return Err(ActionError::Refused(sentence.replacen(
                "\"clean\"",
                &format!("\"{}\"", target.text()),
                1,
            )));
        }
        free(node)?;
        app.power.bmc(node).map_err(ActionError::Bmc)?;
        node.power_request = Some(target);
        node.power_timeout = timeout_s;
        node.target_power_state = Some(target.reaches());
        // Why the node failed stays until the next provisioning action: it says what to do.
        if !node.provision_state.is_failed() {
            node.last_error = None;
        }
        Ok(())
    })
    .await?;
    app.note(uuid, Severity::Info, "power", format!("asked for {}", target.text())).await;
    app.waker.wake(uuid);
    Ok(())
}

/// Sets the boot device now.
///
/// # Errors
///
/// [`ActionError`].
pub async fn set_boot_device(
    app: &App,
    ident: &str,
    device: BootDevice,
    persistent: bool,
) -> Result<(), ActionError> {
    let node = find(app, ident).await?;
    free(&node)?;
    let bmc = app.power.bmc(&node).map_err(ActionError::Bmc)?;
    let boot = Boot { device, persistent, efi: boots_efi(&node) };
    let performed = bmc.perform(&[Command::Boot(boot)]).await.map_err(ActionError::Bmc)?;
    let mut sentence = format!("boot device set to {}", device.text());
    for remark in performed.remarks {
        sentence.push_str("; ");
        sentence.push_str(&remark);
    }
    app.note(node.uuid, Severity::Info, "management", sentence).await;
    Ok(())
}

/// Reads the boot device: its name, and whether it is persistent.
///
/// # Errors
///
/// [`ActionError`].
pub async fn boot_device(
    app: &App,
    ident: &str,
) -> Result<(Option<String>, Option<bool>), ActionError> {
    let node = find(app, ident).await?;
    let bmc = app.power.bmc(&node).map_err(ActionError::Bmc)?;
    let (device, persistent) = bmc.boot_device().await.map_err(ActionError::Bmc)?;
    Ok((device.map(|device| device.text().to_owned()), persistent))
}

/// Lets the BMC do what only its kind does; the data of its reply. The history says what was sent, but not its data: a
/// raw command may carry a password.
///
/// # Errors
///
/// [`ActionError`].
pub async fn vendor(app: &App, node: &Node, command: &Vendor) -> Result<Vec<u8>, ActionError> {
    free(node)?;
    let bmc = app.power.bmc(node).map_err(ActionError::Bmc)?;
    let what = match command {
        Vendor::Raw(raw) => format!(
            "raw command {:#04x} {:#04x} with {} data bytes",
            raw.net_fn(),
            raw.command(),
            raw.data().len()
        ),
        Vendor::Interrupt => "diagnostic interrupt (NMI)".to_owned(),
        Vendor::Identify(true) => "identify light on".to_owned(),
        Vendor::Identify(false) => "identify light off".to_owned(),
        Vendor::Reset(Reset::Cold) => "cold reset of the BMC".to_owned(),
        Vendor::Reset(Reset::Warm) => "warm reset of the BMC".to_owned(),
    };
    let result = bmc.vendor(command).await;
    let (severity, sentence) = match &result {
        Ok(VendorReply::Data(_)) => (Severity::Info, format!("{what}: done")),
        Ok(VendorReply::Silent) => {
            (Severity::Info, format!("{what}: sent, the BMC was gone before it answered"))
        }
        Err(error) => (Severity::Error, format!("{what}: {}", crate::app::chain(error))),
    };
    app.note(node.uuid, severity, "vendor", sentence).await;
    match result.map_err(ActionError::Bmc)? {
        VendorReply::Data(data) => Ok(data),
        VendorReply::Silent => Ok(Vec::new()),
    }
}

/// Asks the BMC something that changes nothing; the data of its reply.
///
/// # Errors
///
/// [`ActionError`].
pub async fn ask_bmc(app: &App, node: &Node, command: &Vendor) -> Result<Vec<u8>, ActionError> {
    let bmc = app.power.bmc(node).map_err(ActionError::Bmc)?;
    match bmc.vendor(command).await.map_err(ActionError::Bmc)? {
        VendorReply::Data(data) => Ok(data),
        VendorReply::Silent => Ok(Vec::new()),
    }
}

/// Switches maintenance on (with an optional reason) or off (which clears reason and fault).
///
/// # Errors
///
/// [`ActionError`].
pub async fn maintenance(
    app: &App,
    ident: &str,
    on: bool,
    reason: Option<&str>,
) -> Result<(), ActionError> {
    let uuid = change(app, ident, |node| {
        node.maintenance = on;
        node.maintenance_reason = reason.filter(|_| on).map(str::to_owned);
        if !on {
            node.fault = None;
        }
        Ok(())
    })
    .await?;
    let sentence = if on { "maintenance switched on" } else { "maintenance switched off" };
    app.note(uuid, Severity::Info, "maintenance", sentence.to_owned()).await;
    Ok(())
}

/// Changes the record of an existing node; returns its identifier.
async fn change(
    app: &App,
    ident: &str,
    mut decide: impl FnMut(&mut Node) -> Result<(), ActionError>,
) -> Result<Uuid, ActionError> {
    let changed = app.change(ident, |node| decide(node).map(Change::Write)).await?;
    changed.map(|(node, ())| node.uuid).ok_or_else(|| ActionError::NotFound(ident.to_owned()))
}

async fn find(app: &App, ident: &str) -> Result<Node, ActionError> {
    app.store.node(ident).await?.ok_or_else(|| ActionError::NotFound(ident.to_owned()))
}

/// Whether nobody else drives the machine right now.
fn free(node: &Node) -> Result<(), ActionError> {
    if node.provision_state.is_busy() || node.power_request.is_some() {
        let doing = match node.power_request {
            Some(target) => target.text(),
            None => node.provision_state.text(),
        };
        return Err(ActionError::Busy { node: node.uuid, host: format!("ironwright ({doing})") });
    }
    Ok(())
}

/// Applies an operator's wish to the record.
fn ask(
    app: &App,
    node: &mut Node,
    request: &Request,
    rescue: Option<&str>,
) -> Result<(), ActionError> {
    let verb = request.verb;
    free(node)?;
    crate::node::lifecycle::next(node.provision_state, Event::Asked(verb))
        .map_err(|refused| ActionError::Refused(refused.on(node.uuid)))?;
    allowed(node, verb)?;
    supported(node, verb)?;
    if let (Verb::Active | Verb::Rebuild, Some(configdrive)) = (verb, &request.configdrive) {
        node.instance_info.insert("configdrive".to_owned(), configdrive.clone());
    }
    steps_fit(node, request)?;
    if matches!(verb, Verb::Clean | Verb::Provide | Verb::Service)
        && let Some(problem) = order::skip_problem(node)
    {
        return Err(ActionError::Invalid(problem));
    }
    let asked = Asked {
        now: app.clock.now(),
        clean: &app.settings.clean,
        steps: &request.steps,
        deploy_steps: &request.deploy_steps,
        without_ramdisk: request.without_ramdisk,
        plugins: &app.plugins,
        rescue,
    };
    if verb == Verb::Abort && stops_later(node) {
        return Ok(());
    }
    transition::apply(node, Event::Asked(verb), &asked).map_err(|error| match error {
        TransitionError::Refused(refused) => ActionError::Refused(refused.on(node.uuid)),
        TransitionError::Order(error) => invalid(node, &error),
    })
}

/// Whether the running step must end before the abort that is asked for, as in Ironic; then the record remembers it.
fn stops_later(node: &mut Node) -> bool {
    let Some(work) = node.work.as_mut().filter(|work| !work.is_abortable()) else {
        return false;
    };
    work.abort = true;
    true
}

/// Refuses what the node's interfaces do not do, in Ironic's words.
fn supported(node: &Node, verb: Verb) -> Result<(), ActionError> {
    let (kind, good) = match verb {
        Verb::Rescue | Verb::Unrescue => ("rescue", class_of(node, "rescue") != Some("no-rescue")),
        Verb::Inspect => ("inspect", class_of(node, "inspect") != Some("no-inspect")),
        Verb::Active
        | Verb::Rebuild
        | Verb::Deleted
        | Verb::Manage
        | Verb::Provide
        | Verb::Abort
        | Verb::Clean
        | Verb::Service
        | Verb::Adopt
        | Verb::Unhold => return Ok(()),
    };
    if good {
        return Ok(());
    }
    Err(ActionError::Refused(format!(
        "Driver {} does not support {kind} (disabled or not implemented).",
        node.driver
    )))
}

/// Whether the steps asked for are there where they must be, and can be done.
fn steps_fit(node: &Node, request: &Request) -> Result<(), ActionError> {
    let needed = match request.verb {
        Verb::Clean => "clean_steps",
        Verb::Service => "service_steps",
        Verb::Active
        | Verb::Rebuild
        | Verb::Deleted
        | Verb::Manage
        | Verb::Provide
        | Verb::Inspect
        | Verb::Abort
        | Verb::Adopt
        | Verb::Rescue
        | Verb::Unrescue
        | Verb::Unhold => return Ok(()),
    };
    let problems = match (pretend::is_pretended(node, "deploy"), request.verb) {
        (false, _) => program::problems(&request.steps, request.without_ramdisk),
        (true, Verb::Clean) => {
            pretend::unknown_steps(node, &request.steps, "clean", &pretend::CLEAN_STEPS)
        }
        (true, _) => {
            pretend::unknown_steps(node, &request.steps, "service", &pretend::SERVICE_STEPS)
        }
    };
    if !problems.is_empty() {
        return Err(ActionError::Invalid(problems.join("\n")));
    }
    if request.steps.is_empty() {
        let verb = request.verb.text();
        return Err(ActionError::Invalid(format!(
            "\"{needed}\" is required when setting target provision state to {verb}"
        )));
    }
    Ok(())
}

fn invalid(node: &Node, error: &OrderError) -> ActionError {
    ActionError::Invalid(format!(
        "Failed to validate deploy info for node {}. Error: {error}",
        node.uuid
    ))
}

/// Ironic's refusals that are not about the state.
fn allowed(node: &Node, verb: Verb) -> Result<(), ActionError> {
    if node.protected && matches!(verb, Verb::Deleted | Verb::Rebuild) {
        return Err(ActionError::Protected(node.uuid));
    }
    let operation = match verb {
        Verb::Active | Verb::Rebuild => "provisioning",
        Verb::Clean => "cleaning",
        Verb::Rescue => "rescuing",
        Verb::Service => "servicing",
        Verb::Provide if node.retired => {
            return Err(ActionError::Refused(format!(
                "The provide operation can't be performed on node {} because it is retired.",
                node.uuid
            )));
        }
        Verb::Deleted
        | Verb::Manage
        | Verb::Provide
        | Verb::Inspect
        | Verb::Abort
        | Verb::Unrescue
        | Verb::Unhold
        | Verb::Adopt => return Ok(()),
    };
    if node.maintenance {
        return Err(ActionError::Refused(format!(
            "The {operation} operation can't be performed on node {} because it's in maintenance mode.",
            node.uuid
        )));
    }
    Ok(())
}
