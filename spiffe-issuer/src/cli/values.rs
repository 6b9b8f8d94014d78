//! What a flag can set.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::config::{DurationError, GoDuration, GoInteger, IntegerError};
use crate::runtime::telemetry::quoted;

/// A field that a flag sets.
pub trait FlagValue {
    /// Takes a value from the command line.
    ///
    /// # Errors
    ///
    /// Why it does not.
    fn set(&mut self, text: &str) -> Result<(), Unfit>;

    /// The value it has, as the usage tells it; `None` for one that goes without saying.
    fn shown(&self) -> Option<String>;

    /// What the usage calls a value.
    fn kind(&self) -> &'static str {
        "value"
    }

    /// Whether the flag stands without a value.
    fn is_switch(&self) -> bool {
        false
    }
}

/// Why a flag does not take a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub Cow<'static, str>);

impl Unfit {
    const RANGE: Self = Self(Cow::Borrowed("value out of range"));
    const SYNTAX: Self = Self(Cow::Borrowed("parse error"));
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FlagValue for bool {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        *self = match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
            _ => return Err(Unfit::SYNTAX),
        };
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        self.then(|| "true".to_owned())
    }

    fn kind(&self) -> &'static str {
        ""
    }

    fn is_switch(&self) -> bool {
        true
    }
}

impl FlagValue for String {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        text.clone_into(self);
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        (!self.is_empty()).then(|| quoted(self))
    }

    fn kind(&self) -> &'static str {
        "string"
    }
}

/// Each use of the flag adds one.
impl FlagValue for Vec<String> {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        self.push(text.to_owned());
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        (!self.is_empty()).then(|| format!("[{}]", self.join(" ")))
    }
}

/// A list in one value, `a,b,c`; the last use of the flag counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommaList(pub Vec<String>);

impl FlagValue for CommaList {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        self.0 = text.split(',').map(str::to_owned).collect();
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(","))
    }
}

impl FlagValue for Duration {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        match text.parse() {
            Ok(GoDuration(duration)) => *self = duration,
            Err(DurationError::Negative) => return Err(Unfit("must not be negative".into())),
            Err(DurationError::Overflow | DurationError::Syntax) => return Err(Unfit::SYNTAX),
        }
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        (!self.is_zero()).then(|| GoDuration(*self).to_string())
    }

    fn kind(&self) -> &'static str {
        "duration"
    }
}

/// Implements `FlagValue` for whole numbers.
macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl FlagValue for $integer {
            fn set(&mut self, text: &str) -> Result<(), Unfit> {
                let number: GoInteger = text.parse().map_err(|error| match error {
                    IntegerError::Overflow => Unfit::RANGE,
                    IntegerError::Syntax => Unfit::SYNTAX,
                })?;
                *self = Self::try_from(number.0).map_err(|_| Unfit::RANGE)?;
                Ok(())
            }

            fn shown(&self) -> Option<String> {
                (*self != 0).then(|| self.to_string())
            }

            fn kind(&self) -> &'static str {
                "int"
            }
        }
    )*};
}

integers!(i32 i64 u16 u32);

/// A flag of which it matters whether it was given.
impl<V: FlagValue + Default> FlagValue for Option<V> {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        let mut value = V::default();
        value.set(text)?;
        *self = Some(value);
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(FlagValue::shown)
    }

    fn kind(&self) -> &'static str {
        V::default().kind()
    }

    fn is_switch(&self) -> bool {
        V::default().is_switch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value that `text` sets, and how it is told as a default.
    fn set<V: FlagValue + Default>(text: &str) -> Result<(V, Option<String>), String> {
        let mut value = V::default();
        match value.set(text) {
            Ok(()) => {
                let default = value.shown();
                Ok((value, default))
            }
            Err(why) => Err(why.to_string()),
        }
    }

    fn told<V>(value: V, default: &str) -> Result<(V, Option<String>), String> {
        Ok((value, (!default.is_empty()).then(|| default.to_owned())))
    }

    #[test]
    fn switches_take_what_go_takes_for_true_and_false() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(set(text), told(true, "true"), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(set(text), told(false, ""), "{text}");
        }
        for text in ["", "yes", "tRUE", "2"] {
            assert_eq!(set::<bool>(text), Err("parse error".to_owned()), "{text}");
        }
    }

    #[test]
    fn numbers_and_durations_are_told_as_go_tells_them() {
        assert_eq!(set("600"), told(600_i64, "600"));
        assert_eq!(set("0"), told(0_u16, ""));
        assert_eq!(set("10m"), told(Duration::from_secs(600), "10m0s"));
        for (refusal, why) in [
            (set::<i32>("x").unwrap_err(), "parse error"),
            (set::<u16>("65536").unwrap_err(), "value out of range"),
            (
                set::<i64>("9223372036854775808").unwrap_err(),
                "value out of range",
            ),
            (set::<Duration>("10").unwrap_err(), "parse error"),
            (set::<Duration>("-1s").unwrap_err(), "must not be negative"),
        ] {
            assert_eq!(refusal, why);
        }
    }

    #[test]
    fn texts_and_lists_are_told_as_go_tells_them() {
        assert_eq!(
            set("a \"b\""),
            told("a \"b\"".to_owned(), "\"a \\\"b\\\"\"")
        );
        let list = ["a", "b"].map(str::to_owned);
        assert_eq!(set("a,b"), told(CommaList(list.to_vec()), "a,b"));
        let mut repeated = Vec::new();
        for item in &list {
            repeated.set(item).unwrap();
        }
        assert_eq!(FlagValue::shown(&repeated).as_deref(), Some("[a b]"));
    }

    #[test]
    fn an_option_tells_that_the_flag_was_given() {
        assert_eq!(set("0"), told(Some(0_u16), ""));
        assert_eq!(set("false"), told(Some(false), ""));
        assert!(None::<bool>.is_switch());
        assert_eq!((None::<bool>.kind(), Some(5_i64).kind()), ("", "int"));
    }
}
