//! Values in and out of the columns: times as seconds, sets as JSON.

use std::error::Error;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Decode, Row as _, Type};

use crate::domain::{Selector, SelectorSet};
use crate::server::store::StoreError;

/// A row, of whichever engine.
#[derive(Debug)]
pub(super) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

/// A row of a known table, read column by column.
pub(super) struct Columns<'r> {
    table: &'static str,
    row: &'r Row,
}

impl<'r> Columns<'r> {
    pub(super) fn of(table: &'static str, row: &'r Row) -> Self {
        Self { table, row }
    }

    /// The value as the database has it.
    pub(super) fn value<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>,
    {
        let value = match self.row {
            Row::Postgres(row) => row.try_get(column),
            Row::Sqlite(row) => row.try_get(column),
        };
        value.map_err(|error| self.unreadable(column, error))
    }

    /// A text that reads as something of ours.
    pub(super) fn parsed<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let text: &str = self.value(column)?;
        text.parse()
            .map_err(|error: T::Err| self.unreadable(column, error))
    }

    /// The same of a column that may hold nothing.
    pub(super) fn parsed_opt<T>(&self, column: &'static str) -> Result<Option<T>, StoreError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let text: Option<&str> = self.value(column)?;
        let parsed = text.map(str::parse).transpose();
        parsed.map_err(|error: T::Err| self.unreadable(column, error))
    }

    /// A list that is kept as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: &str = self.value(column)?;
        serde_json::from_str(text).map_err(|error| self.unreadable(column, error))
    }

    /// A number that is never below zero.
    pub(super) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        Ok(self.value::<i64>(column)?.unsigned_abs())
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.value::<i64>(column)? != 0)
    }

    pub(super) fn time(&self, column: &'static str) -> Result<SystemTime, StoreError> {
        Ok(from_seconds(self.value(column)?))
    }

    pub(super) fn time_opt(&self, column: &'static str) -> Result<Option<SystemTime>, StoreError> {
        let seconds: Option<i64> = self.value(column)?;
        Ok(seconds.map(from_seconds))
    }

    pub(super) fn duration_opt(
        &self,
        column: &'static str,
    ) -> Result<Option<Duration>, StoreError> {
        let seconds: Option<i64> = self.value(column)?;
        Ok(seconds.map(|s| Duration::from_secs(s.unsigned_abs())))
    }

    pub(super) fn selectors(&self, column: &'static str) -> Result<SelectorSet, StoreError> {
        let pairs: Vec<(String, String)> = self.json(column)?;
        let selectors = pairs.iter().map(|(kind, value)| Selector::new(kind, value));
        let selectors: Result<_, _> = selectors.collect();
        selectors.map_err(|error| self.unreadable(column, error))
    }

    pub(super) fn unreadable(
        &self,
        column: &'static str,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Decode {
            table: self.table,
            column,
            source: error.into(),
        }
    }
}

/// Whole seconds since 1970, which is as precise as certificates and the API are.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// The time as it comes back from the store.
pub(super) fn whole_second(time: SystemTime) -> SystemTime {
    from_seconds(seconds(time))
}

pub(super) fn from_seconds(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(seconds.max(0).unsigned_abs());
    // Nothing that we write is too large; what is not ours must not panic.
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(super) fn duration_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn flag(value: bool) -> i64 {
    i64::from(value)
}

/// What goes into a column that holds JSON. Texts and lists of texts have no way to fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn selectors_json(selectors: &SelectorSet) -> String {
    let pairs: Vec<_> = selectors.iter().map(|s| (s.kind(), s.value())).collect();
    json(&pairs)
}
