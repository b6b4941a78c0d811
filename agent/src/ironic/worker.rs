//! Carries commands out, with the same calls that our own orders make.

use std::sync::{Arc, Mutex, PoisonError};

use ironwright_api::{Failure, StepRecord};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::End;
use super::book::Book;
use super::command::{Bootloader, Command};
use super::fault::{Fault, Refusal};
use super::{logs, node, rescue, steps, uuids};
use crate::deploy::{RootDisk, firmware};
use crate::heartbeat::{Desk, OrderDesk};
use crate::order::{Machine, blocking};
use crate::plugin::supply::Loaded;
use crate::report::{LogTail, chain};
use crate::steps::run::Ground;
use crate::steps::{Phase, all};

/// Who carries commands out.
#[derive(Debug)]
pub(super) struct Worker {
    machine: Arc<Machine>,
    desk: Arc<Desk>,
    tail: LogTail,
    /// The node as it was shown last.
    node: Mutex<Value>,
    /// The order of the present step, to cancel it.
    present: Mutex<Option<OrderDesk>>,
    end: watch::Sender<Option<End>>,
    tasks: TaskTracker,
    /// A conductor has no plugins to offer: those of the ramdisk. Looked at once, so that versions stay what they are.
    plugins: OnceCell<Vec<Arc<Loaded>>>,
}

impl Worker {
    pub(super) fn new(machine: Arc<Machine>, desk: Arc<Desk>, tail: LogTail, node: Value) -> Self {
        let (node, present) = (Mutex::new(node), Mutex::default());
        let (end, tasks) = (watch::Sender::new(None), TaskTracker::new());
        let plugins = OnceCell::new();
        Self { machine, desk, tail, node, present, end, tasks, plugins }
    }

    /// Begins `command` and enters it in `book`.
    ///
    /// # Errors
    /// 409 while another one runs.
    pub(super) fn begin(
        self: &Arc<Self>,
        book: &Arc<Book>,
        name: &str,
        command: Command,
    ) -> Result<Uuid, Refusal> {
        let short = name.split_once('.').map_or(name, |(_, command)| command);
        let id = book.begin(short)?;
        tracing::info!("command {name}");
        let (worker, book, name) = (self.clone(), book.clone(), name.to_owned());
        let tell = command.is_asynchronous();
        self.tasks.spawn(async move {
            let inner = worker.clone();
            // A panic is a failed command, not a command that runs for ever.
            let result = match tokio::spawn(async move { inner.perform(command).await }).await {
                Ok(result) => result,
                Err(error) => Err(Fault::new("AgentPanic", "the agent failed", error.to_string())),
            };
            match &result {
                Ok(_) => tracing::info!("command {name} done"),
                Err(fault) => tracing::error!("command {name} failed: {}", fault.details),
            }
            book.end(id, result, tell);
        });
        Ok(id)
    }

