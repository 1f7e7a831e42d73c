// SPDX-License-Identifier: GPL-2.0

//! What can be made to go wrong at a link while it runs, as asked for on the control socket and on the command line.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// Longest time that accesses may be delayed, both directions of a link together: QEMU gives up on a read after 5 s, for
/// good, and the peer's QEMU needs its time to answer.
pub const MAX_DELAY: Duration = Duration::from_secs(3);
/// Longest time that a doorbell may be delayed by itself.
pub const MAX_DOORBELL_DELAY: Duration = Duration::from_secs(60);
/// Longest and shortest period of a flapping cable.
pub const FLAP_PERIODS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(600)];

/// A fault, and the link it is for.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[command(subcommand_value_name = "FAULT", subcommand_help_heading = "Faults")]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The link; it need not be named if there is only one.
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What is to go wrong.
    #[command(subcommand)]
    pub fault: Fault,
}

/// What is to go wrong. A fault stays until it is taken back or `clear` ends it; asked for again, it is replaced.
#[derive(Clone, Debug, PartialEq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Pull the cable. What is under way is lost.
    Down,
    /// Put the cable in.
    Up,
    /// Pull the cable and put it in again, several times.
    Flap {
        /// How often.
        #[arg(long, default_value_t = 1)]
        #[serde(default = "once")]
        times: u32,
        /// From one pull to the next; for half of that the cable is out.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
        #[serde(with = "humantime_serde")]
        period: Duration,
    },
    /// Lose doorbells that a host rings: the next few, or each with some probability. `--next 0` loses none any more.
    #[command(group = clap::ArgGroup::new("which").required(true).args(["next", "probability"]))]
    DropDoorbells {
        /// Who rings; without it both hosts.
        #[arg(long)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Lose this many.
        #[arg(long, value_name = "COUNT")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
        /// Lose each with this probability, 0 to 1.
        #[arg(long, value_name = "P")]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probability: Option<f64>,
        /// Where the random numbers begin: the same seed loses the same doorbells.
        #[arg(long, default_value_t = 0)]
        #[serde(default)]
        seed: u64,
    },
    /// Have doorbells that a host rings arrive late, while its accesses through windows do not. 0s ends it.
    DelayDoorbells {
        /// Who rings; without it both hosts.
        #[arg(long)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// How late, at most 60s.
        #[arg(value_name = "TIME", value_parser = humantime::parse_duration)]
        #[serde(with = "humantime_serde")]
        by: Duration,
    },
    /// Have everything that a host sends (accesses through windows, answers to the peer's reads, doorbells) arrive late,
    /// in the order sent. 0s ends it.
    Delay {
        /// Who sends; without it both hosts.
        #[arg(long)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// How late, at most 3s for both directions together.
        #[arg(value_name = "TIME", value_parser = humantime::parse_duration)]
        #[serde(with = "humantime_serde")]
        by: Duration,
    },
    /// Have a window read as all-ones and swallow what is written.
    AllOnes {
        /// Whose window; without it both hosts'.
        #[arg(long)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Its number, from 0.
        window: usize,
        /// Have it work again.
        #[arg(long)]
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        off: bool,
    },
    /// Let nothing cross to or from a host, without a word to anybody, until it is thawed.
    Freeze {
        /// Which host.
        #[arg(long)]
        host: String,
    },
    /// Let things cross to and from a host again: what has waited arrives in order.
    Thaw {
        /// Which host; without it both.
        #[arg(long)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// Reset a host's function behind the host's back.
    Reset {
        /// Which host.
        #[arg(long)]
        host: String,
    },
    /// End all faults of the link: the cable is in, what has waited arrives.
    Clear,
}

fn once() -> u32 {
    1
}

