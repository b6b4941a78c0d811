//! `erase`: one disk, with a certificate.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ironwright_api::{Blame, EraseSettings, Erased, Failure};
use uuid::Uuid;

use super::output::{Trouble, print_json, print_line};
use super::{Done, runtime, system};
use crate::erase::Task;
use crate::erase::certificate::Notary;
use crate::erase::overwrite::Follow;
use crate::order::Facts;
use crate::steps::{Erase, Phase, built_in};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The disk or file to erase. What is on it is lost.
    #[arg(long)]
    disk: PathBuf,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    plan: bool,
    /// Only partition tables and the signatures of file systems, LVM and RAID; data between them stays readable.
    #[arg(long)]
    metadata: bool,
    /// Go on with a method of a weaker category (NIST SP 800-88) where one that the disk offers has failed.
    #[arg(long)]
    allow_weaker: bool,
    /// Print the proof with its certificate, or the failure, as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result<Done, Trouble> {
    let system =
        system(std::slice::from_ref(&args.disk)).map_err(|error| Trouble::usage(&error))?;
    let path = system.admit(&args.disk).map_err(|error| Trouble::usage(&error))?;
    let erase = if args.metadata { Erase::Metadata } else { Erase::Devices };
    let system = Arc::new(system);
    let facts = Facts::collect(&system);
    let disk = facts.disks.into_iter().find(|disk| disk.path == path);
    let Some(disk) = disk else {
        return Err(failure(format!("{} cannot be read as a disk", path.display())));
    };
    let settings = EraseSettings { allow_weaker: args.allow_weaker, ..EraseSettings::default() };
    let task = Task::survey(&system, disk, erase, Uuid::nil(), &settings);
    if args.plan {
        return plan(args, erase, &task);
    }
    let notary = Notary::by_hand()
        .map_err(|error| Trouble::new(&error, "check that the kernel gives random bytes"))?;
    let bar = Arc::new(Bar::new(task.disk.identity.bytes));
    let erased = runtime()?.block_on(async {
        let (follow, worker) = (bar.clone(), system.clone());
        let work =
            tokio::task::spawn_blocking(move || task.perform(&worker, Some(&notary), &*follow));
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                // Without the signal there is only no stopping by hand.
                Ok(()) = tokio::signal::ctrl_c() => bar.stop.store(true, Ordering::Relaxed),
            }
        }
    });
    bar.bar.finish_and_clear();
    let erased = erased.map_err(|error| failure(error.to_string()))?;
    let erased = erased.map_err(|failed| {
        let trouble = failure(failed.why);
        match failed.certificate {
            Some(certificate) => trouble.with("certificate", &*certificate),
            None => trouble,
        }
    })?;
    if args.json {
        print_json(&erased)?;
    } else {
        print_line(&said(&erased, args.metadata))?;
    }
    Ok(Done::Proven)
}

/// What was done, in one line.
fn said(erased: &Erased, metadata: bool) -> String {
    let Erased { device, method, bytes, verified_bytes, certificate, .. } = erased;
    let sampled = certificate
        .as_ref()
        .map(|signed| &signed.certificate.verification)
        .filter(|verification| verification.mode == "sampled");
    if let Some(verification) = sampled {
        let places = verification.samples.len();
        return format!(
            "{device}: erased by {method}; nothing is left of what was at {places} places, the first and the last block among them"
        );
    }
    let rest = if metadata { "; data between them is untouched" } else { "" };
    format!(
        "{device}: erased by {method}, {bytes} bytes zeroed and {verified_bytes} read back as zero{rest}"
    )
}

/// Says what would be done: the method, and the whole ladder with its reasons.
fn plan(args: &Args, erase: Erase, task: &Task) -> Result<Done, Trouble> {
    let mut lines = vec![task.sentence()];
    lines.extend(task.ladder_lines());
    if args.json {
        let job = built_in(Phase::Clean).into_iter().find(|job| job.name() == erase.step());
        if let Some(job) = job {
            print_json(&job.planned(lines))?;
        }
        return Ok(Done::Proven);
    }
    let indented = lines.join("\n  ");
    print_line(&format!("{}: {indented}", erase.step()))?;
    Ok(Done::Proven)
}

fn failure(message: String) -> Trouble {
    Trouble::from(Failure {
        step: String::new(),
        message,
        remedy:
            "unmount the disk, stop what uses it, check the disk and its cable; then erase it again"
                .to_owned(),
        blame: Blame::Hardware,
    })
}

/// A progress bar on a terminal, nothing elsewhere; remembers Ctrl-C.
struct Bar {
    bar: ProgressBar,
    phase: Mutex<&'static str>,
    stop: AtomicBool,
}

impl Bar {
    fn new(bytes: u64) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = "{msg:7} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_style(style);
        Self { bar, phase: Mutex::new(""), stop: AtomicBool::new(false) }
    }
}

impl Follow for Bar {
    fn go_on(&self, phase: &'static str, bytes: u64) -> bool {
        let mut known = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != phase {
            *known = phase;
            self.bar.reset();
            self.bar.set_message(phase);
        }
        self.bar.set_position(bytes);
        !self.stop.load(Ordering::Relaxed)
    }
}