    /// How a command ended this agent's work, when it does.
    pub(super) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        // Fails only when the sender is gone, and the sender is ours.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        end.unwrap_or(End::Stopped)
    }

    /// Asks the present step to stop, and waits for it.
    pub(super) async fn stop(&self) {
        if let Some(desk) = &*self.present.lock().unwrap_or_else(PoisonError::into_inner) {
            desk.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn perform(&self, command: Command) -> Result<Value, Fault> {
        match command {
            Command::GetSteps { phase, node } => {
                self.note(node);
                let plugins = self.plugins().await;
                let (jobs, problems) = all(phase, plugins);
                for problem in problems {
                    tracing::warn!("{problem}");
                }
                Ok(steps::described(phase, &jobs, &steps::versions(plugins)))
            }
            Command::ExecuteStep { phase, step, node, versions } => {
                self.note(node);
                // The future of a step is large and lives long.
                Box::pin(self.step(phase, step, &versions)).await
            }
            Command::PrepareImage { args } => Box::pin(self.prepare_image(args)).await,
            Command::PartitionUuids => self.partition_uuids().await,
            Command::InstallBootloader(wanted) => self.install_bootloader(wanted).await,
            Command::Sync => self.sync().await.map(|()| Value::Null),
            Command::PowerOff => self.finish(End::PowerOff).await,
            Command::Reboot => self.finish(End::Reboot).await,
            Command::Lockdown => self.finish(End::Lockdown).await,
            Command::FinalizeRescue { password } => {
                rescue::prepare(self.machine.system(), &password).map_err(|why| {
                    Fault::new("IncompatibleRescue", "the rescue account could not be made", why)
                })?;
                self.end.send_replace(Some(End::Rescue));
                Ok(Value::Null)
            }
            Command::CollectLogs => {
                let (tail, inventory) = (self.tail.clone(), self.inventory());
                let packed = blocking(move || Ok(logs::packed(&tail, &inventory))).await;
                Ok(json!({"system_logs": packed.map_err(|why| unexpected(&why))?}))
            }
            Command::HardwareInfo => Ok(self.inventory()["inventory"].take()),
        }
    }

    async fn step(&self, phase: Phase, step: Value, versions: &Value) -> Result<Value, Fault> {
        let plugins = self.plugins().await;
        let ours = steps::versions(plugins);
        if !steps::fits(versions, &ours) {
            return Err(Fault::version_mismatch(&versions.to_string(), &json!(ours).to_string()));
        }
        let kind = match phase {
            Phase::Clean => "CleaningError",
            Phase::Deploy => "DeploymentError",
            Phase::Service => "ServicingError",
        };
        let name = step["step"].as_str().unwrap_or_default();
        let what = format!("{} step {name} failed", phase.name());
        let known = all(phase, plugins).0.into_iter().find(|job| {
            job.name() == name
                && step["interface"].as_str().is_none_or(|given| given == job.info().interface)
        });
        let job = known.ok_or_else(|| {
            Fault::new("HardwareManagerMethodNotFound", &what, steps::missing(phase, name))
        })?;
        let node = self.node();
        let args = steps::arguments(&job, &step, &node);
        let (job, problems) = job.with_args(&args);
        if !problems.is_empty() {
            return Err(Fault::new(kind, &what, problems.join("; ")));
        }
        let evidence = self.run(&job, &node).await;
        let evidence = evidence.map_err(|failure| Fault::of(kind, &what, &failure))?;
        let (result, echo) = (format!("{}_result", phase.name()), format!("{}_step", phase.name()));
        Ok(json!({ (result): steps::result(evidence), (echo): step }))
    }

    /// Says what a step will do, then does it.
    async fn run(
        &self,
        job: &crate::steps::Job,
        node: &Value,
    ) -> Result<Option<ironwright_api::Evidence>, Failure> {
        let desk = self.desk.for_order(Uuid::new_v4(), 1).without_restarts();
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(desk.clone());
        let settings = node::erase_settings(node);
        let done: &[StepRecord] = &[];
        let ground = Ground {
            machine: &self.machine,
            settings: &settings,
            root_device: node::root_device(node),
            done,
            desk: &desk,
        };
        let said = ground.sentences(job).await;
        let result = match said {
            Ok(sentences) => {
                for sentence in sentences {
                    tracing::info!("{}: {sentence}", job.key());
                }
                match desk.step_started(job.name()).await {
                    Ok(()) => ground.one(job).await,
                    Err(cancelled) => Err(crate::deploy::run::stopped(job.name(), cancelled)),
                }
            }
            Err(failure) => Err(failure),
        };
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }

    /// The image as conductors before steps ask for it.
    async fn prepare_image(&self, args: Value) -> Result<Value, Fault> {
        let id = args["image_info"]["id"].as_str().unwrap_or_default().to_owned();
        let step = json!({"interface": "deploy", "step": "write_image", "args": args});
        let result = self.step(Phase::Deploy, step, &Value::Null).await?;
        let device = result["deploy_result"]["device"].as_str().unwrap_or_default();
        let names = self.partition_uuids().await?;
        let root = names["root uuid"].as_str().unwrap_or_default();
        let mut said =
            format!("prepare_image: image ({id}) written to device {device} root_uuid={root}");
        if let Some(esp) = names["efi system partition uuid"].as_str() {
            said.push_str(&format!(" efi_system_partition_uuid={esp}"));
        }
        Ok(json!({"result": said}))
    }

    /// Of what this process wrote; after a restart, of what the conductor says is there.
    async fn partition_uuids(&self) -> Result<Value, Fault> {
        let is_partition_image = match self.machine.written() {
            Some(image) => image.is_partition_image,
            None => node::is_partition_image(&self.node()),
        };
        let (root, system) = (self.root_disk().await?, self.machine.system().clone());
        let found = blocking(move || Ok(uuids::of(&system, &root, is_partition_image))).await;
        let found = found.map_err(|why| unexpected(&why))?;
        found.map_err(|why| Fault::new("DeviceNotFound", "cannot name what is on the disk", why))
    }

    /// The firmware was told with the image already, where that was this process's; told again it changes nothing.
    async fn install_bootloader(&self, wanted: Bootloader) -> Result<Value, Fault> {
        if !wanted.uefi {
            tracing::info!(
                "BIOS firmware starts what the image has in its first sector: nothing to do"
            );
            return Ok(Value::Null);
        }
        match self.tell_firmware(wanted.esp).await {
            Ok(told) => tracing::info!("install_bootloader: {told}"),
            Err(fault) if wanted.ignore_failure => {
                tracing::warn!(
                    "install_bootloader failed, which is to be ignored: {}",
                    fault.details
                );
            }
            Err(fault) => return Err(fault),
        }
        Ok(Value::Null)
    }

    async fn tell_firmware(&self, esp: Option<String>) -> Result<String, Fault> {
        let (root, system) = (self.root_disk().await?, self.machine.system().clone());
        let told = blocking(move || {
            if let Some(Err(why)) = esp.map(|esp| uuids::is_esp(&system, &root, &esp)) {
                return Ok(Err(why));
            }
            firmware::tell(&system, &root).map(Ok)
        });
        let what = "the disk cannot be made bootable";
        let told = told.await.map_err(|failure| Fault::of("DeviceNotFound", what, &failure))?;
        told.map_err(|why| Fault::new("DeviceNotFound", what, why))
    }

    /// Where the image went; after a restart of this process where it would go.
    async fn root_disk(&self) -> Result<RootDisk, Fault> {
        if let Some(image) = self.machine.written() {
            return Ok(image.disk);
        }
        let facts = self.machine.look_again().await.map_err(|why| unexpected(&why))?;
        let node = self.node();
        let skip = node::erase_settings(&node).skip;
        facts
            .root_disk(node::root_device(&node), &skip)
            .map_err(|why| Fault::new("DeviceNotFound", "no root disk", why.to_string()))
    }

    /// Flushes every disk: the conductor is about to cut the power.
    async fn sync(&self) -> Result<(), Fault> {
        let facts = self.machine.look_again().await.map_err(|why| unexpected(&why))?;
        let system = self.machine.system().clone();
        let flushed = blocking(move || {
            for disk in facts.disks.iter().filter(|disk| !disk.read_only) {
                let path = system.admit(&disk.path).map_err(|error| chain(&error));
                let flushed = path.and_then(|path| {
                    // Not held alone: nothing is changed.
                    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
                    file.sync_all().map_err(|error| error.to_string())
                });
                if let Err(why) = flushed {
                    return Ok(Err(format!("{}: {why}", disk.path.display())));
                }
            }
            Ok(Ok(()))
        });
        let flushed = flushed.await.map_err(|why| unexpected(&why))?;
        flushed.map_err(|why| Fault::new("CommandExecutionError", "a disk was not flushed", why))
    }

    async fn finish(&self, end: End) -> Result<Value, Fault> {
        self.sync().await?;
        self.end.send_replace(Some(end));
        Ok(Value::Null)
    }

    async fn plugins(&self) -> &[Arc<Loaded>] {
        self.plugins.get_or_init(|| self.machine.plugins().carried()).await
    }

    fn inventory(&self) -> Value {
        crate::heartbeat::Crew::inventory(&*self.machine)
    }

    fn note(&self, node: Value) {
        if node.is_object() {
            self.machine.set_raid(node::raid(&node));
            *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
        }
    }

    fn node(&self) -> Value {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unexpected(failure: &Failure) -> Fault {
    Fault::of("CommandExecutionError", "the command failed", failure)
}
