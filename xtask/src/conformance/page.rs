//! The page itself.

use super::{Case, Coverage, Requirement};

pub(super) fn written(coverage: &Coverage) -> String {
    let mut page = HEADING.to_owned() + &summary(coverage);
    let mut standard = "";
    for requirement in &coverage.requirements {
        if requirement.standard != standard {
            standard = &requirement.standard;
            page += &format!("\n## {standard} ({})\n\n{COLUMNS}", requirement.status);
        }
        page += &row(coverage, requirement);
    }
    page
}

/// How much of each standard falls on the libraries, and how much of that is shown.
fn summary(coverage: &Coverage) -> String {
    let standards = coverage
        .requirements
        .chunk_by(|one, other| one.standard == other.standard);
    let rows = standards.filter_map(|requirements| {
        let ours = requirements.iter().filter(|r| r.is_of_the_sdk());
        let shown = |r: &&Requirement| r.cases().iter().all(|c| coverage.shown.contains_key(c));
        let all = ours.clone().count();
        let (first, shown) = (requirements.first()?, ours.filter(shown).count());
        let (standard, status) = (&first.standard, &first.status);
        (all > 0).then(|| format!("| {standard} | {status} | {all} | {shown} |\n"))
    });
    rows.fold(SUMMARY.to_owned(), |table, row| table + &row)
}

fn row(coverage: &Coverage, requirement: &Requirement) -> String {
    let [positive, negative] = requirement.cases();
    let text = requirement.text.replace('|', "\\|");
    let tests = [&positive, &negative].map(|case| tests(coverage, case));
    format!(
        "| {} | {} | {} | {text} | {} | {} | {} |\n",
        requirement.id,
        requirement.level,
        requirement.section,
        tests[0],
        tests[1],
        verdict(coverage, requirement, &[positive, negative]),
    )
}

fn tests(coverage: &Coverage, case: &Case) -> String {
    let tests = coverage.shown.get(case).map_or(&[][..], Vec::as_slice);
    let links: Vec<_> = tests
        .iter()
        .map(|test| format!("[{}](../{})", test.name, test.file))
        .collect();
    links.join(", ")
}

fn verdict(coverage: &Coverage, requirement: &Requirement, cases: &[Case; 2]) -> String {
    let untested = |case: &&Case| !coverage.shown.contains_key(case);
    let untested: Vec<_> = cases.iter().filter(untested).collect();
    let verdict = if untested.is_empty() {
        "shown".to_owned()
    } else {
        let why = |case| coverage.not_yet.why(case).unwrap_or("no test names it");
        let mut reasons: Vec<_> = untested.into_iter().map(why).collect();
        reasons.dedup();
        reasons.join("; ")
    };
    let whose = if requirement.is_of_the_sdk() {
        "SDK"
    } else {
        "issuer"
    };
    format!("{whose}: {verdict}")
}

const SUMMARY: &str = "
| standard | status | requirements on the libraries | shown by tests |
|---|---|---|---|
";

const COLUMNS: &str = "\
| id | level | § | requirement | what obeys it passes | what breaks it does not | verdict |
|---|---|---|---|---|---|---|
";

const HEADING: &str = "\
# Conformance

What the SPIFFE standards require, sentence by sentence, and which tests show that we keep to it.
`cargo xtask conformance` writes this page from the marks that stand above tests, and
`cargo xtask ci` fails where a requirement that falls on the libraries has no test, or where this
page is out of date. All of these tests run in CI, so *shown* means that they pass. What falls on
issuer, agent or their operator alone is listed too, with the tests that name it.
";
