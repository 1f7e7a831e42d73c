// SPDX-License-Identifier: GPL-2.0

//! `packaging/check-kernel` refuses kernels that the modules cannot be built for, each with a line that names cause and cure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const RUSTC: &str = "rustc 1.85.1 (4eb161250 2025-03-15)";

/// A build tree that is as it should be, and a compiler beside it.
struct Kernel(TempDir);

impl Kernel {
    fn new() -> Self {
        let kernel = Self(TempDir::new().unwrap());
        kernel.write("kdir/Makefile", "");
        kernel.write("kdir/include/config/kernel.release", "7.3.4-test\n");
        kernel.write("kdir/rust/libkernel.rmeta", "");
        kernel.configure(&["CONFIG_RUST=y", "CONFIG_NTB=m"]);
        kernel.write("rustc", &format!("#!/bin/sh\necho '{RUSTC}'\n"));
        let program = kernel.path("rustc");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        kernel
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn configure(&self, options: &[&str]) {
        let text = format!(
            "CONFIG_RUSTC_VERSION_TEXT=\"{RUSTC}\"\n{}\n",
            options.join("\n")
        );
        self.write("kdir/.config", &text);
    }

    /// What the script says, if it refuses.
    fn refusal_with(&self, variables: &[(&str, &str)]) -> Option<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("check-kernel");
        let output = Command::new(script)
            .arg(self.path("kdir"))
            .env("RUSTC", self.path("rustc"))
            .env_remove("KBUILD_EXTRA_SYMBOLS")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty());
        if output.status.success() {
            assert_eq!(complaint, "");
            return None;
        }
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        Some(complaint)
    }

    #[track_caller]
    fn is_refused(&self, words: &[&str]) {
        let complaint = self.refusal_with(&[]).expect("it is taken");
        for word in words {
            assert!(complaint.contains(word), "no {word:?} in: {complaint}");
        }
    }
}

#[test]
fn a_good_kernel_is_taken() {
    assert_eq!(Kernel::new().refusal_with(&[]), None);
}

#[test]
fn a_directory_that_is_not_there() {
    let kernel = Kernel::new();
    fs::remove_dir_all(kernel.path("kdir")).unwrap();
    kernel.is_refused(&["no directory", "linux-headers-"]);
}

#[test]
fn no_build_tree() {
    for missing in ["kdir/Makefile", "kdir/.config"] {
        let kernel = Kernel::new();
        kernel.remove(missing);
        kernel.is_refused(&["no kernel's build tree", "headers"]);
    }
}

#[test]
fn a_tree_that_was_not_built() {
    let kernel = Kernel::new();
    kernel.remove("kdir/include/config/kernel.release");
    kernel.is_refused(&["not built", "run 'make'"]);
}

#[test]
fn too_old() {
    for release in ["6.12.117", "7.1.9-arch1", "7.0-rc1", "2.6.32"] {
        let kernel = Kernel::new();
        kernel.write("kdir/include/config/kernel.release", release);
        kernel.is_refused(&[release, "too old", "7.2 or later"]);
    }
    for release in ["7.2", "7.2.12+deb13-amd64", "7.10.1", "7.3-rc1", "10.0"] {
        let kernel = Kernel::new();
        kernel.write("kdir/include/config/kernel.release", release);
        assert_eq!(kernel.refusal_with(&[]), None, "{release}");
    }
}

#[test]
fn without_rust() {
    let kernel = Kernel::new();
    kernel.configure(&["# CONFIG_RUST is not set", "CONFIG_NTB=m"]);
    kernel.is_refused(&["CONFIG_RUST", "docs/kernels.md"]);
}

#[test]
fn without_metadata() {
    let kernel = Kernel::new();
    kernel.remove("kdir/rust/libkernel.rmeta");
    kernel.is_refused(&["rust/*.rmeta", "make deb"]);
}

#[test]
fn another_compiler() {
    let kernel = Kernel::new();
    kernel.write("rustc", "#!/bin/sh\necho 'rustc 1.97.1 (of another day)'\n");
    kernel.is_refused(&["1.85.1", "1.97.1", "RUSTC="]);
}

#[test]
fn no_compiler() {
    let kernel = Kernel::new();
    kernel.remove("rustc");
    kernel.is_refused(&["there is no", RUSTC]);
}

#[test]
fn without_ntb() {
    let kernel = Kernel::new();
    kernel.configure(&["CONFIG_RUST=y", "# CONFIG_NTB is not set"]);
    kernel.is_refused(&["CONFIG_NTB", "make deb"]);
    // Its modules may have been built elsewhere.
    let symbols = [("KBUILD_EXTRA_SYMBOLS", "/ntb/Module.symvers")];
    assert_eq!(kernel.refusal_with(&symbols), None);
    kernel.configure(&["CONFIG_RUST=y", "CONFIG_NTB=y"]);
    assert_eq!(kernel.refusal_with(&[]), None);
}
