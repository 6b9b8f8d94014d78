//! One statement with its values, for whichever engine there is.

use std::fmt::{self, Write};

use sqlx::postgres::Postgres;
use sqlx::query::Query;
use sqlx::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, Database, Encode, Type};

/// A statement in the words that both engines understand, with the values of its `$1`, `$2` and so on.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    sql: String,
    values: Vec<Value>,
}

/// A value. What is not there has a type as well, which PostgreSQL wants to know.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Bytes(Vec<u8>),
    Integer(Option<i64>),
    Text(Option<String>),
}

/// A statement whose values are still to be bound.
pub(super) fn query(sql: &str) -> Statement {
    Statement {
        sql: sql.to_owned(),
        values: Vec::new(),
    }
}

impl Statement {
    /// Binds the value of the next placeholder that is written in the statement.
    #[must_use]
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds text of ours, never of anybody else's.
    pub(super) fn push(&mut self, sql: impl fmt::Display) -> &mut Self {
        // Writing to a string has no way to fail.
        let _ = write!(self.sql, "{sql}");
        self
    }

    /// Adds a placeholder, and binds its value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        self.push(format_args!("${number}"))
    }

    pub(super) fn for_postgres(
        self,
    ) -> Query<'static, Postgres, <Postgres as Database>::Arguments> {
        self.bound()
    }

    pub(super) fn for_sqlite(self) -> Query<'static, Sqlite, <Sqlite as Database>::Arguments> {
        self.bound()
    }

    fn bound<D>(self) -> Query<'static, D, D::Arguments>
    where
        D: Database,
        Vec<u8>: Encode<'static, D> + Type<D>,
        Option<i64>: Encode<'static, D> + Type<D>,
        Option<String>: Encode<'static, D> + Type<D>,
    {
        // Values are bound and never written into the text, which is all ours.
        let mut query = sqlx::query(AssertSqlSafe(self.sql));
        for value in self.values {
            query = match value {
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Integer(integer) => query.bind(integer),
                Value::Text(text) => query.bind(text),
            };
        }
        query
    }
}

/// A row to be inserted. What is not set gets what the table has for it, which is how a new row gets its
/// place in the list: SQLite would also take a `NULL` for that, and PostgreSQL does not.
#[derive(Debug)]
pub(super) struct Insert {
    table: &'static str,
    columns: Vec<&'static str>,
    values: Vec<Value>,
}

impl Insert {
    pub(super) fn into(table: &'static str) -> Self {
        Self {
            table,
            columns: Vec::new(),
            values: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, column: &'static str, value: impl Into<Value>) -> &mut Self {
        self.columns.push(column);
        self.values.push(value.into());
        self
    }

    pub(super) fn returning(self, column: &str) -> Statement {
        let (table, columns) = (self.table, self.columns.join(", "));
        let mut statement = query(&format!("INSERT INTO {table} ({columns}) VALUES ("));
        for (n, value) in self.values.into_iter().enumerate() {
            statement
                .push(if n == 0 { "" } else { ", " })
                .push_bind(value);
        }
        statement.push(format_args!(") RETURNING {column}"));
        statement
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(Some(integer))
    }
}

impl From<Option<i64>> for Value {
    fn from(integer: Option<i64>) -> Self {
        Self::Integer(integer)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_in_the_order_of_their_values() {
        let mut statement = query("SELECT a FROM b WHERE c = $1").bind("one");
        statement.push(" AND d = ").push_bind(2);
        statement.push(" OR e = ").push_bind("three".to_owned());
        assert_eq!(
            statement.sql,
            "SELECT a FROM b WHERE c = $1 AND d = $2 OR e = $3"
        );
        assert_eq!(statement.values.len(), 3);
    }

    #[test]
    fn an_insert_names_what_is_set_and_nothing_else() {
        let mut insert = Insert::into("t");
        insert.set("a", 1).set("b", None::<&str>);
        let statement = insert.returning("seq");
        assert_eq!(
            statement.sql,
            "INSERT INTO t (a, b) VALUES ($1, $2) RETURNING seq"
        );
        assert_eq!(statement.values.len(), 2);
    }
}
