//! `DataStore "sql" {}`: SPIRE's settings, as far as they mean something here.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ConnectionString, PostgresConfig, PostgresString, SqlStore};
use crate::config::{Fields, Issues, boolean, duration, parsed, path, secret, text, whole};
use crate::plugin::BuiltIn;
use crate::server::store::{OpenStore, SharedStore, StoreError};

/// `DataStore "sql" { database_type = "sqlite3" connection_string = "..." }`, or `"postgres"`.
pub const SQL: BuiltIn<dyn OpenStore> = BuiltIn {
    name: "sql",
    make: |settings, _| {
        let mut issues = Issues::default();
        let closed = settings.fields(&mut issues, read);
        let closed = issues.finish(closed)?.logged();
        Ok(Arc::new(closed))
    },
};

/// A database that was configured and is not open yet.
enum Closed {
    Postgres(Box<PostgresConfig>),
    Sqlite { at: ConnectionString, migrate: bool },
}

#[async_trait]
impl OpenStore for Closed {
    async fn open(&self) -> Result<SharedStore, StoreError> {
        Ok(Arc::new(match self {
            Self::Postgres(config) => SqlStore::open_postgres(config).await?,
            Self::Sqlite { at, migrate } => SqlStore::open_sqlite(at, *migrate).await?,
        }))
    }
}

fn read(fields: &mut Fields<'_>) -> Option<Closed> {
    let database = fields.required("database_type", text);
    let migrate = !fields.or("disable_migration", boolean, false);
    if fields.has("log_sql") {
        fields.warn("log_sql", "has no effect: no statement is logged");
    }
    match database.as_deref() {
        Some("postgres") => postgres(fields, migrate),
        Some("sqlite3") | None => sqlite(fields, migrate),
        Some(other) => {
            fields.fault(
                "database_type",
                format_args!(
                    "`{other}` is not a database that we can use; `sqlite3` and `postgres` are"
                ),
            );
            sqlite(fields, migrate)
        }
    }
}

fn sqlite(fields: &mut Fields<'_>, migrate: bool) -> Option<Closed> {
    for key in POSTGRES_SETTINGS {
        if fields.has(key) {
            fields.warn(key, "has no effect on SQLite");
        }
    }
    let at = fields.required("connection_string", parsed)?;
    Some(Closed::Sqlite { at, migrate })
}

fn postgres(fields: &mut Fields<'_>, migrate: bool) -> Option<Closed> {
    let at: Option<PostgresString> = fields.required("connection_string", secret);
    let root_ca = fields.optional("root_ca_path", path);
    let certificate = fields.optional("client_cert_path", path);
    let key = fields.optional("client_key_path", path);
    let max_connections = fields.or("max_open_conns", whole, PostgresConfig::MAX_CONNECTIONS);
    let max_lifetime = fields.optional("conn_max_lifetime", duration);
    if fields.has("ro_connection_string") {
        fields.warn(
            "ro_connection_string",
            "has no effect: agents are answered from memory, and what is read to decide has to be the \
             newest",
        );
    }
    if fields.has("max_idle_conns") {
        fields.warn(
            "max_idle_conns",
            "has no effect: a connection that nobody needs is closed after a minute",
        );
    }
    if certificate.is_some() != key.is_some() {
        let (given, missing) = match certificate {
            Some(_) => ("client_cert_path", "client_key_path"),
            None => ("client_key_path", "client_cert_path"),
        };
        fields.fault(missing, format_args!("is missing, and `{given}` is given"));
    }
    if max_connections < LEAST {
        fields.fault(
            "max_open_conns",
            format_args!("must be at least {LEAST}: two write, one listens and one reads"),
        );
    }
    let at = at?;
    if at.is_unverified() && root_ca.is_none() {
        fields.warn(
            "connection_string",
            "does not ask who the database is; `sslmode=verify-full` with `sslrootcert` does",
        );
    }
    Some(Closed::Postgres(Box::new(PostgresConfig {
        at,
        root_ca,
        client: certificate.zip(key),
        max_connections,
        max_lifetime,
        migrate,
    })))
}

/// The fewest connections that a server can do with.
const LEAST: u32 = 4;

/// What is set up for a database that others serve.
const POSTGRES_SETTINGS: [&str; 7] = [
    "client_cert_path",
    "client_key_path",
    "conn_max_lifetime",
    "max_idle_conns",
    "max_open_conns",
    "ro_connection_string",
    "root_ca_path",
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
            "database_type = \"postgres\" connection_string = \"dbname=d host=h user=u password=p\"",
            "database_type = \"postgres\" connection_string = \"postgres://u:p@h/d\" \
             ro_connection_string = \"x\" root_ca_path = \"r\" client_cert_path = \"c\" \
             client_key_path = \"k\" max_open_conns = 100 max_idle_conns = 100 \
             conn_max_lifetime = \"1h\" disable_migration = true log_sql = true",
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
                "`mysql` is not a database that we can use; `sqlite3` and `postgres` are",
            ),
            (
                "database_type = \"sqlite3\" connection_string = \":memory:\"",
                "would forget every node",
            ),
            (
                "database_type = \"postgres\" connection_string = \"host=h pasword=p\"",
                "connection_string: it has a setting that we do not know",
            ),
            (
                "database_type = \"postgres\" connection_string = \"host=h\" client_cert_path = \"c\"",
                "`client_cert_path` is given",
            ),
            (
                "database_type = \"postgres\" connection_string = \"host=h\" max_open_conns = 3",
                "must be at least 4",
            ),
        ] {
            let told = faults(settings).unwrap_or_default();
            assert!(told.contains(part), "{settings}: {told}");
        }
    }

    #[test]
    fn a_fault_in_a_connection_string_shows_no_password() {
        for wrong in [
            "host=h password=hunter2 pasword=p",
            "host=h password='hunter2",
            "host=h password=hunter2 port=x",
            "host=a,b password=hunter2",
            "postgres://me:hunter2@h/db?nonsense=1",
            "mysql://me:hunter2@h/db",
        ] {
            let settings = format!("database_type = \"postgres\" connection_string = \"{wrong}\"");
            let told = faults(&settings).unwrap_or_default();
            assert!(told.contains("connection_string: "), "{wrong}: {told}");
            assert!(!told.contains("hunter2"), "{wrong}: {told}");
        }
    }
}
