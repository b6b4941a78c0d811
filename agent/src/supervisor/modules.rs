//! Kernel modules: which ones a device needs, and loading them with what they depend on.
//!
//! The text indexes of depmod(8) are read; the modules themselves lie compressed one by one, and only those this machine
//! needs are inflated. What is missing or does not fit the machine is never fatal: a server boots with what works.

mod glob;
mod index;

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub(super) use index::Index;

/// Largest module that is inflated, bytes. The largest in Debian's kernel 6.1 is 4.2 MB.
const MAX_MODULE_BYTES: u64 = 64 << 20;

/// Why one module was not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ModuleError {
    /// The file cannot be read or inflated.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Inflates to more than [`MAX_MODULE_BYTES`].
    #[error("{} inflates to more than {MAX_MODULE_BYTES} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// The kernel said no.
    #[error("the kernel refused {module}: {errno}")]
    Refused {
        /// Which.
        module: String,
        /// Its answer.
        errno: Errno,
    },
}

impl ModuleError {
    /// Whether this happens on healthy machines: already there, no such device, or (ENOENT) a symbol is missing because
    /// the module that has it found no device; the kernel's log names the symbol.
    fn is_ordinary(&self) -> bool {
        matches!(self, Self::Refused { errno: Errno::EEXIST | Errno::ENODEV | Errno::ENOENT, .. })
    }
}

/// Loads modules of one kernel, each at most once.
#[derive(Debug)]
pub(super) struct Modules {
    folder: PathBuf,
    index: Index,
    parameters: HashMap<String, String>,
    tried: HashSet<PathBuf>,
    loaded: usize,
}

impl Modules {
    /// The modules below `folder` (`/lib/modules/VERSION`); `parameters` by module name.
    ///
    /// # Errors
    /// Without a readable `modules.dep` there is nothing to load.
    pub(super) fn open(folder: &Path, parameters: HashMap<String, String>) -> io::Result<Self> {
        let read = |name| fs::read_to_string(folder.join(name));
        let dependencies = read("modules.dep")?;
        let aliases = read("modules.alias").unwrap_or_default();
        let soft = read("modules.softdep").unwrap_or_default();
        Ok(Self {
            folder: folder.to_owned(),
            index: Index::parse(&dependencies, &aliases, &soft),
            parameters,
            tried: HashSet::new(),
            loaded: 0,
        })
    }

    /// How many the kernel took.
    pub(super) fn loaded(&self) -> usize {
        self.loaded
    }

    /// Loads whatever `wanted` names: a module, or an alias such as a device's `modalias`. Returns what went wrong; a
    /// driver that finds no device is not wrong.
    pub(super) fn load(&mut self, wanted: &str) -> Vec<ModuleError> {
        let mut errors = Vec::new();
        for path in self.index.plan(wanted) {
            if !self.tried.insert(path.clone()) {
                continue;
            }
            match self.insert(&path) {
                Ok(()) => self.loaded += 1,
                Err(error) if error.is_ordinary() => {}
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    fn insert(&self, relative: &Path) -> Result<(), ModuleError> {
        let path = self.folder.join(relative);
        let image = inflate(&path)?;
        let module = index::name_of(&relative.to_string_lossy());
        let parameters = self.parameters.get(&module).cloned().unwrap_or_default();
        // The command line cannot hold a NUL.
        let parameters = CString::new(parameters).unwrap_or_default();
        nix::kmod::init_module(&image, &parameters)
            .map_err(|errno| ModuleError::Refused { module, errno })
    }
}

fn inflate(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let broken = |source| ModuleError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(broken)?;
    let mut image = Vec::new();
    let reader: Box<dyn io::Read> = if path.extension().is_some_and(|end| end == "zst") {
        Box::new(zstd::Decoder::new(file).map_err(broken)?)
    } else {
        Box::new(file)
    };
    reader.take(MAX_MODULE_BYTES + 1).read_to_end(&mut image).map_err(broken)?;
    if image.len() as u64 > MAX_MODULE_BYTES {
        return Err(ModuleError::TooLarge { path: path.to_owned() });
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_module_is_inflated_and_a_plain_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let image = vec![7; 100_000];
        let compressed = folder.path().join("a.ko.zst");
        fs::write(&compressed, zstd::encode_all(image.as_slice(), 3).unwrap()).unwrap();
        assert_eq!(inflate(&compressed).unwrap(), image);
        let plain = folder.path().join("a.ko");
        fs::write(&plain, &image).unwrap();
        assert_eq!(inflate(&plain).unwrap(), image);
    }

    #[test]
    fn a_damaged_module_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.ko.zst");
        fs::write(&path, b"not zstd").unwrap();
        assert!(inflate(&path).unwrap_err().to_string().contains("broken.ko.zst"));
    }

    #[test]
    fn a_module_that_inflates_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.ko.zst");
        let zeros = io::repeat(0).take(MAX_MODULE_BYTES + 10);
        fs::write(&path, zstd::encode_all(zeros, 1).unwrap()).unwrap();
        assert!(matches!(inflate(&path), Err(ModuleError::TooLarge { .. })));
    }
}
