//! `plugin list | check | run | bundle | keygen`: what authors type.

mod open;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args as ClapArgs, Subcommand};
use ironwright_plugin::{Outcome, Progress, StepInfo, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::output::{Trouble, print_json, print_line};
use super::{Done, runtime};
use crate::plugin::key::SigningKey;
use crate::plugin::step::failure as failure_of;
use crate::plugin::{Folder, Planned, Watch, bundle, launch};
use open::{Opened, Source};

/// Hardware steps as programs of their own: check, run, bundle and sign them.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the steps of the plugins (folders and *.plugin bundles) in a folder.
    List {
        /// Where they are.
        #[arg(long, default_value = "/usr/lib/ironwright/plugins")]
        dir: PathBuf,
        /// Trusted public keys, files or folders, for bundles.
        #[arg(long)]
        trust: Vec<PathBuf>,
    },
    /// Check a plugin's folder: its manifest, its program, and that both say the same.
    Check {
        /// The folder with manifest.json and root/.
        dir: PathBuf,
    },
    /// Run one step, from a folder (a developer's own: not confined) or from a signed bundle (confined where root).
    Run(Box<RunArgs>),
    /// Make a signed bundle of a plugin's folder.
    Bundle {
        /// The folder with manifest.json and root/.
        dir: PathBuf,
        /// The private key's file.
        #[arg(long)]
        key: PathBuf,
        /// The bundle to write.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Make a key that signs bundles: FILE (keep it) and FILE.pub (give it to those who trust you).
    Keygen {
        /// The private key's new file.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Between the agent and a confined plugin; not for people.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        inner: bool,
        spec: String,
    },
}

#[derive(Debug, ClapArgs)]
struct RunArgs {
    /// The step, `name` or `interface.name`.
    step: String,
    #[command(flatten)]
    source: Source,
    /// A disk or file that the plugin may open; in the ramdisk all that it declares.
    #[arg(long)]
    disk: Vec<PathBuf>,
    /// The step's arguments, a JSON object.
    #[arg(long, value_parser = json, default_value = "null")]
    args: Value,
    /// Only say what it would do.
    #[arg(long)]
    plan: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

impl Args {
    /// The launcher's own way: no log set-up before the namespaces, no exit codes of ours.
    pub(super) fn launch(&self) -> Option<ExitCode> {
        match &self.command {
            Command::Launch { inner, spec } => Some(launch::main(spec, *inner)),
            Command::List { .. }
            | Command::Check { .. }
            | Command::Run(_)
            | Command::Bundle { .. }
            | Command::Keygen { .. } => None,
        }
    }

    /// Whether failures are said as JSON.
    pub(super) fn json(&self) -> bool {
        matches!(&self.command, Command::Run(args) if args.json)
    }
}

pub(super) fn run(args: Args) -> Result<Done, Trouble> {
    match args.command {
        Command::List { dir, trust } => list(&dir, &trust)?,
        Command::Check { dir } => check(&dir)?,
        Command::Run(args) => return interruptible(*args),
        Command::Bundle { dir, key, output } => {
            let folder = read(&dir)?;
            warn_of_interpreter(&folder);
            let key = SigningKey::read(&key)
                .map_err(|error| Trouble::new(&error, "make a key with `plugin keygen -o FILE`"))?;
            let made = bundle::make(&folder, &key, &output)
                .map_err(|error| Trouble::new(&error, error.remedy()))?;
            print_json(&made)?;
        }
        Command::Keygen { output } => {
            let key = SigningKey::make(&output).map_err(|error| {
                Trouble::new(&error, "name a new file in a folder you can write")
            })?;
            let file = output.display();
            print_line(&format!("key {} in {file}; its public half in {file}.pub", key.id()))?;
        }
        Command::Launch { .. } => {}
    }
    Ok(Done::Proven)
}

fn read(dir: &Path) -> Result<Folder, Trouble> {
    Folder::read(dir).map_err(|error| {
        Trouble::new(&error, "mend the plugin's folder; plugins/README.md shows one")
    })
}

fn list(dir: &Path, trust: &[PathBuf]) -> Result<(), Trouble> {
    let entries = std::fs::read_dir(dir).map_err(|error| {
        Trouble::new(&error, "name the folder that holds plugins with --dir DIR")
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let bundle = path.extension().is_some_and(|extension| extension == "plugin");
        if !bundle && !path.join("manifest.json").exists() {
            continue;
        }
        let source = Source::of(&path, trust);
        match Opened::open(&source, &[]) {
            Ok(opened) => {
                for step in &opened.plugin.folder.manifest().steps {
                    print_line(&line(&opened, step))?;
                }
            }
            Err(trouble) => print_line(&format!("{}: {}", path.display(), trouble.message))?,
        }
    }
    Ok(())
}

fn line(opened: &Opened, step: &StepInfo) -> String {
    let manifest = opened.plugin.folder.manifest();
    let signed =
        opened.signer.as_ref().map_or("not signed".to_owned(), |key| format!("signed by {key}"));
    let (key, priority) = (step.key(), step.priority);
    format!(
        "{} {}: {key}, priority {priority}, {}, {signed}",
        manifest.name,
        manifest.version,
        step.safety.name()
    )
}

fn check(dir: &Path) -> Result<(), Trouble> {
    let opened = Opened::open(&Source::of(dir, &[]), &[])?;
    let manifest = opened.plugin.folder.manifest();
    opened
        .plugin
        .describe(&Console::default())
        .map_err(|error| Trouble::from(error.failure(&manifest.name, "describe")))?;
    warn_of_interpreter(&opened.plugin.folder);
    let steps: Vec<String> = manifest.steps.iter().map(StepInfo::key).collect();
    print_line(&format!(
        "{} {} is a good plugin: {}",
        manifest.name,
        manifest.version,
        steps.join(", ")
    ))
}

fn warn_of_interpreter(folder: &Folder) {
    if let Some(interpreter) = folder.missing_interpreter() {
        tracing::warn!(
            "the program needs {0}, which is not in root/: it runs here, but not confined; put {0} and what it needs into \
             root/ before you ship it",
            interpreter.display()
        );
    }
}

/// What `run --json` prints.
#[derive(Debug, Serialize)]
struct Ran<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// What did not limit the plugin, as in a step's evidence.
    warnings: Vec<String>,
}

/// Ctrl-C asks an abortable step to stop; one that is not is left to its end or its time limit.
fn interruptible(args: RunArgs) -> Result<Done, Trouble> {
    let console = Console::default();
    let stop = console.stop.clone();
    runtime()?.block_on(async {
            let work = tokio::task::spawn_blocking(move || step(&args, &console));
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => {
                        return done.map_err(|error| Trouble::new(&error, "report this with the machine's console"))?;
                    }
                    // Without the signal there is only no stopping by hand.
                    Ok(()) = tokio::signal::ctrl_c() => {
                        tracing::warn!("asked to stop");
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        })
}

fn step(args: &RunArgs, console: &Console) -> Result<Done, Trouble> {
    let opened = Opened::open(&args.source, &args.disk)?;
    let plugin = &opened.plugin;
    let name = &plugin.folder.manifest().name;
    let failure = |error: crate::plugin::CallError| Trouble::from(error.failure(name, &args.step));
    let verdict = match plugin.plan(&args.step, &args.args, console).map_err(failure)? {
        Planned::Refused(verdict) => verdict,
        Planned::Actions(actions) if args.plan => {
            match args.json {
                true => print_json(&actions)?,
                false => actions.iter().try_for_each(|action| print_line(action))?,
            }
            return Ok(Done::Proven);
        }
        Planned::Actions(_) => perform(&opened, args, console).map_err(failure)?,
    };
    let warnings: Vec<String> = plugin.unlimited().into_iter().collect();
    if let Outcome::Failed(failed) = verdict.outcome {
        let trouble = Trouble::from(failure_of(name, &args.step, &verdict.message, failed));
        return Err(trouble.with("warnings", &warnings));
    }
    if args.json {
        print_json(&Ran { verdict: &verdict, warnings })?;
    } else {
        let word = if verdict.outcome == Outcome::Changed { "changed" } else { "unchanged" };
        print_line(&format!("{word}: {}", verdict.message))?;
    }
    Ok(Done::Proven)
}

/// Runs the step; a reboot it asks for is played by calling it again with what it saved.
fn perform(
    opened: &Opened,
    args: &RunArgs,
    console: &Console,
) -> Result<Verdict, crate::plugin::CallError> {
    let (mut state, mut reboots) = (Value::Null, 0);
    loop {
        let verdict = opened.plugin.run(&args.step, &args.args, state, reboots, console)?;
        let Outcome::Reboot { state: saved } = verdict.outcome else { return Ok(verdict) };
        reboots += 1;
        tracing::warn!(
            "reboot {reboots} asked for ({}): not done here, the step is called again with its state",
            verdict.message
        );
        state = saved;
    }
}

/// Progress as lines of the log; remembers Ctrl-C.
#[derive(Debug, Default)]
struct Console {
    stop: Arc<AtomicBool>,
}

impl Watch for Console {
    fn progress(&self, progress: &Progress) {
        let total = progress.total.map_or_else(String::new, |total| format!(" of {total}"));
        tracing::info!("{}{total} {}", progress.done, progress.message);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
