//! The order of events of one image write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ironwright_api::{ReadbackMode, Written};
use tokio::sync::mpsc;

use super::boot_area::BootArea;
use super::decode::{self, Limits, Plan, Sink};
use super::detect::{Format, Packing, detect};
use super::digest;
use super::error::ImageError;
use super::http::Http;
use super::source::Source;
use super::starter;
use super::thread::{Fate, Worker};
use super::tuning::Tuning;
use super::unpack::{self, Unpacked};
use super::verify::{self, Sums};
use super::write::{Codec, Pool, Target, start_writers};
use super::{Hold, Outcome, Probe, Request, Watch};
use crate::sys::disk::BlockDevice;

/// Chunks of the body waiting for a thread.
const CHUNKS: usize = 8;
/// How often [`Watch::cancelled`] is asked.
const CANCEL_TICK: Duration = Duration::from_millis(50);
/// Bytes between two calls of [`Watch::progress`].
const PROGRESS_BYTES: u64 = 1 << 20;
/// Length of the buffers on their way to the disk, bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// What may have happened to the disk.
#[derive(Debug, Default)]
struct DiskState {
    stage: AtomicU8,
    /// Says where the image's tail is.
    virtual_bytes: AtomicU64,
}

const UNTOUCHED: u8 = 0;
const CLEARING: u8 = 1;
const CLEARED: u8 = 2;
const COMMITTING: u8 = 3;

/// See [`super::write()`]: one thread receives and hands out. On a runtime of several threads every chunk of the body would cross
/// from core to core once more (measured: a fifth of the whole CPU time of a plain image on two cores).
pub(super) async fn write(
    request: &Request,
    disk: Arc<dyn BlockDevice>,
    watch: Arc<dyn Watch>,
    http: &Http,
    tuning: &Tuning,
) -> Result<Outcome, ImageError> {
    let fate = Arc::new(Fate::default());
    let (request, http, tuning, shared) =
        (request.clone(), http.clone(), tuning.clone(), Arc::clone(&fate));
    let fetch = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ImageError::Thread { thread: FETCH, what: error.to_string() })?;
        runtime.block_on(async {
            tokio::select! {
                outcome = mirrors(request, disk, watch, &http, &tuning) => outcome,
                () = dropped(&shared) => Err(ImageError::Cancelled),
            }
        })
    };
    Worker::start(FETCH, &fate, fetch)?.join().await?
}

const FETCH: &str = "image-fetch";

/// Returns when nobody waits for a thread's result any more.
async fn dropped(fate: &Fate) {
    while !fate.stopped() {
        tokio::time::sleep(CANCEL_TICK).await;
    }
}

/// A mirror with other bytes than ordered, or with bytes that are no image, is one that failed: the next one is asked for the
/// whole image.
async fn mirrors(
    mut request: Request,
    disk: Arc<dyn BlockDevice>,
    watch: Arc<dyn Watch>,
    http: &Http,
    tuning: &Tuning,
) -> Result<Outcome, ImageError> {
    loop {
        let outcome = attempt(&request, disk.clone(), watch.clone(), http, tuning).await;
        let error = match outcome {
            Err(error) if error.is_of_the_bytes() && request.urls.len() > 1 => error,
            Ok(_) | Err(_) => return outcome,
        };
        tracing::warn!(error = %crate::report::chain(&error), "the next mirror is tried");
        request.urls.remove(0);
    }
}

async fn attempt(
    request: &Request,
    disk: Arc<dyn BlockDevice>,
    watch: Arc<dyn Watch>,
    http: &Http,
    tuning: &Tuning,
) -> Result<Outcome, ImageError> {
    let state = DiskState::default();
    let run = Run { request, disk: &disk, watch: &watch, http, tuning, state: &state };
    let outcome = tokio::select! {
        outcome = run.whole() => outcome,
        () = cancelled(&*watch) => Err(ImageError::Cancelled),
    };
    // What select did not choose is dropped here, and with it every thread has ended.
    match outcome {
        Ok(outcome) => Ok(outcome),
        Err(error) => Err(after_failure(error, &disk, &state).await),
    }
}

