// SPDX-License-Identifier: GPL-2.0

//! `packaging/kernel-tree` refuses to begin where what it would make would not be the kernel's: one line each with cause and cure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const RELEASE: &str = "7.3.4+deb13-amd64";
const VERSION: &str = "7.3.4-1~bpo13+1";

/// Headers as Debian's are, and the programs that are asked about them.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().unwrap());
        machine.configure("CONFIG_RUST=y");
        machine.source(VERSION);
        machine.program("rustc", "echo 'rustc 1.85.1'");
        machine.program("bindgen", "echo 'bindgen 0.71.1'");
        machine.program("gcc-14", "echo 'gcc-14 14.2.0'");
        // What comes after the checks is not reached: nothing is unpacked.
        machine.program("tar", "echo 'tar: reached' >&2; exit 3");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, rust: &str) {
        let texts = "CONFIG_CC_VERSION_TEXT=\"gcc-14 14.2.0\"\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1.85.1\"\n\
                     CONFIG_BINDGEN_VERSION_TEXT=\"bindgen 0.71.1\"\n";
        fs::create_dir_all(self.path("headers")).unwrap();
        fs::write(self.path("headers/.config"), format!("{rust}\n{texts}")).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        fs::create_dir_all(self.path("bin")).unwrap();
        let program = self.path("bin").join(name);
        fs::write(&program, format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `linux-source` is installed in that version; not at all if it is empty.
    fn source(&self, version: &str) {
        self.program(
            "dpkg-query",
            &format!(
                "case \"$*\" in\n\
                 -S*) echo \"linux-headers-{RELEASE}: $2\" ;;\n\
                 *linux-headers*) echo '{VERSION}' ;;\n\
                 *linux-source-7.3) [ -n '{version}' ] && echo '{version}' ;;\n\
                 *) exit 1 ;;\nesac"
            ),
        );
    }

    fn run(&self) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel-tree");
        let output = Command::new(script)
            .arg(RELEASE)
            .arg(self.path("out"))
            .env("DEVLEND_HEADERS", self.path("headers"))
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .output()
            .unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), complaint)
    }

    #[track_caller]
    fn is_refused(&self, words: &[&str]) {
        let (status, complaint) = self.run();
        assert_eq!(status, Some(2), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        for word in words {
            assert!(complaint.contains(word), "no {word:?} in: {complaint}");
        }
        assert!(!self.path("out").exists(), "something was begun");
    }
}

#[test]
fn what_belongs_together_is_taken() {
    let (status, complaint) = Machine::new().run();
    assert_eq!((status, complaint.trim()), (Some(3), "tar: reached"));
}

#[test]
fn no_headers() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("headers")).unwrap();
    machine.is_refused(&["no headers", "apt install linux-headers-7.3.4"]);
}

#[test]
fn a_kernel_without_rust() {
    let machine = Machine::new();
    machine.configure("# CONFIG_RUST is not set");
    machine.is_refused(&["CONFIG_RUST", "backports"]);
}

#[test]
fn no_source() {
    let machine = Machine::new();
    machine.source("");
    machine.is_refused(&["source", "apt install linux-source-7.3"]);
}

#[test]
fn the_source_of_another_kernel() {
    let machine = Machine::new();
    machine.source("7.3.5-1~bpo13+1");
    machine.is_refused(&[VERSION, "7.3.5-1~bpo13+1", "apt install"]);
}

#[test]
fn another_compiler() {
    for (tool, wanted) in [("rustc", "rustc 1.85.1"), ("bindgen", "bindgen 0.71.1")] {
        let machine = Machine::new();
        machine.program(tool, "echo another");
        machine.is_refused(&[wanted, "'another'"]);
        machine.program(tool, "exit 127");
        machine.is_refused(&[wanted, "no ", "apt install"]);
    }
}

#[test]
fn no_c_compiler() {
    let machine = Machine::new();
    fs::remove_file(machine.path("bin/gcc-14")).unwrap();
    // Where it is installed in this machine, it is found.
    if !Path::new("/usr/bin/gcc-14").exists() {
        machine.is_refused(&["gcc-14", "apt install"]);
    }
}
