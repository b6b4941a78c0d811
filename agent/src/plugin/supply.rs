//! From a bundle that an order names to a plugin that can be asked: fetched, verified, unpacked, and true to its manifest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use ironwright_api::{Blame, Failure, MAX_BUNDLE_HEADER, MAX_BUNDLE_PAYLOAD, PluginBundle};
use ironwright_plugin::{Manifest, Progress};
use url::Url;

use super::bundle::{self, BundleError};
use super::key::{KeyError, TRUSTED, TrustedKeys};
use super::{Confinement, Plugin, Scratch, Watch};
use crate::order::blocking;
use crate::report::chain;
use crate::supervisor;

/// How often a bundle is asked for before the order fails.
const ATTEMPTS: u64 = 3;

/// Where the orders' plugins come from, and whose are trusted.
#[derive(Debug, Clone, Default)]
pub struct Supply {
    client: Option<reqwest::Client>,
    bases: Vec<Url>,
    trust: Vec<PathBuf>,
    launcher: Option<PathBuf>,
    /// Bundles at hand, outside the ramdisk.
    pub(super) folder: Option<PathBuf>,
}

/// Why a bundle could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no coordinator is known to fetch it from")]
    NoServer,
    #[error("{path:?} is no path on the coordinator")]
    Path { path: String },
    #[error("the order says {bytes} bytes, the most is {most}")]
    TooLarge { bytes: u64, most: u64 },
    #[error("GET {url}")]
    Get { url: Url, source: reqwest::Error },
    #[error("GET {url} answered {status}")]
    Status { url: Url, status: reqwest::StatusCode },
    #[error("GET {url} gave more than the {bytes} bytes that the order says")]
    Longer { url: Url, bytes: u64 },
    #[error("GET {url} gave {found} of the {bytes} bytes that the order says")]
    Shorter { url: Url, bytes: u64, found: u64 },
}

impl FetchError {
    /// Whether it may be otherwise the next time.
    fn may_pass(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Shorter { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            Self::NoServer | Self::Path { .. } | Self::TooLarge { .. } | Self::Longer { .. } => {
                false
            }
        }
    }
}

impl Supply {
    /// Fetches with `client` from the coordinators `bases`. `trust` are public key files or folders of them, used outside the
    /// ramdisk only: inside it has its own. `launcher` is the agent's binary, which confines plugins where this is root; none:
    /// they run as a developer's own programs do, never in the ramdisk.
    #[must_use]
    pub fn new(
        client: reqwest::Client,
        bases: Vec<Url>,
        trust: Vec<PathBuf>,
        launcher: Option<PathBuf>,
    ) -> Self {
        Self { client: Some(client), bases, trust, launcher, folder: None }
    }

    /// With bundles at hand in `folder`, for use outside the ramdisk: inside it has its own.
    #[must_use]
    pub fn with_folder(self, folder: Option<PathBuf>) -> Self {
        Self { folder, ..self }
    }

    /// Fetches `bundle`, verifies it, and asks the plugin in it what it is.
    ///
    /// # Errors
    /// The [`Failure`] to report. Nothing of the bundle was looked at before its digest, its key and its signature fitted.
    pub async fn load(&self, bundle: &PluginBundle) -> Result<Loaded, Failure> {
        let file = self.fetch(bundle).await.map_err(|error| Failure {
            remedy: "check that the coordinator has the bundle and can be reached, then give the order again".to_owned(),
            blame: Blame::Environment,
            ..refused(bundle, &chain(&error))
        })?;
        let (supply, bundle) = (self.clone(), bundle.clone());
        blocking(move || supply.open(&bundle, &file)).await
    }

