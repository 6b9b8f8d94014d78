use std::time::Duration;

use super::*;

#[derive(Debug, Default, PartialEq)]
struct Create {
    admin: bool,
    id: String,
    selectors: Vec<String>,
    timeout: Duration,
    ttl: i64,
}

impl Create {
    fn flags(&mut self) -> Flags<'_> {
        let selector = "A `type:value` selector.\nRepeatable";
        Flags::of("entry create")
            .flag("spiffeID", "The ID", &mut self.id)
            .flag("admin", "If set, the ID may administrate", &mut self.admin)
            .flag("selector", selector, &mut self.selectors)
            .flag("timeout", "How long to wait", &mut self.timeout)
            .flag("ttl", "The lifetime, in seconds", &mut self.ttl)
    }

    fn read(args: &str) -> Result<Self, String> {
        let mut create = Self::default();
        match create.flags().parse(args.split_whitespace()) {
            Ok(()) => Ok(create),
            Err(refused) => Err(refused.why.to_string()),
        }
    }
}

#[test]
fn flags_are_read_in_every_way_go_reads_them() {
    let wanted = Create {
        admin: true,
        id: "x=y".to_owned(),
        selectors: vec!["a".to_owned(), "-b".to_owned()],
        timeout: Duration::from_secs(90),
        ttl: -5,
    };
    for args in [
        "-admin -spiffeID x=y -selector a -selector -b -timeout 1m30s -ttl -5",
        "--admin=true --spiffeID=x=y --selector a --selector=-b --timeout=90s --ttl=-0x5",
        "-spiffeID=z -spiffeID=x=y -selector=a -selector=-b -timeout=90s -ttl=-5 -admin=T --",
        "-spiffeID=x=y -selector=a -selector=-b -timeout=90s -ttl=-5 -admin true",
    ] {
        assert_eq!(Create::read(args).as_ref(), Ok(&wanted), "{args}");
    }
    for args in ["", "-admin=false -spiffeID="] {
        assert_eq!(Create::read(args), Ok(Create::default()), "{args}");
    }
}

#[test]
fn what_is_wrong_is_told_in_gos_words() {
    for (args, told) in [
        ("-foo", "flag provided but not defined: -foo"),
        ("--foo=1", "flag provided but not defined: -foo"),
        ("-ttl", "flag needs an argument: -ttl"),
        ("-ttl x", "invalid value \"x\" for flag -ttl: parse error"),
        ("-ttl=", "invalid value \"\" for flag -ttl: parse error"),
        (
            "-timeout 5",
            "invalid value \"5\" for flag -timeout: parse error",
        ),
        (
            "-admin=no",
            "invalid boolean value \"no\" for -admin: parse error",
        ),
        ("---ttl", "bad flag syntax: ---ttl"),
        ("-=1", "bad flag syntax: -=1"),
        ("--=1", "bad flag syntax: --=1"),
        ("-help", "flag: help requested"),
        ("-admin -h", "flag: help requested"),
    ] {
        assert_eq!(Create::read(args), Err(told.to_owned()), "{args}");
    }
}

#[test]
fn no_word_that_is_no_flag_hides_the_flags_after_it() {
    let value = "; a switch takes its value as -admin=";
    for (args, word, hint) in [
        ("-admin true -ttl 5", "true", format!("{value}true")),
        ("-admin false", "false", format!("{value}false")),
        ("-spiffeID x true", "true", String::new()),
        ("true", "true", String::new()),
        ("-", "-", String::new()),
        ("-- -admin", "-admin", String::new()),
    ] {
        let told = format!("unexpected argument \"{word}\"{hint}");
        assert_eq!(Create::read(args), Err(told), "{args}");
    }
}

#[test]
fn a_command_can_take_something_after_its_flags() {
    for (args, rest) in [
        (&["-admin", "show", "-ttl"][..], &["show", "-ttl"][..]),
        (&["-admin", "--", "-ttl"], &["-ttl"]),
        (&["-admin"], &[]),
    ] {
        let mut create = Create::default();
        let read = create.flags().parse_some(args.iter().copied());
        assert_eq!(read.unwrap(), rest);
        assert!(create.admin && create.ttl == 0, "{args:?}");
    }
}

#[test]
fn the_usage_looks_as_gos_and_tells_the_defaults_from_before() {
    let usage = "\
Usage of entry create:
  -admin
    \tIf set, the ID may administrate
  -selector type:value
    \tA type:value selector.
    \tRepeatable
  -spiffeID string
    \tThe ID (default \"spiffe://td/a\")
  -timeout duration
    \tHow long to wait (default 5s)
  -ttl int
    \tThe lifetime, in seconds (default 600)";
    for (args, told) in [
        (&["-ttl", "7", "-spiffeID=", "-h"][..], usage.to_owned()),
        (
            &["-x"],
            format!("flag provided but not defined: -x\n{usage}"),
        ),
    ] {
        let mut create = Create {
            id: "spiffe://td/a".to_owned(),
            timeout: Duration::from_secs(5),
            ttl: 600,
            ..Create::default()
        };
        let refused = create.flags().parse(args.iter().copied()).unwrap_err();
        assert_eq!(refused.to_string(), told);
    }
    let mut short = false;
    let refused = Flags::of("x").flag("v", "Speak", &mut short).parse(["-h"]);
    assert_eq!(refused.unwrap_err().usage, "Usage of x:\n  -v\tSpeak\n");
}
