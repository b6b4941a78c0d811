//! Plugins for orders: the signed bundles in a folder, whose keys are trusted, and who may have which file.
//!
//! A bundle is named by the sha256 of its payload. What is not signed with a trusted key is not offered, and the log says why;
//! the agent checks everything again with the keys of its own ramdisk.

mod check;
mod key;
pub mod trust;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::extract::{Path as UrlPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ironwright_api::PluginBundle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

pub use key::{KeyError, TrustedKeys};

use crate::app::{App, chain};
use crate::http::error::ApiError;
use crate::settings::PluginSettings;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// The shelf of bundles.
#[derive(Debug, Default)]
pub struct Plugins {
    dir: PathBuf,
    keys: TrustedKeys,
    known: RwLock<Vec<Known>>,
}

/// Length and time of change: what tells one version of a file from another.
type Stamp = (u64, Option<SystemTime>);

/// A file of the folder, judged once.
#[derive(Debug, Clone)]
struct Known {
    path: PathBuf,
    stamp: Stamp,
    /// None: refused.
    bundle: Option<PluginBundle>,
}

impl Plugins {
    /// Reads the trusted keys and the folder. Without keys there are no plugins, and the folder is not looked at.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: one bad key refuses all, so that a damaged file is noticed.
    pub fn open(settings: &PluginSettings) -> Result<Self, KeyError> {
        let keys = TrustedKeys::read(&settings.keys)?;
        let plugins = Self { dir: settings.dir.clone(), keys, known: RwLock::default() };
        plugins.look();
        Ok(plugins)
    }

    /// The keys whose bundles are offered.
    #[must_use]
    pub fn keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Looks at the folder again: judges what is new or changed, forgets what is gone. Blocking.
    pub fn look(&self) {
        if self.keys.is_empty() {
            return;
        }
        let files = match bundles_in(&self.dir) {
            Ok(files) => files,
            Err(error) => {
                tracing::error!("cannot read plugins.dir {}: {error}", self.dir.display());
                return;
            }
        };
        let before = self.read();
        let judge = |(path, stamp): (PathBuf, _)| {
            let same = before.iter().find(|known| known.path == path && known.stamp == stamp);
            same.cloned().unwrap_or_else(|| self.judge(path, stamp))
        };
        let now: Vec<Known> = files.into_iter().map(judge).collect();
        for gone in before.iter().filter(|old| !now.iter().any(|known| known.path == old.path)) {
            tracing::info!("the plugin {} is gone", gone.path.display());
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn judge(&self, path: PathBuf, stamp: Stamp) -> Known {
        let bundle = match check::bundle(&path, &self.keys) {
            Ok(bundle) => {
                let PluginBundle { sha256, key_id, .. } = &bundle;
                tracing::info!(
                    "the plugin {} ({sha256}, signed by {key_id}) is offered",
                    path.display()
                );
                Some(bundle)
            }
            Err(error) => {
                tracing::error!("the plugin {} is refused: {}", path.display(), chain(&error));
                None
            }
        };
        Known { path, stamp, bundle }
    }

    /// The bundles for an order, each once.
    #[must_use]
    pub fn bundles(&self) -> Vec<PluginBundle> {
        let mut found: Vec<PluginBundle> = Vec::new();
        for bundle in self.read().into_iter().filter_map(|known| known.bundle) {
            if !found.iter().any(|other| other.sha256 == bundle.sha256) {
                found.push(bundle);
            }
        }
        found
    }

    fn path_of(&self, sha256: &str) -> Option<PathBuf> {
        let is_it =
            |known: &Known| known.bundle.as_ref().is_some_and(|bundle| bundle.sha256 == sha256);
        self.read().into_iter().find(is_it).map(|known| known.path)
    }

    fn read(&self) -> Vec<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The `*.plugin` files of a folder, sorted, with what changes when they do.
fn bundles_in(dir: &Path) -> std::io::Result<Vec<(PathBuf, Stamp)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let named = path.extension().is_some_and(|extension| extension == "plugin");
        // One that is gone already is none.
        if let (true, Ok(meta)) = (named, fs::metadata(&path))
            && meta.is_file()
        {
            found.push((path, (meta.len(), meta.modified().ok())));
        }
    }
    found.sort();
    Ok(found)
}

/// Looks at the folder every few seconds until `stop`.
pub async fn follow(plugins: Arc<Plugins>, stop: CancellationToken) {
    if plugins.keys.is_empty() {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let looking = plugins.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || looking.look()).await {
            tracing::error!("looking at the plugins ended badly: {error}");
        }
    }
}

/// `GET /plugins/{sha256}`: a bundle, to who knows its name.
///
/// # Errors
///
/// 404 for any other name.
pub async fn show(
    State(app): State<App>,
    UrlPath(sha256): UrlPath<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let file = app.plugins.path_of(&sha256).ok_or(ApiError::NoSuchPath)?;
    let response = ServeFile::new(file).oneshot(request).await.map_err(ApiError::internal)?;
    Ok(response.map(axum::body::Body::new))
}

/// `GET /boot/plugin-keys`: the cpio with the trusted keys, loaded beside the ramdisk.
///
/// # Errors
///
/// 404 where no keys are set.
pub async fn keys(State(app): State<App>) -> Result<Response, ApiError> {
    if app.plugins.keys.is_empty() {
        return Err(ApiError::NoSuchPath);
    }
    let content_type = HeaderValue::from_static("application/gzip");
    let archive = trust::archive(&app.plugins.keys).map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, content_type)], archive).into_response())
}

#[cfg(test)]
pub(crate) mod tests;