    pub(super) fn open(&self, ordered: &PluginBundle, file: &[u8]) -> Result<Loaded, Failure> {
        let wrong = |error: BundleError| Failure {
            remedy: error.remedy().to_owned(),
            ..refused(ordered, &chain(&error))
        };
        let broken = |error: &dyn std::error::Error| Failure {
            remedy: "report this with the machine's console".to_owned(),
            blame: Blame::Internal,
            ..refused(ordered, &chain(error))
        };
        let trusted = self.trusted().map_err(|error| broken(&error))?;
        let verified = bundle::verify(file, &trusted, Some(&ordered.sha256)).map_err(wrong)?;
        if verified.key_id != ordered.key_id {
            let (found, said) = (&verified.key_id, &ordered.key_id);
            let why = format!("the bundle is signed with the key {found}, the order says {said}");
            return Err(refused(ordered, &why));
        }
        let scratch = Scratch::make().map_err(|error| broken(&error))?;
        let folder = verified.unpack(&scratch.tree()).map_err(wrong)?;
        let confinement = self.confinement(&scratch, ordered)?;
        let plugin = Plugin { folder, confinement, devices: Vec::new(), live: None };
        let loaded =
            Loaded { plugin, sha256: verified.sha256, key_id: verified.key_id, _scratch: scratch };
        loaded.plugin.describe(&Nobody).map_err(|error| {
            let failure = error.failure(&loaded.to_string(), "");
            Failure { message: format!("nothing was changed: {}", failure.message), ..failure }
        })?;
        Ok(loaded)
    }

    pub(super) fn trusted(&self) -> Result<TrustedKeys, KeyError> {
        let own = Path::new(TRUSTED);
        match supervisor::in_ramdisk() {
            // A ramdisk without the keys' cpio trusts nobody.
            true if !own.exists() => Ok(TrustedKeys::default()),
            true => TrustedKeys::read(&[own.to_path_buf()]),
            false => TrustedKeys::read(&self.trust),
        }
    }

    fn confinement(
        &self,
        scratch: &Scratch,
        ordered: &PluginBundle,
    ) -> Result<Confinement, Failure> {
        match &self.launcher {
            Some(launcher) if nix::unistd::geteuid().is_root() => {
                Ok(Confinement::Tree { launcher: launcher.clone(), mount: scratch.mount() })
            }
            Some(_) | None if supervisor::in_ramdisk() => {
                Err(refused(ordered, "it could not be confined, and this is the ramdisk"))
            }
            Some(_) | None => {
                tracing::warn!(
                    "the plugin runs WITHOUT confinement, with all rights of this process"
                );
                Ok(Confinement::None)
            }
        }
    }

    async fn fetch(&self, bundle: &PluginBundle) -> Result<Vec<u8>, FetchError> {
        let most = MAX_BUNDLE_PAYLOAD + MAX_BUNDLE_HEADER as u64;
        if bundle.bytes > most {
            return Err(FetchError::TooLarge { bytes: bundle.bytes, most });
        }
        let mut failure = FetchError::NoServer;
        for attempt in 1..=ATTEMPTS {
            for base in &self.bases {
                match self.fetch_from(base, bundle).await {
                    Ok(file) => return Ok(file),
                    Err(error) => failure = error,
                }
            }
            if !failure.may_pass() || attempt == ATTEMPTS {
                break;
            }
            tracing::warn!("{}; trying again in {attempt} s", chain(&failure));
            tokio::time::sleep(Duration::from_secs(attempt)).await;
        }
        Err(failure)
    }

    async fn fetch_from(&self, base: &Url, bundle: &PluginBundle) -> Result<Vec<u8>, FetchError> {
        let client = self.client.as_ref().ok_or(FetchError::NoServer)?;
        let url = under(base, &bundle.url)
            .ok_or_else(|| FetchError::Path { path: bundle.url.chars().take(200).collect() })?;
        let get = |source: reqwest::Error| FetchError::Get {
            url: url.clone(),
            source: source.without_url(),
        };
        let response = client.get(url.clone()).send().await.map_err(get)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status { status: response.status(), url });
        }
        let (mut file, bytes) = (Vec::new(), bundle.bytes);
        let mut body = response.bytes_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(get)?;
            if (file.len() + piece.len()) as u64 > bytes {
                return Err(FetchError::Longer { url, bytes });
            }
            file.extend_from_slice(&piece);
        }
        let found = file.len() as u64;
        if found < bytes { Err(FetchError::Shorter { url, bytes, found }) } else { Ok(file) }
    }
}

