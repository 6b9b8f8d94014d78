//! JSON read strictly: every member once, bounded in size and depth, nothing after the end.
//!
//! Readers that keep the last of two members of one name, while others keep the first, see two
//! documents in one. What is signed or trusted must be one document (RFC 7515 section 4, RFC 7519
//! section 4, SPIFFE Trust Domain and Bundle section 6.3).

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// An object, member by member.
pub(crate) type Object = Map<String, Value>;

/// Why a text is not the JSON object that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// A member that is there twice.
    #[error("the JSON member {name:?} is there twice")]
    DuplicateMember {
        /// Its name; the beginning of it, where it is long.
        name: Box<str>,
    },
    /// JSON, but no object.
    #[error("the JSON text is no object")]
    NotAnObject,
    /// No JSON.
    #[error("the text is not JSON, seen at line {line}, column {column}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// Lists or objects within each other, deeper than anyone needs.
    #[error("the JSON text is nested deeper than {limit} levels")]
    TooDeep {
        /// How deep is read.
        limit: usize,
    },
    /// A text that is longer than anyone needs.
    #[error("the JSON text is longer than {limit} bytes")]
    TooLarge {
        /// How long a text is read.
        limit: usize,
    },
}

/// Reads one object of at most `limit` bytes.
pub(crate) fn object(text: &[u8], limit: usize) -> Result<Object, JsonError> {
    if text.len() > limit {
        return Err(JsonError::TooLarge { limit });
    }
    let flaw = RefCell::new(None);
    let strict = Strict {
        levels: MAX_DEPTH,
        flaw: &flaw,
    };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = strict.deserialize(&mut reader);
    match read.and_then(|value| reader.end().map(|()| value)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(JsonError::NotAnObject),
        Err(error) => Err(flaw.take().unwrap_or(JsonError::Syntax {
            line: error.line(),
            column: error.column(),
        })),
    }
}

/// Reads any value, and refuses what serde_json would let pass.
#[derive(Clone, Copy)]
struct Strict<'a> {
    levels: usize,
    // serde's errors are texts; what we found is told here.
    flaw: &'a RefCell<Option<JsonError>>,
}

impl Strict<'_> {
    fn one_level_down<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels, ..self }),
            None => Err(self.refuse(JsonError::TooDeep { limit: MAX_DEPTH })),
        }
    }

    fn refuse<E: serde::de::Error>(self, flaw: JsonError) -> E {
        let error = E::custom(&flaw);
        self.flaw.replace(Some(flaw));
        error
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("no finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.one_level_down()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.one_level_down()?;
        let mut object = Object::new();
        while let Some(key) = members.next_key_seed(KeySeed)? {
            let name = match key {
                Key::Member(name) => name,
                Key::Number => return number(&members.next_value::<String>()?),
            };
            if object.contains_key(&name) {
                let name = name.chars().take(MAX_TOLD).collect();
                return Err(self.refuse(JsonError::DuplicateMember { name }));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

fn number<E: serde::de::Error>(digits: &str) -> Result<Value, E> {
    let number: Number = digits.parse().map_err(E::custom)?;
    match number.as_f64().is_some_and(f64::is_finite) {
        true => Ok(Value::Number(number)),
        false => Err(E::custom("no finite number")),
    }
}

/// What stands before a value.
enum Key {
    /// The name of a member, whatever it is.
    Member(String),
    /// serde_json's own mark of a number.
    Number,
}

/// Tells the mark from a member of the same name, which anyone may send: asked for an option, a name
/// in the text says that there is one, and the mark, which is no text, says what it is.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_some<D: Deserializer<'de>>(self, name: D) -> Result<Key, D::Error> {
        String::deserialize(name).map(Key::Member)
    }

    fn visit_str<E: serde::de::Error>(self, mark: &str) -> Result<Key, E> {
        match mark {
            NUMBER => Ok(Key::Number),
            _ => Err(E::custom("no name")),
        }
    }
}

/// How deep lists and objects may lie within each other.
const MAX_DEPTH: usize = 32;

/// How much is told of the name of a member.
const MAX_TOLD: usize = 64;

/// Where another crate of the build switches on serde_json's feature `arbitrary_precision`, numbers
/// come as an object of this one member. Features are additive, so we read that too.
const NUMBER: &str = "$serde_json::private::Number";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_json() {
        let text = br#" {"a":[1,-2,0.5,1e3,null,true,"x\u00e9"],"b":{"a":18446744073709551615}} "#;
        let read = object(text, 100).unwrap();
        assert_eq!(read["a"][6], "x\u{e9}");
        assert_eq!(read["a"][3].as_f64(), Some(1000.0));
        assert_eq!(read["b"]["a"].as_u64(), Some(u64::MAX));
    }

    #[test]
    fn serde_jsons_own_name_for_numbers_is_a_name_like_any_other_from_outside() {
        let text = br#"{"exp":{"$serde_json::private::Number":"7"},"n":7}"#;
        let read = object(text, 100).unwrap();
        assert_eq!(read["n"].as_u64(), Some(7));
        assert!(read["exp"].is_object(), "{read:?}");
        assert_eq!(read["exp"][NUMBER], "7");

        let twice = br#"{"$serde_json::private::Number":"7","$serde_json::private::Number":7}"#;
        let refused = object(twice, 100);
        assert!(matches!(refused, Err(JsonError::DuplicateMember { .. })));
        let top = object(br#"{"$serde_json::private::Number":"x"}"#, 100).unwrap();
        assert_eq!(top[NUMBER], "x");
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        let twice = |name: &str| JsonError::DuplicateMember { name: name.into() };
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, twice("a")),
            (r#"{"a":1,"\u0061":1}"#, twice("a")),
            (r#"{"b":[{"c":{"x":1,"x":{}}}]}"#, twice("x")),
            ("[]", JsonError::NotAnObject),
            ("1", JsonError::NotAnObject),
            ("{} {}", JsonError::Syntax { line: 1, column: 4 }),
            ("{\n\"a\":}", JsonError::Syntax { line: 2, column: 5 }),
        ] {
            assert_eq!(object(text.as_bytes(), 100), Err(why), "{text}");
        }
        for text in [
            &b""[..],
            b"{\"a\":1,}",
            b"{'a':1}",
            b"{\"a\":01}",
            b"{\"a\":1e400}",
            b"{\"a\":NaN}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"\xef\xbb\xbf{}",
            b"{} x",
        ] {
            let refused = object(text, 100);
            assert!(
                matches!(refused, Err(JsonError::Syntax { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn is_bounded_in_size_and_depth() {
        assert_eq!(
            object(b"{\"a\":1}", 6),
            Err(JsonError::TooLarge { limit: 6 })
        );
        let nested = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(object(nested(MAX_DEPTH - 1).as_bytes(), 1000).is_ok());
        for levels in [MAX_DEPTH, 400] {
            assert_eq!(
                object(nested(levels).as_bytes(), 1000),
                Err(JsonError::TooDeep { limit: 32 }),
            );
        }
        let long = "x".repeat(500);
        let Err(JsonError::DuplicateMember { name }) =
            object(format!("{{\"{long}\":1,\"{long}\":1}}").as_bytes(), 2000)
        else {
            panic!("two members of one name were read");
        };
        assert_eq!(name.len(), MAX_TOLD);
    }
}
