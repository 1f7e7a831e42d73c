// SPDX-License-Identifier: GPL-2.0

//! `bed up`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::Args;
use devlend_bed::{parse_size, Bed, Family, HostOptions, LinkOptions, Options, Window};

/// How to make the hosts.
#[derive(Args)]
pub struct Up {
    /// Leave the hosts running and return.
    #[arg(long)]
    detach: bool,
    /// A host, as often as there are to be hosts. Without any: lender and borrower, and a link between them.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// A link between two hosts, the primary one first, or from a host to itself.
    #[arg(long = "link", value_name = "HOST:HOST[,FAMILY]", requires = "hosts")]
    links: Vec<String>,
    /// Give this host an NVMe disk; without `--host`, the lender has one.
    #[arg(long, value_name = "HOST", requires = "hosts")]
    nvme: Vec<String>,
    /// The hardware family of links that do not say it.
    #[arg(long, value_name = "FAMILY", default_value = "amd")]
    ntb: Family,
    /// More QEMU arguments for the lender, in shell words.
    #[arg(
        long,
        env = "LENDER_ARGS",
        default_value = "",
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    lender_args: String,
    /// More QEMU arguments for the borrower, in shell words.
    #[arg(
        long,
        env = "BORROWER_ARGS",
        default_value = "",
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    borrower_args: String,
    /// RAM, as 512M, or for one host only, as lender=1G.
    #[arg(long, value_name = "[HOST=]SIZE")]
    memory: Vec<String>,
    /// Virtual processors, as 2, or for one host only, as borrower=2.
    #[arg(long, value_name = "[HOST=]COUNT")]
    smp: Vec<String>,
    /// Give this host an IOMMU.
    #[arg(long, value_name = "HOST")]
    iommu: Vec<String>,
    /// More words for the kernel's command line, for all hosts or one.
    #[arg(long, value_name = "[HOST=]WORDS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// The memory windows of each NTB in order, as 64M or 512M,direct. Replaces the family's usual ones.
    #[arg(long = "window", value_name = "SIZE[,direct]")]
    windows: Vec<Window>,
    /// Leave the NTB out.
    #[arg(long, conflicts_with = "links")]
    no_ntb: bool,
    /// Put the hosts on a network of their own, with `ssh` from each to each.
    #[arg(long)]
    network: bool,
    /// QEMU's accelerator.
    #[arg(long, default_value = "tcg")]
    accel: String,
}

impl Up {
    /// Starts the bed; returns when it is detached or ended.
    pub fn run(self, run_dir: Option<PathBuf>) -> Result<()> {
        if let Ok(bed) = Bed::attach(run_dir.as_deref()) {
            if bed.hosts().iter().any(|host| host.pid().is_some()) {
                bail!(
                    "a bed is up already in {}: end it with 'make stop'",
                    bed.run_dir().display()
                );
            }
        }
        let detach = self.detach;
        let mut options = self.options()?;
        options.run_dir = run_dir;

        // An interrupt during the boot must end the hosts, too.
        devlend_bed::end_on_signals()?;
        let start = Instant::now();
        let mut bed = Bed::start(options)?;
        let names: Vec<&str> = bed.hosts().iter().map(devlend_bed::Host::name).collect();
        eprintln!(
            "bed: {} up after {:.1} s; consoles and logs in {}",
            names.join(" and "),
            start.elapsed().as_secs_f32(),
            bed.run_dir().display()
        );
        if detach {
            bed.detach();
            return Ok(());
        }
        eprintln!("bed: Ctrl-C ends it");
        loop {
            std::thread::park();
        }
    }