async fn cancelled(watch: &dyn Watch) {
    while !watch.cancelled() {
        tokio::time::sleep(CANCEL_TICK).await;
    }
}

/// Says what a failure left behind, and clears what may look like a partition table.
async fn after_failure(
    error: ImageError,
    disk: &Arc<dyn BlockDevice>,
    state: &DiskState,
) -> ImageError {
    let device = disk.path().display().to_string();
    let source = Box::new(error);
    let cleared = match state.stage.load(Ordering::Relaxed) {
        UNTOUCHED => return *source,
        CLEARED => Ok(()),
        _ => {
            let disk = Arc::clone(disk);
            let boot_area = BootArea::new(state.virtual_bytes.load(Ordering::Relaxed));
            blocking("image-clear", move || boot_area.clear(&*disk)).await
        }
    };
    match cleared {
        Ok(()) => ImageError::Wiped { device, source },
        Err(clear) => ImageError::Unclean { device, clear: describe(&clear), source },
    }
}

fn describe(error: &ImageError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// See [`super::probe`].
pub(super) async fn probe(
    request: &Request,
    http: &Http,
    tuning: &Tuning,
) -> Result<Probe, ImageError> {
    if request.urls.is_empty() {
        return Err(ImageError::NoUrl);
    }
    digest::expected(&request.checksum, &request.urls, http, tuning).await?;
    let mut source = Source::open(http, &request.urls, tuning).await?;
    let prefix = source.peek(64 << 10).await?;
    let format = detect(&prefix, request.disk_format.as_deref())?;
    let virtual_bytes = match format {
        Format::Raw => source.total(),
        Format::Packed(packing) => {
            unpack::look_inside(packing, &prefix)?;
            None
        }
        Format::Qcow2 => {
            let header = ironwright_qcow2::Header::parse(&prefix)?;
            if let Some(total) = source.total() {
                header.check_file(total)?;
            }
            Some(header.virtual_bytes)
        }
    };
    Ok(Probe {
        url: source.url(),
        format,
        image_bytes: source.total(),
        virtual_bytes,
        ranges: source.ranges(),
    })
}

/// Runs blocking work in a thread of its own.
async fn blocking<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    Worker::start(name, &Arc::new(Fate::default()), run)?.join().await?
}

/// One write.
struct Run<'a> {
    request: &'a Request,
    disk: &'a Arc<dyn BlockDevice>,
    watch: &'a Arc<dyn Watch>,
    http: &'a Http,
    tuning: &'a Tuning,
    state: &'a DiskState,
}

/// What one reading of the body gave.
struct Pass {
    digest: String,
    image_bytes: u64,
    left: Left,
}

/// What a reading of the body left behind.
enum Left {
    /// Pieces for another pass.
    Pieces(Plan),
    /// The end of an image whose length was not known.
    End(Unpacked),
}

/// What the first bytes say of an image.
struct Start {
    format: Format,
    /// Of the guest's disk; the whole disk where only the end of the image will tell.
    virtual_bytes: u64,
    plan: Plan,
    /// Set where the length is not known: the packing, or none for raw bytes.
    unpacking: Option<Option<Packing>>,
}

/// The thread that makes guest bytes of the body.
enum Decoder {
    Demux(Worker<Option<Plan>>),
    Unpack(Worker<Option<Unpacked>>),
}

impl Decoder {
    async fn join(self) -> Result<Option<Left>, ImageError> {
        Ok(match self {
            Self::Demux(worker) => worker.join().await?.map(Left::Pieces),
            Self::Unpack(worker) => worker.join().await?.map(Left::End),
        })
    }
}

