//! The power status loop, with Ironic's semantics.

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Runs until `stop`.
pub async fn run(_app: App, stop: CancellationToken) {
    stop.cancelled().await;
}
