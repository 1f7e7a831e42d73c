// SPDX-License-Identifier: GPL-2.0

//! What came of a campaign.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::plan::Kind;

/// What became of a device that was in use when a fault came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// I/O went on.
    WentOn,
    /// I/O ended, with the device borrowed as before.
    Ended,
    /// I/O ended; the device could be borrowed again.
    BorrowedAgain,
    /// I/O ended; the device came back by itself.
    CameBack,
    /// Something was not as it has to be.
    Failed,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::WentOn,
        Self::Ended,
        Self::BorrowedAgain,
        Self::CameBack,
        Self::Failed,
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WentOn => "went on",
            Self::Ended => "I/O ended",
            Self::BorrowedAgain => "borrowed again",
            Self::CameBack => "came back",
            Self::Failed => "FAILED",
        })
    }
}

/// What was seen of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Sectors that were compared, one counted as often as it was.
    pub compared: u64,
    /// Sectors that were wrong.
    pub wrong: u64,
}

/// The sum of a campaign.
#[derive(Debug, Default)]
pub struct Report {
    /// Each fault and what came of it, in order.
    pub faults: Vec<(Kind, Outcome, Duration)>,
    /// All data.
    pub data: Data,
    /// Each lease that has ended.
    pub ends: Vec<End>,
    /// The longest time that a configuration access of the borrower's held interrupts off, us.
    pub longest_access: u64,
}

/// The end of a borrower's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What ended it, in devlend's words.
    pub why: String,
    /// From when that was known until the device's driver was gone, ms.
    pub removal: u64,
}

/// The ends of leases that a borrower's kernel log tells of.
pub fn ends(log: &str) -> impl Iterator<Item = End> + '_ {
    log.lines().filter_map(|line| {
        let (front, rest) = line.split_once("; its driver was gone ")?;
        Some(End {
            why: front.split_once(" ended: ")?.1.into(),
            removal: rest.split_once(" ms later")?.0.parse().ok()?,
        })
    })
}

impl Report {
    /// How often there was an outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.faults.iter().filter(|one| one.1 == outcome).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<38}{:>6}", "fault", "count")?;
        for outcome in Outcome::ALL {
            write!(f, "{outcome:>16}")?;
        }
        writeln!(f, "{:>11}", "longest")?;
        let mut kinds: Vec<Kind> = Vec::new();
        kinds.extend(Kind::ALL);
        kinds.retain(|kind| self.faults.iter().any(|one| one.0 == *kind));
        for kind in kinds {
            let these = || self.faults.iter().filter(|one| one.0 == kind);
            write!(f, "{:<38}{:>6}", kind.to_string(), these().count())?;
            for outcome in Outcome::ALL {
                match these().filter(|one| one.1 == outcome).count() {
                    0 => write!(f, "{:>16}", "-")?,
                    number => write!(f, "{number:>16}")?,
                }
            }
            let longest = these().map(|one| one.2).max().unwrap_or_default();
            writeln!(f, "{:>9.1} s", longest.as_secs_f64())?;
        }
        write!(f, "{:<38}{:>6}", "all", self.faults.len())?;
        for outcome in Outcome::ALL {
            write!(f, "{:>16}", self.count(outcome))?;
        }
        let time: Duration = self.faults.iter().map(|one| one.2).sum();
        writeln!(f, "{:>9.1} s together", time.as_secs_f64())?;
        let Data {
            acknowledged,
            compared,
            wrong,
        } = self.data;
        write!(
            f,
            "{acknowledged} writes acknowledged, {compared} sectors compared, {wrong} wrong"
        )?;
        self.fmt_ends(f)?;
        // CAST: A time to be shown.
        let longest = self.longest_access as f64 / 1e3;
        write!(
            f,
            "\n\na configuration access held interrupts off for {longest:.1} ms at most"
        )
    }
}

impl Report {
    /// How long the borrower's driver took to be gone, by what had ended the lease.
    fn fmt_ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for End { why, removal } in &self.ends {
            times.entry(why).or_default().push(*removal);
        }
        if times.is_empty() {
            return Ok(());
        }
        let columns = ["count", "driver gone, median", "longest"];
        let [count, median, longest] = columns;
        write!(
            f,
            "\n\n{:<38}{count:>6}{median:>22}{longest:>14}",
            "lease ended"
        )?;
        for (why, mut times) in times {
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let longest = times.last().copied().unwrap_or_default();
            write!(
                f,
                "\n{why:<38}{:>6}{median:>19} ms{longest:>11} ms",
                times.len()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_by_kind_and_outcome() {
        let second = Duration::from_secs(1);
        let report = Report {
            faults: vec![
                (Kind::Reset, Outcome::WentOn, second),
                (Kind::Cable, Outcome::BorrowedAgain, 2 * second),
                (Kind::Cable, Outcome::Failed, 3 * second),
            ],
            data: Data::default(),
            longest_access: 2_002_349,
            ends: ends(
                "[1.5] lease of 0000:00:03.0, epoch 7 ended: link lost; its driver was gone 310 ms later\n\
                 [2.5] link down\n\
                 [3.5] lease of 0000:00:03.0, epoch 8 ended: returned; its driver was gone 1200 ms later\n\
                 [4.5] lease of 0000:00:03.0, epoch 9 ended: returned; its driver was gone 20 ms later\n\
                 [5.5] lease of 0000:00:03.0, epoch 10 ended: returned; its driver was gone 40 ms later\n",
            )
            .collect(),
        };
        let text = report.to_string();
        let words = |line: usize| -> Vec<&str> {
            text.lines().nth(line).unwrap().split_whitespace().collect()
        };
        assert_eq!(
            words(1),
            ["pull", "the", "cable", "2", "-", "-", "1", "-", "1", "3.0", "s"]
        );
        assert_eq!(words(2)[3..], ["1", "1", "-", "-", "-", "-", "1.0", "s"]);
        assert_eq!(words(3)[..7], ["all", "3", "1", "0", "1", "0", "1"]);
        assert_eq!(report.count(Outcome::Failed), 1);
        let row = |words: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.starts_with(words)).unwrap();
            line[words.len()..].split_whitespace().collect()
        };
        assert_eq!(row("link lost"), ["1", "310", "ms", "310", "ms"]);
        assert_eq!(row("returned"), ["3", "40", "ms", "1200", "ms"]);
        assert!(
            text.ends_with("\na configuration access held interrupts off for 2002.3 ms at most")
        );
    }
}