/// Why a fault cannot be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// No link of that name.
    #[error("there is no link '{name}' (there is: {links})")]
    UnknownLink {
        /// The name.
        name: String,
        /// The links there are.
        links: String,
    },
    /// None is named, and there are several.
    #[error("there are several links, say which: {0}")]
    WhichLink(String),
    /// The link does not end at that host.
    #[error("link '{link}' has no host '{name}' (it has: {hosts})")]
    UnknownHost {
        /// The link.
        link: String,
        /// The name.
        name: String,
        /// The hosts it joins.
        hosts: String,
    },
    /// No such window.
    #[error("there is no window {window} (there is: 0 to {last})")]
    UnknownWindow {
        /// Its number.
        window: usize,
        /// The last one there is.
        last: usize,
    },
    /// The host accesses the window without us.
    #[error(
        "window {window} of '{host}' is direct: its QEMU has the peer's RAM mapped there, and accesses do not come by here; \
         start with a window without 'direct'"
    )]
    Direct {
        /// Whose.
        host: String,
        /// Its number.
        window: usize,
    },
    /// Too long or too short.
    #[error(
        "{what} of {asked} is not possible: {least} to {most} is",
        asked = humantime::format_duration(*.asked),
        least = humantime::format_duration(*.least),
        most = humantime::format_duration(*.most)
    )]
    Time {
        /// Of what.
        what: &'static str,
        /// What was asked for.
        asked: Duration,
        /// The shortest that is possible.
        least: Duration,
        /// The longest that is possible.
        most: Duration,
    },
    /// Both directions together would take too long.
    #[error(
        "a delay of {asked} with {other} the other way is not possible: {most} together is, for QEMU gives up on a read \
         after 5s",
        asked = humantime::format_duration(*.asked),
        other = humantime::format_duration(*.other),
        most = humantime::format_duration(MAX_DELAY)
    )]
    RoundTrip {
        /// What was asked for.
        asked: Duration,
        /// The delay of the other direction.
        other: Duration,
    },
    /// A number out of range.
    #[error("{what} of {asked} is not possible: {range} is")]
    Number {
        /// Of what.
        what: &'static str,
        /// What was asked for.
        asked: String,
        /// What is possible.
        range: &'static str,
    },
    /// Not exactly one way to choose.
    #[error(
        "say which doorbells to drop: either \"next\", a count, or \"probability\", from 0 to 1"
    )]
    WhichDoorbells,
    /// The system has no more threads.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::ErrorKind),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        request: Request,
    }

    fn typed(words: &str) -> Result<Request, clap::Error> {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()))
            .map(|line| line.request)
    }

    #[test]
    fn the_command_line_and_the_socket_say_the_same() {
        for (words, json) in [
            ("down", r#"{"fault":"down"}"#),
            ("--link ab up", r#"{"link":"ab","fault":"up"}"#),
            (
                "flap --times 3 --period 100ms",
                r#"{"fault":{"flap":{"times":3,"period":"100ms"}}}"#,
            ),
            (
                "drop-doorbells --next 5",
                r#"{"fault":{"drop-doorbells":{"next":5,"seed":0}}}"#,
            ),
            (
                "drop-doorbells --host a --probability 0.5 --seed 9",
                r#"{"fault":{"drop-doorbells":{"host":"a","probability":0.5,"seed":9}}}"#,
            ),
            (
                "delay --host b 250us",
                r#"{"fault":{"delay":{"host":"b","by":"250us"}}}"#,
            ),
            (
                "delay-doorbells 2s",
                r#"{"fault":{"delay-doorbells":{"by":"2s"}}}"#,
            ),
            ("all-ones 1", r#"{"fault":{"all-ones":{"window":1}}}"#),
            (
                "all-ones 1 --host a --off",
                r#"{"fault":{"all-ones":{"host":"a","window":1,"off":true}}}"#,
            ),
            ("freeze --host a", r#"{"fault":{"freeze":{"host":"a"}}}"#),
            ("thaw", r#"{"fault":{"thaw":{}}}"#),
            ("reset --host a", r#"{"fault":{"reset":{"host":"a"}}}"#),
            ("clear", r#"{"fault":"clear"}"#),
        ] {
            let request = typed(words).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), json);
            assert_eq!(serde_json::from_str::<Request>(json).unwrap(), request);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "",
            "break",
            "freeze",
            "delay",
            "delay 5",
            "delay -1s",
            "drop-doorbells",
            "drop-doorbells --next 1 --probability 0.5",
            "all-ones",
            "all-ones -1",
        ] {
            assert!(typed(words).is_err(), "{words}");
        }
        for json in [
            r#"{}"#,
            r#"{"fault":"break"}"#,
            r#"{"fault":"freeze"}"#,
            r#"{"fault":{"freeze":{}}}"#,
            r#"{"fault":{"freeze":{"host":"a","window":1}}}"#,
            r#"{"fault":"down","host":"a"}"#,
            r#"{"fault":{"delay":{"by":5}}}"#,
            r#"{"fault":{"delay":{"by":"5"}}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(json).is_err(), "{json}");
        }
    }
}
