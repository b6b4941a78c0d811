//! Plugins' bundles, from our own programs and Debian's packages.

use std::fs;

use super::command::Program;
use super::store::{Key, Store};
use super::{ArtifactError, cargo, expect_bytes, workspace};
use crate::packages;
use crate::runs::Bundle;

/// The bundle of the plugin in `plugins/NAME`, signed with a key that is made for it.
///
/// # Errors
/// [`ArtifactError`].
pub fn bundle(name: &str) -> Result<Bundle, ArtifactError> {
    let sources = workspace().join("plugins");
    let folder = sources.join(name);
    let list = folder.join("packages.txt");
    let text = fs::read_to_string(&list).map_err(ArtifactError::file(&list))?;
    let names = names_in(&text);
    let agent = cargo::agent()?;
    let mut key = Key::new();
    for path in [&sources.join("build"), &list, &folder.join("manifest.json")] {
        key.add_file(path)?;
    }
    let shim = folder.join("shim.c");
    if shim.exists() {
        key.add_file(&shim)?;
    }
    let program = match folder.join("Cargo.toml").exists() {
        true => Some(cargo::plugin(name)?),
        false => None,
    };
    match &program {
        Some(program) => key.add_file(program)?,
        None => {
            let scripts = folder.join("root/bin");
            for entry in fs::read_dir(&scripts).map_err(ArtifactError::file(&scripts))? {
                key.add_file(&entry.map_err(ArtifactError::file(&scripts))?.path())?;
            }
        }
    }
    let short = name.rsplit('/').next().unwrap_or(name);
    let built = Store::new(&format!("plugin-{short}")).get(key, |partial| {
        let unpacked = packages::unpacked(&format!("plugin-{short}"), names.iter().copied())?;
        let author = partial.join("author");
        Program::new(&agent).args(["plugin", "keygen", "--output"]).arg(&author).run()?;
        let output = partial.join("bundle.plugin");
        let mut build = Program::new(sources.join("build")).arg(&folder);
        if let Some(program) = &program {
            build = build.arg("--program").arg(program);
        }
        build
            .arg("--key")
            .arg(&author)
            .arg("--output")
            .arg(&output)
            .arg("--packages")
            .arg(&unpacked)
            .arg("--agent")
            .arg(&agent)
            .run()?;
        expect_bytes(&output, 0, b"{", "a plugin's bundle")
    })?;
    let (file, key) = (built.join("bundle.plugin"), built.join("author.pub"));
    Ok(Bundle { name: name.to_owned(), file, key })
}

/// The packages that a `packages.txt` names.
#[must_use]
pub fn names_in(text: &str) -> Vec<&str> {
    let words = text.lines().filter(|line| !line.starts_with('#'));
    words.filter_map(|line| line.split_whitespace().next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_one_a_line() {
        assert_eq!(names_in("# a comment\nmdadm sbin/mdadm\n\nlibc6\n"), ["mdadm", "libc6"]);
    }
}
