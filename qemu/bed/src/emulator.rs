// SPDX-License-Identifier: GPL-2.0

//! The emulated NTB: its command line and its counters.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::options::Options;

/// Transactions counted by `ntb-emu`, by their dotted name (`lender.window1.writes`).
pub type Counters = BTreeMap<String, u64>;

/// The control connection of a bed's `ntb-emu`.
#[derive(Clone, Debug)]
pub struct Emulator {
    pub(crate) control: PathBuf,
}

impl Emulator {
    /// Sends one request line and returns the answer.
    ///
    /// # Errors
    ///
    /// `ntb-emu` does not run or does not answer within five seconds.
    pub fn ask(&self, request: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.control)
            .with_context(|| format!("connecting to ntb-emu at {}", self.control.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        writeln!(stream, "{request}")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .with_context(|| format!("waiting for ntb-emu's answer to '{request}'"))?;
        Ok(answer)
    }

    /// Everything it has counted since it started.
    ///
    /// # Errors
    ///
    /// As for [`ask`](Self::ask), or the answer is not what it should be.
    pub fn counters(&self) -> Result<Counters> {
        let answer = self.ask("counters")?;
        let json = serde_json::from_str(&answer)
            .with_context(|| format!("ntb-emu's counters are no JSON: {answer}"))?;
        let mut counters = Counters::new();
        flatten("", &json, &mut counters);
        Ok(counters)
    }
}

fn flatten(prefix: &str, json: &serde_json::Value, into: &mut Counters) {
    let name = |key: &str| match prefix {
        "" => key.to_string(),
        _ => format!("{prefix}.{key}"),
    };
    match json {
        serde_json::Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| flatten(&name(key), value, into)),
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| flatten(&name(&index.to_string()), value, into)),
        other => {
            if let Some(number) = other.as_u64() {
                into.insert(prefix.to_string(), number);
            }
        }
    }
}

/// The arguments of `ntb-emu`.
pub(crate) fn args(options: &Options, run_dir: &Path, ram: impl Fn(&str) -> String) -> Vec<String> {
    let mut args = Vec::new();
    for host in &options.hosts {
        let socket = run_dir.join(format!("{}.ntb", host.name));
        args.push("--host".into());
        args.push(format!(
            "{},socket={},ram={}",
            host.name,
            socket.display(),
            ram(&host.name)
        ));
    }
    for window in &options.windows {
        args.push("--window".into());
        args.push(window.to_string());
    }
    args.push("--control".into());
    args.push(run_dir.join("control").display().to_string());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_hosts_and_windows_in_order() {
        let args = args(&Options::default(), Path::new("/r"), |host| {
            format!("/m/{host}")
        });
        assert_eq!(
            args.join(" "),
            "--host lender,socket=/r/lender.ntb,ram=/m/lender \
             --host borrower,socket=/r/borrower.ntb,ram=/m/borrower \
             --window 1M --window 64M --window 512M,direct --control /r/control"
        );
    }

    #[test]
    fn counters_get_dotted_names() {
        let mut counters = Counters::new();
        let json = serde_json::json!({"lender": {"windows": [{"reads": 3}], "name": "x"}, "n": 1});
        flatten("", &json, &mut counters);
        let expected: Counters = [("lender.windows.0.reads".into(), 3), ("n".into(), 1)].into();
        assert_eq!(counters, expected);
    }
}
