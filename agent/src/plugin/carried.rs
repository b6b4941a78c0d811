//! Bundles that came with the ramdisk, for conductors that have none to offer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironwright_api::{MAX_BUNDLE_HEADER, MAX_BUNDLE_PAYLOAD, PluginBundle};

use super::bundle;
use super::supply::{Loaded, Supply};
use crate::order::blocking;
use crate::report::chain;

/// Where a ramdisk carries bundles, `*.plugin`: an archive of its own, beside that of the trusted keys.
const CARRIED: &str = "/etc/ironwright/plugins";
/// Most bundles looked at.
const MOST: usize = 64;

impl Supply {
    /// All bundles that came with the ramdisk and are trusted; what is wrong with the others is logged. In a sandbox those of the
    /// folder that was named.
    pub async fn carried(&self) -> Vec<Arc<Loaded>> {
        let folder = match (crate::supervisor::in_ramdisk(), &self.folder) {
            (true, _) => PathBuf::from(CARRIED),
            (false, Some(folder)) => folder.clone(),
            (false, None) => return Vec::new(),
        };
        let supply = self.clone();
        let loaded = blocking(move || Ok(supply.all_in(&folder))).await;
        loaded.unwrap_or_else(|failure| {
            tracing::error!("no plugin of the ramdisk: {}", failure.message);
            Vec::new()
        })
    }

    fn all_in(&self, folder: &Path) -> Vec<Arc<Loaded>> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "plugin"))
            .collect();
        files.sort();
        let mut loaded = Vec::new();
        for file in files.iter().take(MOST) {
            match self.read_file(file) {
                Ok(plugin) => loaded.push(Arc::new(plugin)),
                Err(why) => tracing::error!("{} is left out: {why}", file.display()),
            }
        }
        loaded
    }

    fn read_file(&self, path: &Path) -> Result<Loaded, String> {
        let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        let most = MAX_BUNDLE_PAYLOAD + MAX_BUNDLE_HEADER as u64;
        if bytes > most {
            return Err(format!("it has {bytes} bytes, the most is {most}"));
        }
        let file = std::fs::read(path).map_err(|error| error.to_string())?;
        let trusted = self.trusted().map_err(|error| chain(&error))?;
        let verified = bundle::verify(&file, &trusted, None).map_err(|error| chain(&error))?;
        let (sha256, key_id) = (verified.sha256.clone(), verified.key_id.clone());
        let ordered = PluginBundle { sha256, key_id, bytes, url: String::new() };
        self.open(&ordered, &file).map_err(|failure| failure.message)
    }
}
