//! What no test shows yet, and why: one case a line, then the reason.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{Case, ConformanceError};

/// The list. It is written by hand, and only ever gets shorter.
#[derive(Debug, Default)]
pub(super) struct NotYet {
    /// What stands above the cases.
    heading: String,
    lines: Vec<(Case, String)>,
    reasons: BTreeMap<Case, String>,
}

impl NotYet {
    pub(super) fn cases(&self) -> impl Iterator<Item = &Case> {
        self.lines.iter().map(|(case, _)| case)
    }

    pub(super) fn why(&self, case: &Case) -> Option<&str> {
        self.reasons.get(case).map(String::as_str)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Case) -> bool) {
        self.lines.retain(|(case, _)| keep(case));
        self.reasons.retain(|case, _| keep(case));
    }
}

impl FromStr for NotYet {
    type Err = ConformanceError;

    fn from_str(text: &str) -> Result<Self, ConformanceError> {
        let mut list = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if line.starts_with('#') {
                list.heading += &format!("{line}\n");
                continue;
            }
            let (case, reason) = line.split_once(' ').unwrap_or((line, ""));
            let case: Case = case.parse()?;
            if reason.trim().is_empty() {
                return Err(ConformanceError::NoReason { case });
            }
            list.reasons.insert(case.clone(), reason.trim().to_owned());
            list.lines.push((case, reason.trim().to_owned()));
        }
        Ok(list)
    }
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading)?;
        for (case, reason) in &self.lines {
            writeln!(f, "{case} {reason}")?;
        }
        Ok(())
    }
}
