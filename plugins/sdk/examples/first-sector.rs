//! The example plugin in Rust: zeroes the first sector of each disk that has something in it, and reads it back.
//!
//! `plugins/examples/shell` and `plugins/examples/python` are the same in other languages. The built program goes to
//! `root/bin/first-sector` of a folder with a manifest like theirs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::ExitCode;

use ironwright_plugin::{
    Context, Plugin, Problem, Request, Safety, Step, StepInfo, Success, Who, serve,
};
use serde_json::json;

const SECTOR: usize = 512;

struct ClearFirstSector;

fn used(disk: &str) -> io::Result<bool> {
    let mut sector = [0; SECTOR];
    File::open(disk)?.read_exact(&mut sector)?;
    Ok(sector.iter().any(|byte| *byte != 0))
}

fn clear(disk: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(disk)?;
    file.write_all(&[0; SECTOR])?;
    file.sync_all()?;
    // The last one who closes a block device drops its cache: what is read then comes from the disk.
    drop(file);
    match used(disk)? {
        true => Err(io::Error::other("the first sector is not zero after it was written")),
        false => Ok(()),
    }
}

fn hardware(disk: &str) -> impl FnOnce(io::Error) -> Problem {
    move |error| {
        let remedy = format!("check {disk} and its cable");
        Who::Hardware.problem(format!("{disk}: {error}"), &remedy)
    }
}

fn those_used(request: &Request) -> Result<Vec<&str>, Problem> {
    let mut found = Vec::new();
    for disk in &request.devices {
        if used(disk).map_err(hardware(disk))? {
            found.push(disk.as_str());
        }
    }
    Ok(found)
}

impl Step for ClearFirstSector {
    fn info(&self) -> StepInfo {
        StepInfo {
            name: "clear_first_sector".to_owned(),
            interface: "deploy".to_owned(),
            priority: 0,
            argsinfo: BTreeMap::new(),
            abortable: false,
            safety: Safety::Destroys,
        }
    }

    fn plan(&self, request: &Request) -> Result<Vec<String>, Problem> {
        Ok(those_used(request)?
            .iter()
            .map(|disk| format!("zero the first sector of {disk}"))
            .collect())
    }

    fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem> {
        let disks = those_used(request)?;
        for (number, disk) in disks.iter().enumerate() {
            context.progress(number as u64, Some(disks.len() as u64), disk);
            clear(disk).map_err(hardware(disk))?;
        }
        let (message, evidence) = ("first sectors are zero".to_owned(), json!({"cleared": disks}));
        Ok(if disks.is_empty() {
            Success::Unchanged(message, evidence)
        } else {
            Success::Changed(message, evidence)
        })
    }
}

fn main() -> ExitCode {
    serve(&Plugin { name: "first-sector-rust", version: "1.0.0", steps: &[&ClearFirstSector] })
}
