// SPDX-License-Identifier: GPL-2.0

//! A bed as a whole: start, attach, end.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::agent::Agent;
use crate::emulator::{self, Emulator};
use crate::ending;
use crate::environment::Environment;
use crate::host::{last_lines, Host};
use crate::options::Options;
use crate::process::Process;
use crate::qemu::{self, Place};
use crate::times::{self, Kind};
use crate::turn::Turns;
use crate::wait::{until, Seen};

/// Longest path of a UNIX socket, in bytes.
const SOCKET_PATH: usize = 107;
/// Where the hosts' memory is: files that QEMU and ntb-emu share.
const SHARED_MEMORY: &str = "/dev/shm";
const RECORD: &str = "bed.json";
const TOPOLOGY: &str = "topology.toml";

/// Hosts joined by an emulated NTB.
#[derive(Debug)]
pub struct Bed {
    options: Options,
    run_dir: PathBuf,
    tag: String,
    environment: Environment,
    emulator: Process,
    hosts: Vec<Host>,
    end_with_drop: bool,
}

impl Bed {
    /// Starts a bed and waits until its hosts take commands. It ends when the value is dropped, unless
    /// [`detach`](Self::detach) is called.
    ///
    /// What a killed program may have left in the same run directory is ended first.
    ///
    /// # Errors
    ///
    /// The environment is missing, or a part does not start; what had been started is ended then.
    pub fn start(options: Options) -> Result<Self> {
        let bed = Self::new(options)?;
        let record = bed.run_dir.join(RECORD);
        if record.exists() {
            Self::attach(Some(&bed.run_dir))?.down()?;
        }
        fs::create_dir_all(&bed.run_dir)
            .with_context(|| format!("making {}", bed.run_dir.display()))?;
        fs::create_dir_all(bed.environment.top.join(&bed.environment.modules))?;
        for host in &bed.hosts {
            for old in ["console", "log"] {
                let _ = fs::remove_file(host.file(old));
            }
        }
        fs::write(&record, serde_json::to_vec_pretty(&bed.options)?)
            .with_context(|| format!("writing {}", record.display()))?;
        ending::add(&bed.run_dir);
        times::spend(Kind::Boot, || bed.power_on())?;
        Ok(bed)
    }

    /// Finds a bed that was started earlier, by its run directory (the checkout's own by default).
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn attach(run_dir: Option<&Path>) -> Result<Self> {
        let run_dir = match run_dir {
            Some(dir) => dir.to_path_buf(),
            None => Environment::find()?.run_dir,
        };
        let record = run_dir.join(RECORD);
        let bytes = fs::read(&record).with_context(|| {
            format!(
                "no bed is up in {}: start one with 'make play'",
                run_dir.display()
            )
        })?;
        let mut options: Options = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged", record.display()))?;
        options.run_dir = Some(run_dir);
        let mut bed = Self::new(options)?;
        bed.end_with_drop = false;
        Ok(bed)
    }

