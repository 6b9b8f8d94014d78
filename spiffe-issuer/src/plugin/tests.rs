use spiffe_core::clock::SystemClock;

use super::*;
use crate::config::{Checked, parse};

trait Fruit: fmt::Debug + Send + Sync {
    fn taste(&self) -> &str;
}

#[derive(Debug)]
struct Sweet(String);

impl Fruit for Sweet {
    fn taste(&self) -> &str {
        &self.0
    }
}

fn make(node: &Node, surroundings: &Surroundings) -> Result<Arc<dyn Fruit>, Issues> {
    let mut issues = Issues::default();
    let taste = node.fields(&mut issues, |fields| fields.required("taste", text));
    let taste = issues.finish(taste)?.logged();
    Ok(Arc::new(Sweet(format!(
        "{taste} of {}",
        surroundings.trust_domain
    ))))
}

const FRUITS: &[BuiltIn<dyn Fruit>] = &[
    BuiltIn {
        name: "apple",
        make,
    },
    BuiltIn { name: "pear", make },
];

fn surroundings() -> Surroundings {
    Surroundings {
        trust_domain: "example.org".parse().unwrap(),
        clock: Arc::new(SystemClock),
        data_dir: None,
    }
}

fn read<T>(
    file: &str,
    choose: impl FnOnce(&mut Fields<'_>, &'static str, &[BuiltIn<dyn Fruit>]) -> T,
) -> Result<Checked<T>, Issues> {
    let root = parse("f", file).unwrap();
    let mut issues = Issues::default();
    let chosen = root.fields(&mut issues, |fields| Some(choose(fields, "Fruit", FRUITS)));
    issues.finish(chosen)
}

fn faults<T>(
    file: &str,
    choose: impl FnOnce(&mut Fields<'_>, &'static str, &[BuiltIn<dyn Fruit>]) -> T,
) -> String {
    match read(file, choose) {
        Ok(_) => String::new(),
        Err(issues) => issues.to_string(),
    }
}

#[test]
fn a_plugin_is_chosen_by_name_and_made_from_its_settings() {
    for file in [
        "Fruit \"pear\" { plugin_data { taste = \"sweet\" } }",
        "Fruit \"pear\" { plugin_data = { taste = \"sweet\" } }",
        "Fruit \"pear\" { enabled = true plugin_data { taste = \"sweet\" } }",
        "Fruit \"apple\" { enabled = false plugin_cmd = \"/bin/x\" }\n\
         Fruit \"pear\" { plugin_data { taste = \"sweet\" } }",
        r#"{"Fruit": [{"pear": {"plugin_data": {"taste": "sweet"}}}]}"#,
    ] {
        let chosen = read(file, one).unwrap().value.unwrap();
        assert_eq!(chosen.name(), "pear", "{file}");
        let fruit = chosen.make(&surroundings()).unwrap();
        assert_eq!(fruit.taste(), "sweet of example.org", "{file}");
    }
}

#[test]
fn the_number_of_plugins_is_what_the_kind_allows() {
    let missing = "f:1:1: Fruit: is missing; known are `apple`, `pear`";
    let second = "f:1:24: Fruit.pear: cannot be used: there can only be one Fruit";
    let two = "Fruit \"apple\" {} Fruit \"pear\" {}";
    for (file, of_one, of_at_most_one, of_at_least_one) in [
        ("", missing, "", missing),
        ("Fruit \"pear\" { enabled = false }", missing, "", missing),
        ("Fruit \"pear\" {}", "", "", ""),
        (two, second, second, ""),
    ] {
        assert_eq!(faults(file, one), of_one, "{file}");
        assert_eq!(faults(file, at_most_one), of_at_most_one, "{file}");
        assert_eq!(faults(file, at_least_one), of_at_least_one, "{file}");
        assert_eq!(faults(file, any_number), "", "{file}");
    }
    assert_eq!(read(two, any_number).unwrap().value.len(), 2);
    assert_eq!(read(two, at_least_one).unwrap().value.len(), 2);
}

#[test]
fn what_cannot_be_chosen_is_told_once_with_what_would_be_right() {
    for (file, told) in [
        (
            "Fruit \"aple\" {}",
            "f:1:7: Fruit.aple: is not a known Fruit; did you mean `apple`?",
        ),
        (
            "Fruit \"stone\" {}",
            "f:1:7: Fruit.stone: is not a known Fruit; known are `apple`, `pear`",
        ),
        (
            "Fruit \"pear\" { plugin_cmd = \"/bin/x\" }",
            "f:1:29: Fruit.pear.plugin_cmd: cannot be used: \
             plugins in a process of their own are not supported",
        ),
        (
            "Fruit \"pear\" { plugin_data {} plugin_data_file = \"x\" }",
            "f:1:50: Fruit.pear.plugin_data_file: \
             excludes `plugin_data`; only one of them can be set",
        ),
        (
            "Fruit \"pear\" { plugin_dat {} }",
            "f:1:16: Fruit.pear.plugin_dat: is not a setting; did you mean `plugin_data`?",
        ),
    ] {
        assert_eq!(faults(file, one), told);
    }
}

#[test]
fn settings_of_a_plugin_are_faulted_at_their_place() {
    for (file, told) in [
        (
            "Fruit \"pear\" {\n plugin_data { tast = 1 } }",
            "f:2:2: Fruit.pear.plugin_data.taste: is missing\n\
             f:2:16: Fruit.pear.plugin_data.tast: is not a setting; did you mean `taste`?",
        ),
        (
            "Fruit \"pear\" {}",
            "f:1:7: Fruit.pear.plugin_data.taste: is missing",
        ),
    ] {
        let chosen = read(file, one).unwrap().value.unwrap();
        assert_eq!(chosen.make(&surroundings()).unwrap_err().to_string(), told);
    }
}

#[test]
fn settings_in_a_file_of_their_own_are_read_at_every_making() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let name = file.path().display().to_string();
    let conf = format!("Fruit \"pear\" {{ plugin_data_file = \"{name}\" }}");
    let chosen = read(&conf, one).unwrap().value.unwrap();
    let made = || chosen.make(&surroundings());

    std::fs::write(file.path(), "tast = \"sour\"").unwrap();
    let told = made().unwrap_err().to_string();
    assert!(
        told.starts_with(&format!("{name}:1:1: taste: is missing\n")),
        "{told}"
    );

    std::fs::write(file.path(), "taste = \"sour\"").unwrap();
    assert_eq!(made().unwrap().taste(), "sour of example.org");

    file.close().unwrap();
    let told = made().unwrap_err().to_string();
    let wanted = format!(
        "Fruit.pear.plugin_data_file: failed to read plugin configuration: \
         open {name}: no such file or directory"
    );
    assert!(told.ends_with(&wanted), "{told}");
}
