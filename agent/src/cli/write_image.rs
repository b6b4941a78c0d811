//! `write-image`: one image to one disk, with a progress bar on a terminal.

use std::io::{IsTerminal, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ironwright_api::{
    Checksum, ChecksumAlgorithm, Committed, Image, ImageAccess, ReadbackMode, Written,
};

use super::output::{Trouble, print_json, print_line};
use super::{Done, runtime, system};
use crate::image::{self, Hold, Http, ImageError, Outcome, Request, Watch};
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, RealDisk};
use crate::{deploy, tls};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// http(s) URL of the image; repeat it for mirrors of the same bytes.
    #[arg(long, required = true)]
    url: Vec<String>,
    /// `sha256:HEX` or `sha512:HEX` of the file as served, or the http(s) URL of a checksum file instead of HEX.
    #[arg(long, value_parser = checksum_or_why)]
    checksum: Result<Checksum, String>,
    /// The disk or file to write to. What is on it is lost.
    #[arg(long)]
    disk: PathBuf,
    /// What the image must be; anything else is refused. Without it, what its first bytes say.
    #[arg(long, value_name = "FORMAT", value_parser = ["raw", "qcow2"])]
    disk_format: Option<String>,
    /// A file with `user:password` for the image's servers, or the whole value of an Authorization header (`Bearer ...`).
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Proxy for the image, http and https; those of the environment are not used.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Hosts reached without the proxy, separated by commas.
    #[arg(long, value_name = "HOSTS", requires = "proxy")]
    no_proxy: Option<String>,
    /// PEM file of certificate authorities to trust besides the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How the written disk is compared with the image: full, sampled or none.
    #[arg(long, default_value = "full", value_parser = readback)]
    readback: ReadbackMode,
    /// Make the disk bootable, as a deploy does: move the partition table to the disk's end, check it, write it last. Without it
    /// the disk equals the image byte for byte.
    #[arg(long)]
    bootable: bool,
    /// Print the proof, or the failure, as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// A bad URL is refused later: clap would repeat it in its error, with its password.
fn checksum_or_why(text: &str) -> Result<Result<Checksum, String>, String> {
    match checksum(text) {
        Err(why) if !text.contains("://") => Err(why),
        checked => Ok(checked),
    }
}

fn checksum(text: &str) -> Result<Checksum, String> {
    let (name, value) = text.split_once(':').ok_or("it must be sha256:HEX or sha512:HEX")?;
    let algorithm = match name {
        "sha256" => ChecksumAlgorithm::Sha256,
        "sha512" => ChecksumAlgorithm::Sha512,
        other => return Err(format!("{other:?} is not accepted as proof; use sha256 or sha512")),
    };
    let is_url = image::is_address(value);
    let is_hex =
        value.len() == algorithm.hex_len() && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_url && !is_hex {
        return Err(format!("a {name} has {} hexadecimal digits", algorithm.hex_len()));
    }
    let value = if is_url { value.to_owned() } else { value.to_ascii_lowercase() };
    Ok(Checksum { algorithm, value })
}

fn readback(text: &str) -> Result<ReadbackMode, String> {
    match text {
        "full" => Ok(ReadbackMode::Full),
        "sampled" => Ok(ReadbackMode::Sampled),
        "none" => Ok(ReadbackMode::None),
        other => Err(format!("{other:?} is none of full, sampled, none")),
    }
}

/// How the image's servers are reached, from flags and the files they name.
fn access(args: &Args) -> Result<ImageAccess, Trouble> {
    let read = |path: &PathBuf| {
        read_text(path).map_err(|source| Trouble::usage(&Unreadable { path: path.clone(), source }))
    };
    let own = args.auth_file.as_ref().map(read).transpose()?;
    let own = own.map(|text| authorization(&text)).transpose();
    Ok(ImageAccess {
        authorization: own.map_err(|why| Trouble::usage(&Wrong { what: "--auth-file", why }))?,
        http_proxy: args.proxy.clone(),
        https_proxy: args.proxy.clone(),
        no_proxy: args.no_proxy.clone(),
        ca_pem: args.ca.as_ref().map(read).transpose()?,
    })
}