    fn options(&self) -> Result<Options> {
        let mut options = Options {
            network: self.network,
            accel: self.accel.clone(),
            ..Options::pair(self.ntb)
        };
        if self.no_ntb {
            options.links.clear();
        }
        if !self.hosts.is_empty() {
            options.hosts = self
                .hosts
                .iter()
                .map(|name| HostOptions::new(name))
                .collect();
            options.links = (0..)
                .zip(&self.links)
                .map(|(number, text)| parse_link(number, text, self.ntb))
                .collect::<Result<_>>()?;
            for name in &self.nvme {
                options.host_mut(name)?.nvme = Some(256 << 20);
            }
        }
        if !self.windows.is_empty() {
            for link in &mut options.links {
                link.windows = self.windows.clone();
            }
        }
        options.check()?;
        for (name, words) in [
            ("lender", &self.lender_args),
            ("borrower", &self.borrower_args),
        ] {
            if words.is_empty() {
                continue;
            }
            options.host_mut(name)?.args = shlex::split(words).with_context(|| {
                format!("the {name}'s arguments end inside a quotation: {words}")
            })?;
        }
        for name in &self.iommu {
            options.host_mut(name)?.iommu = true;
        }
        for setting in &self.memory {
            let (hosts, size) = addressed(&options, setting);
            let size = parse_size(size)?;
            for host in hosts {
                options.host_mut(&host)?.memory = size;
            }
        }
        for setting in &self.smp {
            let (hosts, count) = addressed(&options, setting);
            let count = count
                .parse()
                .ok()
                .filter(|count| (1..=8).contains(count))
                .with_context(|| format!("'{count}' is not a number of processors from 1 to 8"))?;
            for host in hosts {
                options.host_mut(&host)?.smp = count;
            }
        }
        for setting in &self.append {
            let (hosts, words) = addressed(&options, setting);
            for host in hosts {
                options.host_mut(&host)?.append = words.to_string();
            }
        }
        Ok(options)
    }
}

/// Understands `HOST:HOST[,FAMILY]`.
fn parse_link(number: usize, text: &str, family: Family) -> Result<LinkOptions> {
    let (ends, family) = match text.split_once(',') {
        None => (text, family),
        Some((ends, family)) => (ends, family.parse()?),
    };
    let (primary, secondary) = ends
        .split_once(':')
        .with_context(|| format!("'{text}' is no link: give two hosts, as in lender:borrower"))?;
    Ok(LinkOptions::new(
        &format!("ntb{number}"),
        family,
        [primary, secondary],
    ))
}

/// Splits `[HOST=]VALUE` into the hosts that are meant and the value.
fn addressed<'a>(options: &Options, setting: &'a str) -> (Vec<String>, &'a str) {
    let names: Vec<String> = options.hosts.iter().map(|host| host.name.clone()).collect();
    match setting.split_once('=') {
        Some((name, value)) if names.iter().any(|known| known == name) => {
            (vec![name.to_string()], value)
        }
        _ => (names, setting),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        up: Up,
    }

    fn options(args: &[&str]) -> Result<Options> {
        let mut words = vec!["bed"];
        words.extend(args);
        Wrapper::try_parse_from(words)?.up.options()
    }

    #[test]
    fn arguments_are_split_as_a_shell_does() {
        let options = options(&["--lender-args", "-device 'edu,id=a b' -s"]).unwrap();
        assert_eq!(options.hosts[0].args, ["-device", "edu,id=a b", "-s"]);
        assert!(options.hosts[1].args.is_empty());
    }

    #[test]
    fn an_open_quotation_is_an_error() {
        let error = options(&["--borrower-args", "-device 'edu"]).unwrap_err();
        assert!(error.to_string().contains("quotation"), "{error}");
    }

    #[test]
    fn settings_are_for_all_hosts_or_for_one() {
        let options = options(&[
            "--memory",
            "1G",
            "--memory",
            "borrower=256M",
            "--smp",
            "lender=2",
            "--append",
            "a=b",
        ])
        .unwrap();
        assert_eq!(options.hosts[0].memory, 1 << 30);
        assert_eq!(options.hosts[1].memory, 256 << 20);
        assert_eq!((options.hosts[0].smp, options.hosts[1].smp), (2, 1));
        assert_eq!(options.hosts[1].append, "a=b");
    }

    #[test]
    fn bad_settings_are_refused() {
        for bad in [
            ["--memory", "12"],
            ["--smp", "0"],
            ["--iommu", "nobody"],
            ["--window", "3M"],
            ["--ntb", "acme"],
            ["--link", "lender:borrower"],
        ] {
            assert!(options(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn three_hosts_in_a_chain() {
        let words = "--host a --host b --host c --link a:b --link b:c,amd --nvme c --window 1M --window 2M --window 4M";
        let words: Vec<&str> = words.split(' ').collect();
        let options = options(&words).unwrap();
        assert_eq!(options.hosts.len(), 3);
        assert_eq!(options.links[1].ends, ["b", "c"]);
        assert_eq!(options.links[1].name, "ntb1");
        assert_eq!(options.links[0].windows[2].size, 4 << 20);
        assert!(options.hosts[2].nvme.is_some() && options.hosts[0].nvme.is_none());
        for bad in ["a", "a:x", "a:b,acme"] {
            assert!(super::tests::options(&["--host", "a", "--host", "b", "--link", bad]).is_err());
        }
    }
}
