// SPDX-License-Identifier: GPL-2.0

//! Where the environment that `qemu/env/setup` makes is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

/// The places that `qemu/env/lib.sh` computes, asked of it: there is one source of truth.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The checkout.
    pub top: PathBuf,
    /// The kernel's build tree.
    pub kernel_tree: PathBuf,
    /// The guests' root file system.
    pub guest_image: PathBuf,
    /// The run directory of this checkout.
    pub run_dir: PathBuf,
    /// Where our modules for that kernel are, from the top of the checkout.
    pub modules: PathBuf,
}

impl Environment {
    /// Asks the environment scripts of this checkout.
    ///
    /// # Errors
    ///
    /// The scripts fail, or the environment has not been made.
    pub fn find() -> Result<Self> {
        Self::with_kernel(None)
    }

    /// The same with a certain flavour of the kernel.
    ///
    /// # Errors
    ///
    /// As for [`find`](Self::find).
    pub fn with_kernel(flavour: Option<&str>) -> Result<Self> {
        let top = match std::env::var_os("DEVLEND_TOP") {
            Some(top) => PathBuf::from(top),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        };
        let top = top
            .canonicalize()
            .with_context(|| format!("no checkout at {}: set DEVLEND_TOP", top.display()))?;
        let output = Command::new("bash")
            .args([
                "-c",
                r#"set -eu; . "$1"; printf '%s\n' "$TOOLS_ROOT" "$KERNEL_TREE" "$GUEST_IMAGE" "$RUN_DIR" "$MODULES_OUT""#,
                "bed",
            ])
            .arg(top.join("qemu/env/lib.sh"))
            .envs(flavour.map(|flavour| ("DEVLEND_KERNEL", flavour)))
            .output()
            .context("running bash")?;
        if !output.status.success() {
            bail!(
                "qemu/env/lib.sh failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = String::from_utf8(output.stdout).context("qemu/env/lib.sh printed no text")?;
        let mut lines = text.lines().map(PathBuf::from);
        let mut next = || lines.next().context("qemu/env/lib.sh printed too little");
        let (tools_root, kernel_tree, guest_image, run_dir) = (next()?, next()?, next()?, next()?);
        let modules = next()?;
        for needed in [
            tools_root.join(".complete"),
            kernel_tree.join(".complete"),
            guest_image.clone(),
        ] {
            if !needed.exists() {
                bail!(
                    "the environment is not complete ({} is missing): run '{}make env'",
                    needed.display(),
                    flavour.map_or_else(String::new, |name| format!("DEVLEND_KERNEL={name} "))
                );
            }
        }
        Ok(Self {
            top,
            kernel_tree,
            guest_image,
            run_dir,
            modules,
        })
    }

    /// Whether an option is built into the kernel.
    #[must_use]
    pub fn kernel_has(&self, option: &str) -> bool {
        let config = fs::read_to_string(self.kernel_tree.join(".config")).unwrap_or_default();
        let yes = format!("{option}=y");
        config.lines().any(|line| line == yes)
    }

    /// The kernel's image, from the top of its tree: not the compressed one where the kernel can be entered without.
    pub(crate) fn kernel_image(&self) -> &'static str {
        if self.initramfs().is_none() && self.kernel_has("CONFIG_PVH") {
            "vmlinux"
        } else {
            "arch/x86/boot/bzImage"
        }
    }

    /// The initramfs, from the top of the kernel's tree, where the kernel has the drivers for the guest image as modules.
    pub(crate) fn initramfs(&self) -> Option<&'static str> {
        const INITRAMFS: &str = "initrd.img";
        self.kernel_tree
            .join(INITRAMFS)
            .exists()
            .then_some(INITRAMFS)
    }

    /// The script that runs a command inside the tools root.
    pub(crate) fn enter(&self) -> PathBuf {
        self.top.join("qemu/env/enter")
    }

    /// The `ntb-emu` program: beside this program, or where `NTB_EMU` says.
    pub(crate) fn emulator(&self) -> Result<PathBuf> {
        match std::env::var_os("NTB_EMU") {
            Some(path) => Ok(path.into()),
            None => self.program("ntb-emu"),
        }
    }

    /// Puts a program of this workspace where the guests see it, and returns its path below `/devlend` there.
    pub(crate) fn share_program(&self, name: &str) -> Result<String> {
        let program = self.program(name)?;
        let bytes = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
        let directory = self.top.join(&self.modules).join("programs");
        let shared = directory.join(name);
        // Tests at the same time want the same, and a guest may be reading it.
        if fs::read(&shared).is_ok_and(|there| there == bytes) {
            return Ok(format!("programs/{name}"));
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let new = directory.join(format!(
            "{name}.{}.{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::copy(&program, &new)
            .and_then(|_| fs::rename(&new, &shared))
            .with_context(|| format!("copying {} to {}", program.display(), shared.display()))?;
        Ok(format!("programs/{name}"))
    }

    /// Another program of this workspace: beside this one, where cargo puts them all.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let own = std::env::current_exe().context("finding this program's own path")?;
        // A test program is one directory further down.
        own.ancestors()
            .skip(1)
            .take(2)
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
            .with_context(|| format!("no {name} beside {}: 'make tools' builds it", own.display()))
    }
}