/// `path` on the server of `base`, and on no other one.
fn under(base: &Url, path: &str) -> Option<Url> {
    let mut base = base.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    let url = base.join(path.strip_prefix('/')?).ok()?;
    (url.origin() == base.origin()).then_some(url)
}

fn refused(bundle: &PluginBundle, why: &str) -> Failure {
    Failure {
        step: String::new(),
        message: format!("nothing was changed: plugin {}: {why}", short(&bundle.sha256)),
        remedy: "take the bundle out of the coordinator's folder, or replace it".to_owned(),
        blame: Blame::Order,
    }
}

/// The beginning of a sha256, for sentences.
fn short(sha256: &str) -> String {
    sha256.chars().take(12).collect()
}

/// A plugin of an order, unpacked as long as this value lives.
#[derive(Debug)]
pub struct Loaded {
    /// The plugin, without devices.
    pub plugin: Plugin,
    /// SHA-256 of its bundle.
    pub sha256: String,
    /// Who signed it.
    pub key_id: String,
    _scratch: Scratch,
}

impl Loaded {
    /// What it says it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.plugin.folder.manifest()
    }

    /// For comparing plugins with the same step: by version; of the same version any, but always the same one.
    #[must_use]
    pub fn rank(&self) -> (Vec<u32>, String, String) {
        let manifest = self.manifest();
        (manifest.parts().unwrap_or_default(), manifest.name.clone(), self.sha256.clone())
    }
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Manifest { name, version, .. } = self.manifest();
        write!(f, "{name} {version} ({})", short(&self.sha256))
    }
}

/// Follows `describe`, which has nothing to follow.
struct Nobody;

impl Watch for Nobody {
    fn progress(&self, _: &Progress) {}

    fn cancelled(&self) -> bool {
        false
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::plugin::Folder;

    /// A fake plugin that nobody signed and that does nothing, with these steps (`interface.name`).
    pub(crate) fn fake(name: &str, version: &str, steps: &[&str]) -> Arc<Loaded> {
        let scratch = Scratch::make().unwrap();
        let step = |key: &&str| {
            let (interface, name) = key.split_once('.').unwrap();
            json!({"name": name, "interface": interface, "safety": "changes", "priority": 5})
        };
        let steps: Vec<_> = steps.iter().map(step).collect();
        let manifest = json!({
            "name": name, "version": version, "protocol": 1, "exec": ["fake"], "steps": steps,
        });
        let dir = scratch.tree();
        fs::create_dir(dir.join("root")).unwrap();
        fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
        fs::write(dir.join("root/fake"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join("root/fake"), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = Folder::read(&dir).unwrap();
        let plugin =
            Plugin { folder, confinement: Confinement::None, devices: Vec::new(), live: None };
        let sha256 = format!("{name}-{version}");
        Arc::new(Loaded { plugin, sha256, key_id: "fake".to_owned(), _scratch: scratch })
    }

    #[test]
    fn a_bundle_is_fetched_from_the_coordinator_and_from_nowhere_else() {
        for (base, path, expected) in [
            ("http://h:1", "/plugins/ab", Some("http://h:1/plugins/ab")),
            ("http://h/sub", "/plugins/ab", Some("http://h/sub/plugins/ab")),
            ("http://h", "http://evil/x", None),
            ("http://h", "//evil/x", Some("http://h/evil/x")),
            ("http://h", "/http://evil/x", None),
            ("http://h", "plugins", None),
        ] {
            let found = under(&base.parse().unwrap(), path).map(String::from);
            assert_eq!(found.as_deref(), expected, "{base} {path}");
        }
    }
}
