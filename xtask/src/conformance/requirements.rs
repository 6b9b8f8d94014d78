//! The requirements of the standards, one sentence each, as data.

use std::str::FromStr;

use serde_json::Value;

use super::{Case, ConformanceError, Side};

/// One requirement.
#[derive(Debug, Clone)]
pub(super) struct Requirement {
    pub(super) id: String,
    pub(super) standard: String,
    pub(super) status: String,
    pub(super) level: String,
    pub(super) section: String,
    pub(super) text: String,
    /// On whom it falls.
    on: Vec<String>,
}

impl Requirement {
    /// Whether it falls on what the libraries do: verify, call the Workload API, serve and fetch
    /// bundles. All else is the issuer's, or its operator's.
    pub(super) fn is_of_the_sdk(&self) -> bool {
        self.on.iter().any(|who| SDK.contains(&who.as_str()))
    }

    /// Both halves.
    pub(super) fn cases(&self) -> [Case; 2] {
        [Side::Positive, Side::Negative].map(|side| Case {
            requirement: self.id.clone(),
            side,
        })
    }
}

/// Verifier, Workload API client, federation client and endpoint.
const SDK: [&str; 4] = ["V", "WC", "FC", "FE"];

pub(super) fn read(text: &str) -> Result<Vec<Requirement>, ConformanceError> {
    let all: Vec<Value> = serde_json::from_str(text).map_err(ConformanceError::Requirements)?;
    all.iter().enumerate().map(read_one).collect()
}

fn read_one((index, value): (usize, &Value)) -> Result<Requirement, ConformanceError> {
    let missing = |member| ConformanceError::Requirement { index, member };
    let text = |member: &'static str| {
        let text = value[member].as_str().ok_or_else(|| missing(member))?;
        Ok::<_, ConformanceError>(text.to_owned())
    };
    let on = value["on"].as_array().ok_or_else(|| missing("on"))?;
    Ok(Requirement {
        id: text("id")?,
        standard: text("standard")?,
        status: text("status")?,
        level: text("level")?,
        section: text("section")?,
        text: text("requirement")?,
        on: on
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    })
}

impl FromStr for Case {
    type Err = ConformanceError;

    fn from_str(text: &str) -> Result<Self, ConformanceError> {
        let sides = [('+', Side::Positive), ('-', Side::Negative)];
        let case = sides.into_iter().find_map(|(sign, side)| {
            let requirement = text.strip_suffix(sign)?;
            let (standard, number) = requirement.split_once('-')?;
            let plain = !standard.is_empty()
                && standard.bytes().all(|b| b.is_ascii_alphanumeric())
                && number.parse::<u16>().is_ok();
            plain.then(|| Self {
                requirement: requirement.to_owned(),
                side,
            })
        });
        case.ok_or_else(|| ConformanceError::NoCase {
            text: text.to_owned(),
        })
    }
}
