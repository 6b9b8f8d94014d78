//! Which workload is meant: by its process, or by what is known of it.

use std::fmt;
use std::str::FromStr;

use crate::proto::delegated::types;

/// One fact about a workload, as registration entries name it: `unix:uid:1000` is the type `unix` with
/// the value `uid:1000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    kind: Box<str>,
    value: Box<str>,
}

impl Selector {
    /// The selector of this type, `unix` for example, with this value.
    ///
    /// # Errors
    ///
    /// Where one of them is empty, or the type has a colon in it.
    pub fn new(kind: &str, value: &str) -> Result<Self, WorkloadError> {
        if kind.is_empty() || kind.contains(':') {
            return Err(WorkloadError::SelectorType);
        }
        if value.is_empty() {
            return Err(WorkloadError::SelectorValue);
        }
        Ok(Self {
            kind: kind.into(),
            value: value.into(),
        })
    }

    /// What it was that attested the fact.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The fact.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for Selector {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let (kind, value) = text.split_once(':').ok_or(WorkloadError::SelectorValue)?;
        Self::new(kind, value)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// The workload that a delegate speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload(Named);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Process(i32),
    Selectors(Vec<Selector>),
}

impl Workload {
    /// The process of this number, which the agent attests by itself. The agent's own view counts, and
    /// the number must still be that process's when it looks.
    ///
    /// # Errors
    ///
    /// Where there is no such number: it is 0, or more than 2147483647.
    pub fn process(pid: u32) -> Result<Self, WorkloadError> {
        match i32::try_from(pid) {
            Ok(pid) if pid > 0 => Ok(Self(Named::Process(pid))),
            _ => Err(WorkloadError::Process { pid }),
        }
    }

    /// The workload of which all this is known. It gets the identities of every entry whose selectors
    /// are all among these; the agent believes the delegate, and attests nothing.
    ///
    /// # Errors
    ///
    /// Where there are none: that would be every workload and none.
    pub fn selectors(selectors: impl IntoIterator<Item = Selector>) -> Result<Self, WorkloadError> {
        let selectors: Vec<_> = selectors.into_iter().collect();
        if selectors.is_empty() {
            return Err(WorkloadError::NoSelector);
        }
        Ok(Self(Named::Selectors(selectors)))
    }

    /// As it goes over the wire: selectors, and the number of a process or 0.
    pub(super) fn to_wire(&self) -> (Vec<types::Selector>, i32) {
        match &self.0 {
            Named::Process(pid) => (Vec::new(), *pid),
            Named::Selectors(selectors) => {
                let selectors = selectors.iter().map(|selector| types::Selector {
                    r#type: selector.kind.to_string(),
                    value: selector.value.to_string(),
                });
                (selectors.collect(), 0)
            }
        }
    }
}

/// Why no workload is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// There are no selectors.
    #[error("a workload is named by one selector at least")]
    NoSelector,
    /// There is no process of this number.
    #[error("no process has the number {pid}: it must be from 1 to 2147483647")]
    Process {
        /// The number.
        pid: u32,
    },
    /// The type of a selector is empty, or has a colon in it.
    #[error("a selector needs a type without a colon, as in unix:uid:1000")]
    SelectorType,
    /// A selector has no value.
    #[error("a selector needs a type and a value, as in unix:uid:1000")]
    SelectorValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_back_as_they_are_shown_or_say_what_is_wrong() {
        for text in ["unix:uid:1000", "k8s:pod-label:app:web", "a:b"] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        let read: Selector = "unix:uid:1000".parse().unwrap();
        assert_eq!((read.kind(), read.value()), ("unix", "uid:1000"));
        for (text, why) in [
            ("", WorkloadError::SelectorValue),
            ("unix", WorkloadError::SelectorValue),
            ("unix:", WorkloadError::SelectorValue),
            (":uid:1000", WorkloadError::SelectorType),
        ] {
            assert_eq!(text.parse::<Selector>(), Err(why), "{text:?}");
        }
        assert_eq!(Selector::new("a:b", "c"), Err(WorkloadError::SelectorType));
    }

    #[test]
    fn a_workload_is_a_process_or_what_is_known_of_it_and_never_nothing() {
        assert_eq!(Workload::process(7).unwrap().to_wire(), (Vec::new(), 7));
        for pid in [0, 1 << 31] {
            assert_eq!(Workload::process(pid), Err(WorkloadError::Process { pid }));
        }
        assert_eq!(Workload::selectors([]), Err(WorkloadError::NoSelector));
        let known = Workload::selectors(["unix:uid:1".parse().unwrap()]).unwrap();
        let (selectors, pid) = known.to_wire();
        assert_eq!(pid, 0);
        assert_eq!(
            (&*selectors[0].r#type, &*selectors[0].value),
            ("unix", "uid:1")
        );
    }
}