impl Run<'_> {
    async fn whole(&self) -> Result<Outcome, ImageError> {
        let started = Instant::now();
        let request = self.request;
        if request.urls.is_empty() {
            return Err(ImageError::NoUrl);
        }
        let expected =
            digest::expected(&request.checksum, &request.urls, self.http, self.tuning).await?;
        let mut source = Source::open(self.http, &request.urls, self.tuning).await?;
        let Start { format, virtual_bytes, plan, unpacking } = self.look(&mut source).await?;

        let unit_bytes = plan.header.map_or(u64::MAX, |header| header.unit_bytes());
        let target = Arc::new(Target {
            disk: Arc::clone(self.disk),
            sums: Sums::new(virtual_bytes, unit_bytes, request.readback),
            boot_area: BootArea::new(virtual_bytes),
        });
        self.clear(&target).await?;
        let pass = self.passes(&mut source, (plan, unpacking), &target, &expected).await?;
        let virtual_bytes = target.sums.virtual_bytes();
        self.flush().await?;
        let readback =
            verify::read_back(&target, request.readback, self.tuning.sample_seed, self.watch)
                .await?;
        if request.hold == Hold::Nothing {
            self.commit(&target).await?;
        }
        let written = Written {
            device: self.disk.path().display().to_string(),
            serial: String::new(),
            url: source.url(),
            format: format.name().into(),
            algorithm: request.checksum.algorithm.name().into(),
            expected,
            streamed: pass.digest,
            image_bytes: pass.image_bytes,
            virtual_bytes,
            proven: readback.mode == ReadbackMode::Full,
            readback,
            warnings: Vec::new(),
            resumes: source.resumes(),
            seconds: started.elapsed().as_secs_f64(),
        };
        let held = target.boot_area.take();
        let held = match pass.left {
            Left::Pieces(_) => held,
            Left::End(unpacked) => unpacked.held(held.head),
        };
        Ok(Outcome { written, held })
    }

    /// Decides from the first bytes what the image is and how it will be written.
    async fn look(&self, source: &mut Source) -> Result<Start, ImageError> {
        let prefix = source.peek(self.tuning.prefix_bytes).await?;
        let format = detect(&prefix, self.request.disk_format.as_deref())?;
        let (mut virtual_bytes, plan) = decode::plan(format, source, &prefix, self.tuning).await?;
        let unpacking = match format {
            Format::Packed(packing) => {
                unpack::look_inside(packing, &prefix)?;
                Some(Some(packing))
            }
            Format::Raw if source.total().is_none() => Some(None),
            Format::Raw | Format::Qcow2 => None,
        };
        if unpacking.is_some() {
            virtual_bytes = self.disk.bytes();
        }
        self.check_size(virtual_bytes)?;
        Ok(Start { format, virtual_bytes, plan, unpacking })
    }

    fn check_size(&self, image_bytes: u64) -> Result<(), ImageError> {
        let disk_bytes = self.disk.bytes();
        if image_bytes == 0 {
            return Err(ImageError::Empty);
        }
        if image_bytes > disk_bytes {
            return Err(ImageError::TooLarge { image_bytes, disk_bytes });
        }
        Ok(())
    }

    async fn clear(&self, target: &Arc<Target>) -> Result<(), ImageError> {
        self.check_stop()?;
        self.state.virtual_bytes.store(target.sums.virtual_bytes(), Ordering::Relaxed);
        self.state.stage.store(CLEARING, Ordering::Relaxed);
        let (clearing, starters) = (Arc::clone(target), self.request.starters.clone());
        let clear = move || {
            clearing.boot_area.clear(&*clearing.disk)?;
            starter::clear(&starters)?;
            Ok(())
        };
        blocking("image-clear", clear).await?;
        self.state.stage.store(CLEARED, Ordering::Relaxed);
        Ok(())
    }

    async fn flush(&self) -> Result<(), ImageError> {
        let disk = Arc::clone(self.disk);
        blocking("image-flush", move || Ok(disk.flush()?)).await
    }

    /// Asked before every act that destroys or commits.
    fn check_stop(&self) -> Result<(), ImageError> {
        if self.watch.cancelled() { Err(ImageError::Cancelled) } else { Ok(()) }
    }

    async fn commit(&self, target: &Arc<Target>) -> Result<(), ImageError> {
        self.check_stop()?;
        self.state.stage.store(COMMITTING, Ordering::Relaxed);
        let committing = Arc::clone(target);
        let read_back = self.request.readback != ReadbackMode::None;
        blocking("image-commit", move || committing.boot_area.commit(&*committing.disk, read_back))
            .await
    }

    /// Reads the body until nothing is left; once for every image whose tables come before its data.
    async fn passes(
        &self,
        source: &mut Source,
        (mut plan, unpacking): (Plan, Option<Option<Packing>>),
        target: &Arc<Target>,
        expected: &str,
    ) -> Result<Pass, ImageError> {
        for number in 1..=self.tuning.passes {
            let pass = self.pass(source, (plan, unpacking), target).await?;
            if pass.digest != expected {
                return Err(if number > 1 {
                    ImageError::ChangedBetweenPasses
                } else {
                    ImageError::Checksum {
                        algorithm: self.request.checksum.algorithm.name(),
                        actual: pass.digest,
                        expected: expected.to_owned(),
                    }
                });
            }
            plan = match pass.left {
                Left::Pieces(left) if !left.is_done() => left,
                Left::Pieces(_) | Left::End(_) => return Ok(pass),
            };
            tracing::info!(pieces = plan.pieces(), "the image is read once more");
            if number < self.tuning.passes {
                source.rewind().await?;
            }
        }
        Err(ImageError::OutOfOrder { pieces: plan.pieces(), passes: self.tuning.passes })
    }

    /// One reading of the body.
    async fn pass(
        &self,
        source: &mut Source,
        (plan, unpacking): (Plan, Option<Option<Packing>>),
        target: &Arc<Target>,
    ) -> Result<Pass, ImageError> {
        let fate = Arc::new(Fate::default());
        let limits = Limits {
            pieces: self.tuning.map_pieces,
            tables: self.tuning.tables,
            ring_bytes: if plan.l1.is_some() || !plan.tables.is_empty() {
                self.tuning.ring_bytes
            } else {
                0
            },
        };
        let codec = plan.header.map(|header| Codec {
            compression: header.compression,
            cluster_bytes: usize::try_from(header.cluster_bytes).unwrap_or(0),
        });
        let (lanes, writers) = start_writers(target, codec, &fate)?;
        // A decompressor is slower than the network and the disk, and has a window of its own: half of what waits on its sides.
        let share = if unpacking.is_some() { 2 } else { 1 };
        let pool = Pool::new(self.tuning.pool_bytes / share, BUFFER_BYTES);
        let sink = Sink { target: Arc::clone(target), lanes, pool };
        let (to_hasher, hashed) = mpsc::channel(CHUNKS / share);
        let (to_demux, body) = mpsc::channel(CHUNKS / share);
        let hasher = digest::start_hasher(self.request.checksum.algorithm, hashed, &fate)?;
        let decoder = match unpacking {
            Some(packing) => Decoder::Unpack(unpack::start_unpack(packing, sink, body, &fate)?),
            None => Decoder::Demux(decode::start_demux(plan, limits, sink, body, &fate)?),
        };

        let image_bytes = self.feed(source, [to_hasher, to_demux]).await?;
        let digest = hasher.join().await?;
        let left = decoder.join().await?;
        for writer in writers {
            writer.join().await?;
        }
        if let Some(fault) = fate.take_fault() {
            return Err(fault);
        }
        let stopped = || ImageError::Thread { thread: "image-decode", what: "stopped".into() };
        Ok(Pass { digest, image_bytes, left: left.ok_or_else(stopped)? })
    }

    /// Sends the body to both threads, until it ends or one of them is gone (and will say why).
    async fn feed(
        &self,
        source: &mut Source,
        threads: [mpsc::Sender<Bytes>; 2],
    ) -> Result<u64, ImageError> {
        let (mut bytes, mut told) = (0, 0);
        let disk_bytes = self.disk.bytes();
        let most = disk_bytes.saturating_mul(2).saturating_add(self.tuning.excess_bytes);
        while let Some(chunk) = source.next().await? {
            bytes += chunk.len() as u64;
            if bytes > most && source.total().is_none() {
                return Err(ImageError::Endless { bytes, disk_bytes });
            }
            for thread in &threads {
                if thread.send(chunk.clone()).await.is_err() {
                    return Ok(bytes);
                }
            }
            if bytes - told >= PROGRESS_BYTES || source.total() == Some(bytes) {
                told = bytes;
                self.watch.progress("write", bytes, source.total());
            }
        }
        Ok(bytes)
    }
}