/// A file of a line, or of certificates.
fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = MAX_FILE_BYTES + 1;
    let bytes = std::fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    if bytes as u64 == most {
        let why = format!("it has more than {} KiB", MAX_FILE_BYTES >> 10);
        return Err(std::io::Error::other(why));
    }
    Ok(text)
}

/// Largest file of a header or of certificates, bytes: every authority that browsers trust fits.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A file that was named and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
struct Unreadable {
    path: PathBuf,
    source: std::io::Error,
}

/// An option that cannot be used; its value may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
struct Wrong {
    what: &'static str,
    why: String,
}

/// `user:password` as a header (RFC 7617); what has a scheme already stays as it is (RFC 9110, 11.4: a token, a space, the rest).
fn authorization(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let is_scheme = |word: &str| {
        !word.is_empty()
            && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    match text.split_once(' ') {
        _ if text.contains(['\n', '\r']) => Err("the file must have one line".to_owned()),
        Some((scheme, rest)) if is_scheme(scheme) && !rest.trim().is_empty() => Ok(text.to_owned()),
        _ if text.contains(':') => {
            Ok(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)))
        }
        _ => {
            Err("the file must hold user:password, or a whole value such as 'Bearer TOKEN'"
                .to_owned())
        }
    }
}

pub(super) fn run(args: Args) -> Result<Done, Trouble> {
    let ordered = args.checksum.clone();
    let ordered = ordered.map_err(|why| Trouble::usage(&Wrong { what: "--checksum", why }))?;
    let system =
        system(std::slice::from_ref(&args.disk)).map_err(|error| Trouble::usage(&error))?;
    let path = system.admit(&args.disk).map_err(|error| Trouble::usage(&error))?;
    let disk = RealDisk::open(path, Access::Write)
        .map_err(|error| Trouble::new(&error, "name a disk or file that exists and may be written, that is not mounted and that nobody uses"))
        .map_err(untouched)?;
    let access = access(&args)?;
    let client = tls::image_client(None, Path::new(tls::CA_BUNDLE), &access)
        .map_err(|error| Trouble::new(&error, "check the certificate authorities and the proxy"))
        .map_err(untouched)?;
    let image = Image {
        urls: args.url.clone(),
        checksum: ordered.clone(),
        disk_format: args.disk_format.clone(),
        access: Some(access),
        partition: None,
    };
    let http = Http::of(client, &image)
        .map_err(|error| Trouble::new(&error, "check the file of --auth-file"))
        .map_err(untouched)?;
    let request = Request {
        urls: args.url,
        checksum: ordered,
        disk_format: args.disk_format,
        readback: args.readback,
        hold: if args.bootable { Hold::BootArea } else { Hold::Nothing },
        starters: Vec::new(),
    };
    let disk: Arc<dyn BlockDevice> = Arc::new(disk);
    let outcome = runtime()?.block_on(until_stopped(&request, disk.clone(), &http));
    let outcome = outcome.map_err(|error| trouble(&error, &args.disk))?;
    let committed = match args.bootable {
        true => {
            Some(runtime()?.block_on(deploy::make_bootable(disk, &outcome)).map_err(|error| {
                let state = if error.cleared { "wiped" } else { "unclean" };
                Trouble::from(error.failure).with("disk", &state)
            })?)
        }
        false => None,
    };
    let proof = Proof { written: &outcome.written, committed: committed.as_ref() };
    // The disk is what it is: who cannot read the proof must not take it for a failed one.
    print(&proof, args.json).map_err(|mut trouble| {
        let what = sentence(proof.written);
        trouble.message = format!(
            "{what}; but this could not be printed on standard output: {}",
            trouble.message
        );
        trouble
    })?;
    Ok(if proof.written.proven { Done::Proven } else { Done::NotVerified })
}

