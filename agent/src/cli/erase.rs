//! `erase`: the metadata of one disk.

use std::path::PathBuf;

use super::output::{Trouble, print_json, print_line};
use super::{Done, system};
use crate::erase::metadata;
use crate::sys::disk::{Access, RealDisk};
use crate::sys::partitions;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The disk or file to erase. What is on it is lost.
    #[arg(long)]
    disk: PathBuf,
    /// Print the proof, or the failure, as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result<Done, Trouble> {
    let system =
        system(std::slice::from_ref(&args.disk)).map_err(|error| Trouble::usage(&error))?;
    let path = system.admit(&args.disk).map_err(|error| Trouble::usage(&error))?;
    let disk = RealDisk::open(&path, Access::Write)
        .map_err(|error| Trouble::new(&error, "unmount the disk and stop what uses it"))?;
    let known = partitions::of(system.root(), &path);
    let erased = metadata::erase(&disk, "", &known)
        .map_err(|error| Trouble::new(&error, "check the disk, its cable and controller"))?;
    if args.json {
        print_json(&erased)?;
    } else {
        print_line(&format!(
            "{}: metadata erased, {} bytes zeroed and {} read back as zero; data between them is untouched",
            erased.device, erased.bytes, erased.verified_bytes
        ))?;
    }
    Ok(Done::Proven)
}
