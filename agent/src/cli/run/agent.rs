//! One agent process: who is responsible for this machine, and working for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironwright_api::ImageAccess;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::output::Trouble;
use super::super::{Done, collect as collect_facts};
use super::{Args, settings};
use crate::config::Settings;
use crate::coordinator::{Coordinator, Introduction, Retry};
use crate::erase::certificate::{Notary, Signer};
use crate::heartbeat::{Boot, Heart, Pace, Stages};
use crate::inventory::{self, collectors::collect};
use crate::ironic::{self, Conducted, inspection};
use crate::journal::{Journal, Session};
use crate::order::{Facts, Machine, SlowFacts, blocking};
use crate::plugin::supply::Supply;
use crate::report::LogTail;
use crate::sys::System;
use crate::{rescue, tls};

/// What to do about a server that cannot be found or reached.
const NETWORK: &str = "check the network, the coordinator and the boot script";

/// An agent, before it knows for whom it works.
pub(super) struct Agent {
    settings: Settings,
    system: Arc<System>,
    journal: Arc<Journal>,
    signer: Arc<Signer>,
    stages: Stages,
    tail: LogTail,
    pace: Option<Pace>,
    /// Trusted keys of plugins, outside the ramdisk.
    trust: Vec<PathBuf>,
    /// Plugins at hand, outside the ramdisk.
    plugins: Option<PathBuf>,
    /// Confines plugins.
    launcher: Option<PathBuf>,
}

impl Agent {
    pub(super) fn new(args: &Args, system: System, tail: LogTail) -> Result<Self, Trouble> {
        let boot = Boot::read(&args.run_dir);
        let stages = Stages::start(boot.as_ref());
        let settings = settings(args, &system).map_err(|error| Trouble::usage(&error))?;
        let journal = Journal::open(&args.run_dir, boot.map(|boot| boot.boot_id))
            .map_err(|error| Trouble::new(&error, "name a directory of your own with --run-dir"))?;
        let signer = Signer::of_boot(&args.run_dir).map_err(|error| {
            Trouble::new(&error, "remove the damaged key, or start the ramdisk anew")
        })?;
        let (system, journal) = (Arc::new(system), Arc::new(journal));
        let launcher = std::env::current_exe().map_err(|error| {
            Trouble::new(
                &error,
                "check that /proc is mounted and the agent's binary is still there",
            )
        })?;
        Ok(Self {
            settings,
            system,
            journal,
            signer: Arc::new(signer),
            stages,
            tail,
            pace: None,
            trust: args.trust.clone(),
            plugins: args.plugins.clone(),
            launcher: Some(launcher),
        })
    }

    /// In a process of somebody else's, which is no launcher of plugins; at another pace.
    pub(super) fn in_somebody_elses(self, pace: Option<Pace>) -> Self {
        Self { pace, launcher: None, ..self }
    }

    /// Where it works.
    pub(super) fn system(&self) -> Arc<System> {
        self.system.clone()
    }

    /// Finds who is responsible for this machine and works for them until `stop`.
    pub(super) async fn run(
        self,
        macs: Vec<String>,
        stop: CancellationToken,
    ) -> Result<Done, Trouble> {
        // What an earlier process did and nobody heard yet is still to be said.
        if rescue::is_open(&self.system) && self.journal.unacknowledged().is_empty() {
            tracing::warn!("this boot is a rescue: the machine is its owner's");
            stop.cancelled().await;
            return Ok(Done::Proven);
        }
        let coordinator = Coordinator::new(
            self.client()?,
            self.settings.api_urls.clone(),
            self.settings.request_id.clone(),
        );
        tracing::info!("phase: inventory");
        let facts = collect_facts(self.system.clone()).await?;
        let found = tokio::select! {
            found = self.find(&coordinator, macs, &facts) => found?,
            () = stop.cancelled() => return Ok(Done::Proven),
        };
        let Some(session) = found else {
            tracing::info!("no API is named: nothing more to do than to have inspected");
            stop.cancelled().await;
            return Ok(Done::Proven);
        };
        tracing::info!(node = %session.node, boot_id = %self.journal.boot_id(), "phase: waiting for orders, for this node");
        let crew = self.crew(&session, facts)?;
        if let Some(conductor) = &session.conductor {
            let conducted = Conducted {
                coordinator,
                peer: conductor.peer,
                heartbeat_timeout: Duration::from_secs(conductor.heartbeat_timeout_s),
                node: json!({
                    "properties": conductor.properties, "instance_info": conductor.instance_info,
                }),
                session,
                machine: crew,
                journal: self.journal,
                tail: self.tail,
                pace: self.pace.map(ironic::Pace::from).unwrap_or_default(),
                listen: self.settings.ironic.listen,
            };
            let ended = conducted.run(stop).await;
            let end = ended.map_err(|error| Trouble::new(&error, NETWORK))?;
            tracing::info!("Ironic mode ended: {end:?}");
            return Ok(Done::Proven);
        }
        let pace = self.pace.unwrap_or_else(|| Pace::new(session.interval_ms));
        Heart::new(coordinator, session, self.journal, crew, self.tail, self.stages)
            .with_pace(pace)
            .with_erase_key(self.signer.public_key())
            .run(stop.clone())
            .await;
        // Ends early only after a rescue: the supervisor would start an agent that ended anew.
        stop.cancelled().await;
        Ok(Done::Proven)
    }

