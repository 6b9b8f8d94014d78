//! What `-output json` prints: the answer of the API as JSON, in the shape that scripts read.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::{DecodeError, Message, Name};
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Number, Value, json};

use super::values::{FlagValue, Unfit};
use crate::runtime::telemetry::quoted;

/// How a command prints its result: the flag `-output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// For people.
    #[default]
    Pretty,
}

/// The name of the flag.
pub const FLAG: &str = "output";

/// Its usage.
pub const USAGE: &str = "How to print the result: pretty, json; default: pretty.";

impl FlagValue for Format {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        *self = match text.to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "pretty" | "prettyprint" => Self::Pretty,
            _ => {
                let why = format!(
                    "bad formatter flag: unknown format option: {}",
                    quoted(text)
                );
                return Err(Unfit(why.into()));
            }
        };
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        None
    }
}

/// Why a message has no JSON. Only a program put together wrongly has a reason for it.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The description does not fit the message.
    #[error("reading {name} by its description")]
    Decode {
        /// The message.
        name: String,
        /// Why not.
        source: DecodeError,
    },
    /// The committed descriptions cannot be read.
    #[error("the descriptions of the APIs are broken")]
    Descriptors(#[source] &'static DescriptorError),
    /// The message cannot be said in JSON.
    #[error("writing {name} as JSON")]
    Json {
        /// The message.
        name: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// No API has this message.
    #[error("{0} is not described")]
    Undescribed(String),
}

/// A message of one of our APIs.
pub trait Printable {
    /// The message as JSON: every field by the name it has in the `.proto` file, also where it
    /// holds its default, but no `null`; 64 bit integers as strings.
    ///
    /// # Errors
    ///
    /// If the message is not one of our APIs'.
    fn to_json(&self) -> Result<Value, OutputError>;
}

impl<M: Message + Name> Printable for M {
    fn to_json(&self) -> Result<Value, OutputError> {
        let name = M::full_name();
        let pool = POOL.as_ref().map_err(OutputError::Descriptors)?;
        let Some(descriptor) = pool.get_message_by_name(&name) else {
            return Err(OutputError::Undescribed(name));
        };
        let message = match DynamicMessage::decode(descriptor, &*self.encode_to_vec()) {
            Ok(message) => message,
            Err(source) => return Err(OutputError::Decode { name, source }),
        };
        let options = SerializeOptions::new()
            .skip_default_fields(false)
            .use_proto_field_name(true);
        match message.serialize_with_options(serde_json::value::Serializer, &options) {
            Ok(value) => Ok(tidied(value)),
            Err(source) => Err(OutputError::Json { name, source }),
        }
    }
}

/// The line to print for these messages: one object, or a list of them if there are several.
///
/// # Errors
///
/// If one of them is not a message of our APIs.
pub fn json_line(messages: &[&dyn Printable]) -> Result<String, OutputError> {
    let values: Result<Vec<_>, _> = messages.iter().map(|message| message.to_json()).collect();
    Ok(match <[Value; 1]>::try_from(values?) {
        Ok([only]) => only.to_string(),
        Err(several) => Value::Array(several).to_string(),
    })
}

/// The line to print for a failure. It goes to the standard output, as results do.
pub fn json_error(error: &str) -> String {
    json!({ "error": error }).to_string()
}

/// What our messages look like: the issuer's APIs and the Workload API.
static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> = LazyLock::new(|| {
    let mut pool = DescriptorPool::decode(crate::proto::FILE_DESCRIPTOR_SET)?;
    pool.decode_file_descriptor_set(spiffe_core::proto::workload::FILE_DESCRIPTOR_SET)?;
    Ok(pool)
});

/// The same without `null`s, its keys in order whatever kind of map `serde_json` was built with.
fn tidied(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let items = items.into_iter().filter(|item| !item.is_null());
            Value::Array(items.map(tidied).collect())
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            let sorted: BTreeMap<_, _> = fields.map(|(key, value)| (key, tidied(value))).collect();
            Value::Object(Map::from_iter(sorted))
        }
        Value::Number(number) => Value::Number(whole(&number).unwrap_or(number)),
        other => other,
    }
}

/// A number without a fraction is written without one, as Go writes it.
fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    let whole = float.fract() == 0.0 && float.abs() < LARGEST_EXACT;
    whole.then(|| Number::from(float as i64))
}

