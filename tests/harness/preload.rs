//! Small libraries in C that stand between a program and the C library, by `LD_PRELOAD`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds one from its source in this directory.
///
/// # Panics
/// When there is no C compiler; `tests/run` installs one.
pub fn build(source: &str, into: &Path) -> PathBuf {
    let library = into.join(source).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness").join(source);
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(flags).arg(&library).arg(&source).arg("-ldl").status();
    assert!(built.is_ok_and(|status| status.success()), "cc builds {}", source.display());
    library
}
