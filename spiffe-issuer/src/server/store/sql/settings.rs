//! `DataStore "sql" {}`: SPIRE's settings, as far as they mean something here.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ConnectionString, SqlStore};
use crate::config::{Fields, Issues, parsed, text};
use crate::plugin::BuiltIn;
use crate::server::store::{OpenStore, SharedStore, StoreError};

/// `DataStore "sql" { database_type = "sqlite3" connection_string = "..." }`.
pub const SQL: BuiltIn<dyn OpenStore> = BuiltIn {
    name: "sql",
    make: |settings, _| {
        let mut issues = Issues::default();
        let at = settings.fields(&mut issues, read);
        let at = issues.finish(at)?.logged();
        Ok(Arc::new(Closed(at)))
    },
};

/// A database that was configured and is not open yet.
struct Closed(ConnectionString);

#[async_trait]
impl OpenStore for Closed {
    async fn open(&self) -> Result<SharedStore, StoreError> {
        Ok(Arc::new(SqlStore::open(&self.0).await?))
    }
}

fn read(fields: &mut Fields<'_>) -> Option<ConnectionString> {
    match fields.required("database_type", text).as_deref() {
        Some("sqlite3") | None => {}
        Some(other) => fields.fault(
            "database_type",
            format_args!("`{other}` is not a database that we can use; `sqlite3` is"),
        ),
    }
    for key in POOL_SETTINGS {
        if fields.has(key) {
            fields.warn(key, "has no effect on SQLite");
        }
    }
    fields.required("connection_string", parsed)
}

/// What SPIRE sets its connection pools up with.
const POOL_SETTINGS: [&str; 5] = [
    "conn_max_lifetime",
    "log_sql",
    "max_idle_conns",
    "max_open_conns",
    "ro_connection_string",
];

#[cfg(test)]
mod tests {
    use spiffe_core::TrustDomain;
    use spiffe_core::clock::SystemClock;

    use super::*;
    use crate::config::parse;
    use crate::plugin::Surroundings;

    fn faults(settings: &str) -> Option<String> {
        let surroundings = Surroundings {
            trust_domain: TrustDomain::from_static("td"),
            clock: Arc::new(SystemClock),
            data_dir: None,
        };
        let settings = parse("f", settings).unwrap();
        let made = (SQL.make)(&settings, &surroundings);
        made.err().map(|issues| issues.to_string())
    }

    #[test]
    fn settings_are_those_of_spire() {
        for settings in [
            "database_type = \"sqlite3\" connection_string = \"/d/x.sqlite3\"",
            "database_type = \"sqlite3\" connection_string = \"x\" max_open_conns = 5",
        ] {
            assert_eq!(faults(settings), None, "{settings}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_open_and_says_where() {
        for (settings, part) in [
            ("connection_string = \"x\"", "database_type"),
            ("database_type = \"sqlite3\"", "connection_string"),
            (
                "database_type = \"mysql\" connection_string = \"x\"",
                "`mysql` is not a database that we can use; `sqlite3` is",
            ),
            (
                "database_type = \"sqlite3\" connection_string = \":memory:\"",
                "would forget every node",
            ),
        ] {
            let told = faults(settings).unwrap_or_default();
            assert!(told.contains(part), "{settings}: {told}");
        }
    }
}
