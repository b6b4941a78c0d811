//! From the body of an image file to guest bytes, in one pass.
//!
//! A [`Plan`] says what is known before the body runs: everything (raw, or qcow2 whose tables were read ahead by ranges)
//! or only where the first table is. [`Demux`] walks the body: what the plan claims goes to its place, tables still to
//! come extend the plan, bytes without a role yet wait in a bounded ring. What is missed is left for another pass.

mod demux;
mod output;
mod plan;
mod ring;
mod window;

use std::sync::Arc;

use bytes::Bytes;
use ironwright_qcow2::{FormatError, Header, Item, Table};
use tokio::sync::mpsc;

pub(super) use demux::Limits;
pub(super) use output::Output;
pub(super) use plan::plan;

use super::error::ImageError;
use super::thread::{Fate, Worker};
use super::write::{Lanes, Pool, Target};
use demux::Demux;

/// What is known of an image and still to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// `None`: raw.
    pub(super) header: Option<Header>,
    /// Length of the file, when known.
    pub(super) file_bytes: Option<u64>,
    /// Stored pieces, sorted by host offset.
    pub(super) items: Vec<Item>,
    /// Guest ranges (offset, bytes) to be zeroed.
    pub(super) zeros: Vec<(u64, u64)>,
    /// The L1 table is still to be read from the body, from this byte of it on.
    pub(super) l1: Option<u64>,
    /// L2 tables still to be read from the body.
    pub(super) tables: Vec<Table>,
    /// Tables read ahead, to be compared with the body.
    pub(super) checks: Vec<Check>,
}

impl Plan {
    /// Whether nothing is left to be read.
    pub(super) fn is_done(&self) -> bool {
        self.items.is_empty() && self.tables.is_empty() && self.l1.is_none()
    }

    /// Pieces left to be read.
    pub(super) fn pieces(&self) -> usize {
        self.items.len() + self.tables.len() + usize::from(self.l1.is_some())
    }
}

/// Bytes of the file that were acted on before the body brought them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) offset: u64,
    pub(super) bytes: usize,
    pub(super) sha256: [u8; 32],
}

/// Why decoding ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// For a reason of its own.
    Error(ImageError),
    /// Because another thread failed, which has said why.
    Elsewhere,
}

impl From<FormatError> for Stop {
    fn from(error: FormatError) -> Self {
        Self::Error(error.into())
    }
}

impl From<ImageError> for Stop {
    fn from(error: ImageError) -> Self {
        Self::Error(error)
    }
}

/// Where a walk sends its jobs.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) target: Arc<Target>,
    pub(super) lanes: Lanes,
    pub(super) pool: Pool,
}

/// The thread that walks one body; its result is what is left for another pass. It ends when the channel does, and early
/// when it or another thread fails.
pub(super) fn start_demux(
    plan: Plan,
    limits: Limits,
    sink: Sink,
    mut body: mpsc::Receiver<Bytes>,
    fate: &Arc<Fate>,
) -> Result<Worker<Option<Plan>>, ImageError> {
    let shared = Arc::clone(fate);
    Worker::start("image-decode", fate, move || {
        let cluster_bytes = plan.header.map_or(0, |header| header.cluster_bytes);
        let cluster_bytes = usize::try_from(cluster_bytes).unwrap_or(0);
        let output = Output::new(sink.target, sink.lanes, sink.pool, cluster_bytes);
        let walk = || {
            let mut demux = Demux::begin(plan, limits, output)?;
            while let Some(chunk) = body.blocking_recv() {
                if shared.stopped() {
                    return Err(Stop::Elsewhere);
                }
                demux.feed(chunk)?;
            }
            demux.finish()
        };
        match walk() {
            Ok(left) => Some(left),
            Err(Stop::Elsewhere) => None,
            Err(Stop::Error(error)) => {
                shared.fail(error);
                None
            }
        }
    })
}