/// Writes, with a progress bar, until it is done or Ctrl-C is pressed.
async fn until_stopped(
    request: &Request,
    disk: Arc<dyn BlockDevice>,
    http: &Http,
) -> Result<Outcome, ImageError> {
    let bar = Arc::new(Bar::new());
    let stop = async {
        // Without the signal there is only no stopping by hand.
        if tokio::signal::ctrl_c().await.is_ok() {
            bar.cancelled.store(true, Ordering::Relaxed);
        }
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = image::write(request, disk, bar.clone(), http) => outcome,
        () = stop => Err(ImageError::Cancelled),
    };
    bar.bar.finish_and_clear();
    outcome
}

fn print(proof: &Proof<'_>, json: bool) -> Result<(), Trouble> {
    if json {
        return print_json(proof);
    }
    print_line(&sentence(proof.written))?;
    match proof.committed {
        Some(Committed { table, partitions, .. }) => {
            print_line(&format!("bootable: {table} with {partitions} partitions, read back"))
        }
        None => Ok(()),
    }
}

/// What `--json` prints.
#[derive(Debug, serde::Serialize)]
struct Proof<'a> {
    #[serde(flatten)]
    written: &'a Written,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<&'a Committed>,
}

/// Nothing was written yet.
fn untouched(trouble: Trouble) -> Trouble {
    trouble.with("disk", &"untouched")
}

/// With what became of the disk: `untouched`, `wiped` (no partition table is left) or `unclean` (one may be).
fn trouble(error: &ImageError, disk: &Path) -> Trouble {
    let wiped = matches!(error, ImageError::Wiped { .. });
    let unclean = matches!(error, ImageError::Unclean { .. });
    let state = if wiped {
        "wiped"
    } else if unclean {
        "unclean"
    } else {
        "untouched"
    };
    let mut message = chain(error);
    if state == "untouched" {
        message.push_str(&format!("; nothing was written to {}", disk.display()));
    }
    let failure = ironwright_api::Failure {
        step: String::new(),
        message,
        remedy: error.remedy(),
        blame: error.blame(),
    };
    Trouble::from(failure).with("disk", &state)
}

fn sentence(written: &Written) -> String {
    let proof = if written.proven {
        format!("proven: {} bytes read back equal", written.readback.bytes)
    } else {
        "written, not verified".to_owned()
    };
    format!(
        "{}: {} image of {} bytes, {} {} as ordered, {} bytes in {:.1} s; {proof}",
        written.device,
        written.format,
        written.image_bytes,
        written.algorithm,
        written.streamed,
        written.virtual_bytes,
        written.seconds,
    )
}

/// A progress bar on a terminal, nothing elsewhere; remembers Ctrl-C.
#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    phase: Mutex<&'static str>,
    cancelled: AtomicBool,
}

impl Bar {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = "{msg:7} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { bar, phase: Mutex::new(""), cancelled: AtomicBool::new(false) }
    }
}

impl Watch for Bar {
    fn progress(&self, phase: &'static str, bytes: u64, total: Option<u64>) {
        let mut known = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != phase {
            *known = phase;
            self.bar.reset();
            self.bar.set_message(phase);
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(bytes);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_a_header_and_a_header_stays_one() {
        let header = |text| authorization(text).unwrap();
        assert_eq!(header("lab:secret\n"), "Basic bGFiOnNlY3JldA==");
        assert_eq!(header("Bearer abc\n"), "Bearer abc");
        assert_eq!(header("user:pass word\r\n"), "Basic dXNlcjpwYXNzIHdvcmQ=");
        for text in ["", "\n", "justtoken", "Bearer ", "a:b\nc:d\n"] {
            assert!(authorization(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_checksum_names_its_algorithm_and_has_its_length() {
        let hex = "AB".repeat(32);
        assert_eq!(checksum(&format!("sha256:{hex}")).unwrap().value, "ab".repeat(32));
        assert!(checksum("sha512:http://h/SUMS").is_ok());
        for (text, part) in [
            ("abc", "sha256:HEX"),
            ("md5:00", "not accepted as proof"),
            ("sha256:abc", "64 hexadecimal digits"),
            ("sha512:ftp://h", "128 hexadecimal digits"),
        ] {
            assert!(checksum(text).unwrap_err().contains(part), "{text}");
        }
    }
}
