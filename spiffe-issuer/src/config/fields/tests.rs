use super::super::{boolean, duration, list, parse, port, text, whole};
use super::*;

/// Reads `file` with `read` and tells the faults and warnings.
fn told<T>(
    file: &str,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> (Option<T>, String, Vec<String>) {
    let root = parse("f", file).unwrap();
    let mut issues = Issues::default();
    let value = root.fields(&mut issues, read);
    let warnings = issues.warnings().iter().map(ToString::to_string);
    (value, issues.to_string(), warnings.collect())
}

#[test]
fn every_fault_is_reported_at_once() {
    let file = "listen = 8081\nport = \"x\"\nttl = \"1 hour\"\nprot = 1\non = \"true\"\n";
    let (_, faults, _) = told(file, |fields| {
        let listen = fields.required("listen", list(text));
        let port = fields.required("port", port);
        let ttl = fields.or("ttl", duration, Default::default());
        let on = fields.or("on", boolean, false);
        let name = fields.required("name", text);
        Some((listen?, port?, ttl, on, name?))
    });
    assert_eq!(
        faults.lines().collect::<Vec<_>>(),
        [
            "f:1:1: name: is missing",
            "f:1:10: listen: `8081` is not a list",
            "f:2:8: port: `x` is not a port from 0 to 65535",
            "f:3:7: ttl: `1 hour` is not a duration such as 30s, 10m or 1h30m",
            "f:4:1: prot: is not a setting; did you mean `port`?",
            "f:5:6: on: `true` is not true or false (without quotes)",
        ]
    );
}

#[test]
fn what_is_left_out_has_its_default_and_an_empty_string_is_left_out() {
    let read = |fields: &mut Fields<'_>| {
        let level = fields.or("level", text, "INFO".to_owned());
        let file = fields.optional("file", text);
        Some((level, file))
    };
    for file in ["", "level = \"\"\nfile = \"\"", "level = \"INFO\""] {
        let (value, faults, _) = told(file, read);
        assert_eq!(value, Some(("INFO".to_owned(), None)), "{file}");
        assert_eq!(faults, "", "{file}");
    }
    let (_, faults, _) = told("name = \"\"", |fields| fields.required("name", text));
    assert_eq!(faults, "f:1:8: name: is empty");
}

#[test]
fn keys_are_found_whatever_their_case() {
    let (value, faults, _) = told("InMem {}\nPROMETHEUS { Port = 1 }", |fields| {
        fields.has("inmem");
        fields.required("Prometheus", |node, issues| {
            node.fields(issues, |fields| fields.required("port", port))
        })
    });
    assert_eq!((value, faults.as_str()), (Some(1), ""));
}

#[test]
fn of_a_repeated_key_the_last_counts_with_a_warning() {
    let (value, faults, warnings) =
        told("n = 1\nn = 2", |fields| fields.required("n", whole::<u8>));
    assert_eq!((value, faults.as_str()), (Some(2), ""));
    assert_eq!(
        warnings,
        ["f:2:5: n: is given twice; this one counts, not that in line 1"]
    );
}

#[test]
fn repeated_blocks_are_one_and_repeated_lists_too() {
    let file = "ids = [\"a\"]\nb { x = 1 }\nids = [\"b\"]\nb { y = 2 }";
    let (value, faults, warnings) = told(file, |fields| {
        let ids = fields.required("ids", list(text));
        let sum = fields.required("b", |node, issues| {
            node.fields(issues, |fields| {
                let x = fields.required("x", whole::<u8>);
                let y = fields.required("y", whole::<u8>);
                Some(x? + y?)
            })
        });
        Some((ids?, sum?))
    });
    assert_eq!(value, Some((vec!["a".to_owned(), "b".to_owned()], 3)));
    assert_eq!((faults.as_str(), warnings.len()), ("", 0));
}

#[test]
fn labelled_blocks_are_read_one_by_one_in_every_shape() {
    for file in [
        "P \"a\" { n = 1 }\nP \"b\" { n = 2 }",
        "P { a { n = 1 } b { n = 2 } }",
        "P = [{ a = { n = 1 } }, { b = { n = 2 } }]",
        "P \"a\" { n = 1 }\nP = { \"b\" = { n = 2 } }",
        r#"{"P": {"a": {"n": 1}, "b": {"n": 2}}}"#,
        r#"{"P": [{"a": {"n": 1}}, {"b": {"n": 2}}]}"#,
        "[P.a]\nn = 1\n[P.b]\nn = 2",
    ] {
        let (value, faults, _) = told(file, |fields| {
            Some(fields.labelled("P", |entry, issues| {
                let n = entry.node.fields(issues, |f| f.required("n", whole::<u8>));
                Some((entry.key.clone(), n?))
            }))
        });
        let wanted = vec![("a".to_owned(), 1), ("b".to_owned(), 2)];
        assert_eq!((value, faults.as_str()), (Some(wanted), ""), "{file}");
    }
}

#[test]
fn a_label_names_one_block_and_no_value() {
    let (_, faults, _) = told("P \"a\" {}\nP \"a\" {}\nP = 3", |fields| {
        Some(fields.labelled("P", |_, _| Some(())))
    });
    assert_eq!(
        faults,
        "f:2:3: P.a: is given twice, the first time in line 1\n\
         f:3:5: P: `3` is not a block with a label"
    );
}

#[test]
fn blocks_without_labels_repeat_or_stand_in_a_list() {
    for file in [
        "s { n = 1 }\ns { n = 2 }",
        "s = [{ n = 1 }, { n = 2 }]",
        "[[s]]\nn = 1\n[[s]]\nn = 2",
    ] {
        let (value, faults, _) = told(file, |fields| {
            Some(fields.repeated("s", |node, issues| {
                node.fields(issues, |fields| fields.required("n", whole::<u8>))
            }))
        });
        assert_eq!((value, faults.as_str()), (Some(vec![1, 2]), ""), "{file}");
    }
}

#[test]
fn old_keys_work_with_a_warning_and_lenient_blocks_only_warn() {
    let (value, faults, warnings) = told("old = \"x\"\nunheard = 1", |fields| {
        fields.lenient();
        fields.deprecated("old", "use `new`");
        fields.deprecated("older", "use `new`");
        fields.optional("old", text)
    });
    assert_eq!((value.as_deref(), faults.as_str()), (Some("x"), ""));
    assert_eq!(
        warnings,
        [
            "f:1:7: old: is deprecated: use `new`",
            "f:2:1: unheard: is not a setting"
        ]
    );
}

#[test]
fn what_is_no_block_is_not_read_as_one() {
    let (_, faults, _) = told("agent = \"x\"", |fields| {
        fields.required("agent", |node, issues| node.fields(issues, |_| Some(())))
    });
    assert_eq!(faults, "f:1:9: agent: `x` is not a block");
}
