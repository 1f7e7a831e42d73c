// SPDX-License-Identifier: GPL-2.0

//! What the script said about each test.

use std::fmt;

use anyhow::{ensure, Context, Result};

/// How a test ended, in the script's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// "Passed".
    Passed,
    /// "Unsupported".
    Unsupported,
    /// Left out, or not to be begun for want of a module.
    NotDone,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What it tests: "port", "db", "mw0" ...
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// All tests, in order.
pub struct Results(Vec<Test>);

impl Results {
    /// Reads the script's output, all of it.
    ///
    /// # Errors
    ///
    /// A test has no outcome, or an outcome no test; or the script ended with another status than 0, elsewhere than where
    /// it loads `ntb_perf`.
    pub fn read(text: &str, status: &str) -> Result<Self> {
        let mut tests = Vec::new();
        let last = text.trim_end().lines().last().unwrap_or("(nothing)");
        let perf = last.starts_with("modprobe: ") && last.contains("ntb_perf");
        ensure!(
            status == "0" || perf,
            "ntb_test.sh ended with status {status}; its last line: {last}"
        );
        let mut running = None;
        for line in text.lines() {
            let outcome = match line.trim() {
                "Passed" => Outcome::Passed,
                "Unsupported" => Outcome::Unsupported,
                other => {
                    if let Some(name) = heading(other) {
                        ensure!(
                            running.is_none(),
                            "the script said nothing about its {running:?} test"
                        );
                        running = Some(name);
                    } else if other.starts_with("Not doing MSI tests") {
                        tests.push(Test {
                            name: "MSI".into(),
                            outcome: Outcome::NotDone,
                        });
                    }
                    continue;
                }
            };
            let name = running
                .take()
                .with_context(|| format!("the script says '{line}' of no test"))?;
            tests.push(Test {
                name: name.into(),
                outcome,
            });
        }
        ensure!(
            running.is_none(),
            "the script said nothing about its {running:?} test"
        );
        if perf {
            tests.push(Test {
                name: "perf".into(),
                outcome: Outcome::NotDone,
            });
        }
        Ok(Self(tests))
    }

    /// Checks that the script said what it should.
    ///
    /// # Errors
    ///
    /// It did not: the error says where first.
    pub fn check(&self, expected: &[Test]) -> Result<()> {
        let differs = self
            .0
            .iter()
            .zip(expected)
            .find(|(seen, wanted)| seen != wanted);
        if let Some((seen, wanted)) = differs {
            anyhow::bail!("the script said {seen:?} where {wanted:?} was expected");
        }
        ensure!(
            self.0.len() == expected.len(),
            "the script did {} tests, {} were expected",
            self.0.len(),
            expected.len()
        );
        Ok(())
    }

    /// The tests that ended so, as "link (2), msg (2)".
    fn list(&self, outcome: Outcome) -> String {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for test in self.0.iter().filter(|test| test.outcome == outcome) {
            match counts.iter_mut().find(|(name, _)| *name == test.name) {
                Some((_, count)) => *count += 1,
                None => counts.push((&test.name, 1)),
            }
        }
        let words: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        words.join(", ")
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self
            .0
            .iter()
            .filter(|test| test.outcome == Outcome::Passed)
            .count();
        write!(f, "{passed} of {} tests", self.0.len())?;
        for (what, outcome) in [
            ("unsupported", Outcome::Unsupported),
            ("not done", Outcome::NotDone),
        ] {
            let list = self.list(outcome);
            if !list.is_empty() {
                write!(f, "; {what}: {list}")?;
            }
        }
        Ok(())
    }
}

/// The test that a line announces.
fn heading(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Running ")?;
    [" tests on:", " test with"]
        .iter()
        .find_map(|end| rest.split_once(end))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Starting ntb_tool tests...\n\
        Running port tests on: 0000:00:1b.0 / 0000:00:1b.0\n\
        Local port 0 with index 0 on remote host\n  Passed\n\
        Running link tests on: 0000:00:1b.0 / 0000:00:1b.0\n  Unsupported\n\
        Running mw0 tests on: 0000:00:1b.0 /  0000:00:1b.0\n  Passed\n\n\
        Running MSI interrupt tests on: a / b\n  Passed\n\
        Starting ntb_msi_test tests...\n  Not doing MSI tests seeing the module is not available.\n\
        Running local perf test without DMA\n      Peer 0 test statistics:\n0: copied 1 bytes\n  Passed\n";

    fn test(name: &str, outcome: Outcome) -> Test {
        Test {
            name: name.into(),
            outcome,
        }
    }

    #[test]
    fn every_test_has_its_outcome() {
        let results = Results::read(TEXT, "0").unwrap();
        let expected = [
            test("port", Outcome::Passed),
            test("link", Outcome::Unsupported),
            test("mw0", Outcome::Passed),
            test("MSI interrupt", Outcome::Passed),
            test("MSI", Outcome::NotDone),
            test("local perf", Outcome::Passed),
        ];
        assert_eq!(results.0, expected);
        results.check(&expected).unwrap();
        assert_eq!(
            results.to_string(),
            "4 of 6 tests; unsupported: link (1); not done: MSI (1)"
        );
    }

    #[test]
    fn a_test_that_is_missing_or_ends_otherwise_is_seen() {
        let results = Results::read(TEXT, "0").unwrap();
        let mut expected = results.0.clone();
        expected[1].outcome = Outcome::Passed;
        let error = results.check(&expected).unwrap_err().to_string();
        assert!(error.contains("link"), "{error}");
        let error = results.check(&results.0[..5]).unwrap_err().to_string();
        assert!(error.contains("6 tests, 5"), "{error}");
    }

    #[test]
    fn a_test_without_an_outcome_is_an_error() {
        for text in [
            "Running db tests on: a / b\n",
            "Running db tests on: a / b\nRunning spad tests on: a / b\n  Passed\n",
            "  Passed\n",
        ] {
            assert!(Results::read(text, "0").is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_missing_ntb_perf_may_end_the_script() {
        let error = Results::read(TEXT, "1").err().unwrap().to_string();
        assert!(
            error.contains("status 1") && error.contains("Passed"),
            "{error}"
        );
        let refused =
            "modprobe: ERROR: ../tools/modprobe.c:990 command_do() Error running install command \
                       '/bin/false' for module ntb_perf: retcode 1\n";
        let results = Results::read(&(TEXT.to_string() + refused), "1").unwrap();
        assert_eq!(results.0.last(), Some(&test("perf", Outcome::NotDone)));
    }
}