    fn new(options: Options) -> Result<Self> {
        let environment = Environment::with_kernel(options.kernel.as_deref())?;
        options.check()?;
        let run_dir = match &options.run_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => environment.run_dir.clone(),
        };
        let tag = tag(&run_dir);
        let image = environment
            .guest_image
            .file_name()
            .context("the guest image has no name")?
            .to_string_lossy()
            .into_owned();
        let mut hosts = Vec::new();
        for host in &options.hosts {
            let name = &host.name;
            let socket = run_dir.join(format!("{name}.qga"));
            ensure!(
                socket.as_os_str().len() <= SOCKET_PATH,
                "{} is too long for a socket: set DEVLEND_RUN to a shorter directory",
                socket.display()
            );
            let mark = format!("devlend-{tag}-{name}");
            let ram = ram_file(&tag, name);
            let place = Place {
                mark: &mark,
                ram: &ram.display().to_string(),
                image: &image,
                modules: &environment.modules.display().to_string(),
                kernel: environment.kernel_image(),
                initramfs: environment.initramfs(),
            };
            let slots = options.slots(name);
            let mut qemu_args = vec!["qemu-system-x86_64".to_string()];
            qemu_args.extend(qemu::args(&options, host, &place));
            hosts.push(Host {
                options: host.clone(),
                families: slots.iter().map(|slot| slot.link.family).collect(),
                ntbs: slots.iter().map(|slot| slot.address()).collect(),
                process: Process::new(run_dir.join(format!("{name}.pid")), mark.clone())
                    .on(options.processor),
                agent: Agent {
                    socket,
                    turns: Turns::at(&run_dir.join(format!("{name}.qga"))),
                },
                run_dir: run_dir.clone(),
                ram,
                qemu_args,
                environment: environment.clone(),
            });
        }
        let control = run_dir.join("control").display().to_string();
        Ok(Self {
            emulator: Process::new(run_dir.join("ntb-emu.pid"), control).on(options.processor),
            options,
            run_dir,
            tag,
            environment,
            hosts,
            end_with_drop: true,
        })
    }

    /// The hosts' memory is in files there; running out of it later would kill them without a word.
    fn check_memory(&self) -> Result<()> {
        let needed: u64 = self.hosts.iter().map(|host| host.options.memory).sum();
        let stat = nix::sys::statvfs::statvfs(SHARED_MEMORY)
            .with_context(|| format!("{SHARED_MEMORY} is needed for the hosts' memory"))?;
        let free = stat.blocks_available() * stat.fragment_size();
        ensure!(
            free >= needed,
            "{SHARED_MEMORY} has {} MiB free, the hosts' memory needs {}: make it larger, as with 'mount -o remount,size={}M {SHARED_MEMORY}'",
            free >> 20,
            needed >> 20,
            (stat.blocks() * stat.fragment_size() + needed) >> 20
        );
        Ok(())
    }

    fn power_on(&self) -> Result<()> {
        self.check_memory()?;
        for host in &self.hosts {
            // ntb-emu opens the hosts' memory when it starts.
            fs::File::create(&host.ram)
                .and_then(|ram| ram.set_len(host.options.memory))
                .with_context(|| format!("making {}", host.ram.display()))?;
        }
        if !self.options.links.is_empty() {
            self.start_emulator()?;
        }
        for host in &self.hosts {
            host.power_on()?;
        }
        for host in &self.hosts {
            host.wait_ready(1)?;
        }
        Ok(())
    }

    fn start_emulator(&self) -> Result<()> {
        let log = self.run_dir.join("ntb-emu.log");
        let _ = fs::remove_file(&log);
        let topology = self.run_dir.join(TOPOLOGY);
        let text = emulator::topology(&self.options, &self.run_dir, |name| {
            ram_file(&self.tag, name).display().to_string()
        })?;
        fs::write(&topology, text).with_context(|| format!("writing {}", topology.display()))?;
        let control = self.run_dir.join("control");
        let args = [
            "--topology".into(),
            topology.display().to_string(),
            "--control".into(),
            control.display().to_string(),
        ];
        self.emulator
            .start(&self.environment.emulator()?, &args, &[], &log)?;
        until("ntb-emu to be ready", Duration::from_secs(10), || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.lines().any(|line| line == "ntb-emu: ready") {
                return Ok(Seen::Yes(()));
            }
            if self.emulator.pid().is_none() {
                bail!("ntb-emu ended: {}", last_lines(&text, 5));
            }
            Ok(Seen::NotYet(last_lines(&text, 1)))
        })
    }

    /// A host by its name.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .with_context(|| {
                let names: Vec<&str> = self.hosts.iter().map(Host::name).collect();
                format!("there is no host '{name}' (there is {})", names.join(", "))
            })
    }

    /// All hosts, in the order of the options.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The options it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where its sockets, consoles and logs are.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The checkout, the kernel and the guest image it was made from.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The control connection of the emulated NTB.
    #[must_use]
    pub fn emulator(&self) -> Emulator {
        Emulator {
            control: self.run_dir.join("control"),
        }
    }

    /// The process id of `ntb-emu`, if it runs.
    #[must_use]
    pub fn emulator_pid(&self) -> Option<u32> {
        self.emulator.pid()
    }

    /// Leaves the bed running when the value is dropped.
    pub fn detach(&mut self) {
        self.end_with_drop = false;
        ending::remove(&self.run_dir);
    }

    /// Ends everything the bed started, and nothing else. Consoles and logs stay for a look.
    ///
    /// # Errors
    ///
    /// A process does not end, or a file cannot be removed.
    pub fn down(&self) -> Result<()> {
        times::spend(Kind::Shutdown, || self.end_all())
    }

    fn end_all(&self) -> Result<()> {
        ending::remove(&self.run_dir);
        for host in &self.hosts {
            host.kill()?;
        }
        self.emulator.stop()?;
        for host in &self.hosts {
            let _ = fs::remove_file(&host.ram);
            host.agent.turns.clear();
            for file in ["nvme", "qmp", "qga", "net", "hub"] {
                let _ = fs::remove_file(host.file(file));
            }
            for slot in self.options.slots(host.name()) {
                let _ = fs::remove_file(host.file(&slot.suffix()));
            }
        }
        for file in ["control", TOPOLOGY, RECORD] {
            let _ = fs::remove_file(self.run_dir.join(file));
        }
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.end_with_drop {
            if let Err(error) = self.down() {
                tracing::error!("ending the bed: {error:#}");
            }
        }
    }
}

/// A short word for a run directory, to tell the beds of one machine apart.
fn tag(run_dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    run_dir.hash(&mut hasher);
    format!("{:08x}", hasher.finish() as u32)
}

fn ram_file(tag: &str, host: &str) -> PathBuf {
    PathBuf::from(format!("{SHARED_MEMORY}/devlend-{tag}-{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beds_in_different_places_have_different_tags() {
        assert_ne!(tag(Path::new("/tmp/a")), tag(Path::new("/tmp/b")));
        assert_eq!(tag(Path::new("/tmp/a")), tag(Path::new("/tmp/a")));
        assert_eq!(tag(Path::new("/tmp/a")).len(), 8);
    }
}