/// 2^53: up to here a float says exactly which whole number it is.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use spiffe_core::proto::workload;

    use super::*;
    use crate::proto::{server, types};

    #[test]
    fn a_message_has_all_its_fields_in_order_but_no_null() {
        let entry = types::Entry {
            id: "e1".to_owned(),
            spiffe_id: Some(types::Spiffeid {
                trust_domain: "td".to_owned(),
                path: "/a".to_owned(),
            }),
            expires_at: 1 << 53,
            x509_svid_ttl: 600,
            dns_names: vec!["a.test".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            json_line(&[&entry]).unwrap(),
            "{\"admin\":false,\"created_at\":\"0\",\"dns_names\":[\"a.test\"],\
             \"downstream\":false,\"expires_at\":\"9007199254740992\",\"federates_with\":[],\
             \"hint\":\"\",\"id\":\"e1\",\"jwt_svid_ttl\":0,\"revision_number\":\"0\",\
             \"selectors\":[],\"spiffe_id\":{\"path\":\"/a\",\"trust_domain\":\"td\"},\
             \"store_svid\":false,\"x509_svid_ttl\":600}"
        );
    }

    #[test]
    fn bytes_are_base64_and_choices_are_words() {
        let bundle = types::Bundle {
            trust_domain: "td".to_owned(),
            x509_authorities: vec![types::X509Certificate {
                asn1: vec![0xfb, 0xff, 0],
                tainted: true,
            }],
            ..Default::default()
        };
        let logger = types::Logger {
            current_level: types::LogLevel::Warn.into(),
            launch_level: types::LogLevel::Info.into(),
        };
        for (message, field, told) in [
            (
                &bundle as &dyn Printable,
                "x509_authorities",
                json!([{"asn1": "+/8A", "tainted": true}]),
            ),
            (&bundle, "sequence_number", json!("0")),
            (&logger, "current_level", json!("WARN")),
        ] {
            assert_eq!(message.to_json().unwrap()[field], told, "{field}");
        }
    }

    #[test]
    fn several_messages_are_a_list_and_none_an_empty_one() {
        let count = server::agent::CountAgentsResponse { count: 2 };
        let zero = server::entry::CountEntriesResponse::default();
        assert_eq!(json_line(&[&count]).unwrap(), "{\"count\":2}");
        assert_eq!(
            json_line(&[&count, &zero]).unwrap(),
            "[{\"count\":2},{\"count\":0}]"
        );
        assert_eq!(json_line(&[]).unwrap(), "[]");
    }

    #[test]
    fn the_messages_of_the_workload_api_are_known_too() {
        let validated = workload::ValidateJwtsvidResponse {
            spiffe_id: "spiffe://td/a".to_owned(),
            claims: Some(prost_types::Struct {
                fields: [("exp", 1_795_361_761.0), ("share", 0.5)]
                    .map(|(claim, number)| {
                        let kind = Some(prost_types::value::Kind::NumberValue(number));
                        (claim.to_owned(), prost_types::Value { kind })
                    })
                    .into(),
            }),
        };
        let told = validated.to_json().unwrap();
        assert_eq!(told["spiffe_id"], "spiffe://td/a");
        assert_eq!(
            told["claims"].to_string(),
            "{\"exp\":1795361761,\"share\":0.5}"
        );
        let fetched = workload::X509svidResponse::default();
        let line = json_line(&[&fetched]).unwrap();
        assert_eq!(line, "{\"crl\":[],\"federated_bundles\":{},\"svids\":[]}");
    }

    #[test]
    fn every_message_of_the_issuer_can_be_printed() {
        let pool = POOL.as_ref().unwrap();
        let options = SerializeOptions::new().skip_default_fields(false);
        let mut printed = 0;
        for message in pool
            .all_messages()
            .filter(|message| !message.is_map_entry())
        {
            let empty = DynamicMessage::new(message.clone());
            let told = empty.serialize_with_options(serde_json::value::Serializer, &options);
            assert!(told.is_ok(), "{}", message.full_name());
            printed += 1;
        }
        assert!(printed > 100, "{printed}");
    }

    #[test]
    fn what_no_api_has_is_refused() {
        let refused = prost_types::Duration::default().to_json().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "google.protobuf.Duration is not described"
        );
    }

    #[test]
    fn an_error_is_an_object_too() {
        assert_eq!(
            json_error("no \"agent\""),
            "{\"error\":\"no \\\"agent\\\"\"}"
        );
    }

    #[test]
    fn the_flag_takes_the_names_of_the_formats() {
        for (text, format) in [
            ("json", Format::Json),
            ("JSON", Format::Json),
            ("pretty", Format::Pretty),
            ("prettyprint", Format::Pretty),
        ] {
            let mut read = Format::default();
            read.set(text).unwrap();
            assert_eq!(read, format, "{text}");
        }
        let why = Format::default().set("xml").unwrap_err().to_string();
        assert_eq!(why, "bad formatter flag: unknown format option: \"xml\"");
    }
}