    /// Inspects, where the boot asks for it, and looks the node up. None where no API is named.
    async fn find(
        &self,
        coordinator: &Coordinator,
        macs: Vec<String>,
        facts: &Facts,
    ) -> Result<Option<Session>, Trouble> {
        // A restarted process has inspected already.
        let inspected = match self.journal.session() {
            None => self.inspect(&self.client()?, facts).await,
            Some(_) => None,
        };
        if self.settings.api_urls.is_empty() {
            return Ok(None);
        }
        let found = self.session(coordinator, macs, facts, inspected).await;
        found.map(Some).map_err(|error| Trouble::new(&error, NETWORK))
    }

    /// The machine, as what carries orders and commands out.
    fn crew(&self, session: &Session, facts: Facts) -> Result<Arc<Machine>, Trouble> {
        let Settings { tls_pin, http_timeout, lldp_timeout, .. } = self.settings;
        let images = tls::image_client(tls_pin, Path::new(tls::CA_BUNDLE), &ImageAccess::default())
            .map_err(|error| Trouble::new(&error, "check the certificate authorities"))?;
        let files = tls::file_client(tls_pin, http_timeout)
            .map_err(|error| Trouble::new(&error, "report this with the machine's console"))?;
        let notary = Notary {
            node_uuid: session.node,
            boot_id: self.journal.boot_id(),
            signer: self.signer.clone(),
        };
        let bases = self.settings.api_urls.clone();
        let plugins = Supply::new(files, bases, self.trust.clone(), self.launcher.clone());
        let plugins = plugins.with_folder(self.plugins.clone());
        let machine = Machine::new(self.system.clone(), images, facts).trusting(tls_pin);
        let machine = machine.listening(lldp_timeout);
        Ok(Arc::new(machine.with_notary(notary).with_plugins(plugins)))
    }

    /// A client for the API: pinned where our own coordinator's boot script pins it.
    fn client(&self) -> Result<reqwest::Client, Trouble> {
        let Settings { tls_pin, http_timeout, ironic, .. } = &self.settings;
        let client = match tls_pin {
            Some(_) => tls::coordinator_client(*tls_pin, *http_timeout),
            None => tls::ironic_client(Path::new(tls::CA_BUNDLE), ironic.insecure, *http_timeout),
        };
        client.map_err(|error| Trouble::new(&error, "report this with the machine's console"))
    }

    /// Posts what is known of the machine, where the boot asks for it; the node, where the server says which one it is.
    async fn inspect(&self, client: &reqwest::Client, facts: &Facts) -> Option<Uuid> {
        let wanted = self.settings.ironic.inspection.clone()?;
        let (system, facts, tail) = (self.system.clone(), facts.clone(), self.tail.clone());
        let (bootif, patience) = (self.settings.bootif.clone(), self.settings.lldp_timeout);
        let asked = wanted.clone();
        // Collectors ask the BMC and listen to switches.
        let document = blocking(move || {
            let root = system.root();
            let bmc = match system.named_disks() {
                None => inventory::bmc_addresses(root),
                Some(_) => Default::default(),
            };
            let found = facts.document(&SlowFacts { bmc, ..SlowFacts::default() });
            let known = inspection::Known {
                inventory: &found["inventory"],
                root_disk: facts.default_root_disk(),
                bootif: bootif.as_deref(),
                tail: &tail,
            };
            Ok(inspection::document(&asked, &known, |name| collect(name, root, patience)))
        });
        match document.await {
            Ok(document) => inspection::post(client, &wanted, &document).await,
            Err(failure) => {
                tracing::error!("the inspection was not made: {}", failure.message);
                None
            }
        }
    }

    /// The session an earlier process of this boot had, or a new one.
    async fn session(
        &self,
        coordinator: &Coordinator,
        macs: Vec<String>,
        facts: &Facts,
        node: Option<Uuid>,
    ) -> Result<Session, crate::coordinator::LookupError> {
        if let Some(session) = self.journal.session() {
            tracing::warn!("the agent was restarted in this boot: going on with its token");
            return Ok(session);
        }
        let macs = addresses(macs, facts, self.settings.bootif.as_deref());
        tracing::info!("phase: lookup, by {}", macs.join(", "));
        let retry = Retry::new(self.settings.lookup_timeout, self.settings.lookup_interval);
        let who = Introduction {
            macs: &macs,
            nonce: self.settings.nonce.as_ref(),
            boot_id: self.journal.boot_id(),
            node,
            token: self.settings.ironic.token.as_ref(),
        };
        let session = coordinator.lookup(who, retry).await?;
        self.journal.set_session(&session);
        Ok(session)
    }
}

/// The addresses given, or those of the inventory with the card that booted.
fn addresses(given: Vec<String>, facts: &Facts, bootif: Option<&str>) -> Vec<String> {
    if !given.is_empty() {
        return given;
    }
    let mut macs = facts.macs.clone();
    if let Some(bootif) = bootif
        && !macs.iter().any(|mac| mac == bootif)
    {
        macs.push(bootif.to_owned());
    }
    macs
}
