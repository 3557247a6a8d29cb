//! How many tests ran, read from what the runners print.

use std::ops::AddAssign;

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Counts {
    /// A check that is one thing, passed or failed.
    pub(crate) fn of_check(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed) }
    }

    /// Adds what a line of `cargo test` says: `test result: ok. 3 passed; 0 failed; …`.
    pub(crate) fn see_cargo(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        let number_before = |word: &str| {
            let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
            let at = words.iter().position(|candidate| *candidate == word)?;
            words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
        };
        self.passed += number_before("passed").unwrap_or(0);
        self.failed += number_before("failed").unwrap_or(0);
    }

    /// Adds what a line of Node's test runner says: `# pass 3` (TAP) or `ℹ pass 3` (for people).
    pub(crate) fn see_node(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if !matches!(words.next(), Some("#" | "\u{2139}")) {
            return;
        }
        let (word, number) = (words.next(), words.next().and_then(|number| number.parse::<u64>().ok()));
        match (word, number, words.next()) {
            (Some("pass"), Some(number), None) => self.passed += number,
            (Some("fail" | "cancelled"), Some(number), None) => self.failed += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_lines_are_counted() {
        let mut counts = Counts::default();
        counts.see_cargo(
            "test result: ok. 24 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s",
        );
        counts.see_cargo("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.see_cargo("test passed::failed ... ok");
        assert_eq!(counts, Counts { passed: 25, failed: 2 });
    }

    #[test]
    fn node_lines_are_counted() {
        let mut counts = Counts::default();
        for line in
            ["# tests 4", "# pass 3", "# fail 1", "# cancelled 0", "\u{2139} pass 2", "# pass the salt"]
        {
            counts.see_node(line);
        }
        assert_eq!(counts, Counts { passed: 5, failed: 1 });
    }
}
