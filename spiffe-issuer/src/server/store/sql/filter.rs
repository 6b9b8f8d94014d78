//! Filters and pages as SQL.

use std::collections::BTreeSet;

use super::row::{flag, seconds};
use super::statement::Statement;
use crate::domain::{Cursor, EntryFilter, Match, Matching, NodeFilter, Page, Paged, SelectorSet};

/// The conditions of an entry filter, behind a `WHERE` that is always true.
pub(super) fn entries(sql: &mut Statement, filter: &EntryFilter) {
    sql.push(" WHERE 1 = 1");
    if let Some(id) = &filter.spiffe_id {
        sql.push(" AND spiffe_id = ")
            .push_bind(id.as_str().to_owned());
    }
    if let Some(id) = &filter.parent_id {
        sql.push(" AND parent_id = ")
            .push_bind(id.as_str().to_owned());
    }
    if let Some(Matching { set, how }) = &filter.selectors {
        selectors(sql, &ENTRY_SELECTORS, set, *how);
    }
    if let Some(Matching { set, how }) = &filter.federates_with {
        matching(sql, &ENTRY_FEDERATION, set, *how, |sql, trust_domain| {
            sql.push("trust_domain = ")
                .push_bind(trust_domain.as_str().to_owned());
        });
    }
    if let Some(hint) = &filter.hint {
        sql.push(" AND hint = ").push_bind(hint.as_str().to_owned());
    }
    if let Some(downstream) = filter.downstream {
        sql.push(" AND downstream = ").push_bind(flag(downstream));
    }
}

/// The conditions of a node filter, behind a `WHERE` that is always true.
pub(super) fn nodes(sql: &mut Statement, filter: &NodeFilter) {
    sql.push(" WHERE 1 = 1");
    if let Some(attestation_type) = &filter.attestation_type {
        sql.push(" AND attestation_type = ")
            .push_bind(attestation_type.clone());
    }
    if let Some(Matching { set, how }) = &filter.selectors {
        selectors(sql, &NODE_SELECTORS, set, *how);
    }
    match filter.banned {
        Some(true) => drop(sql.push(" AND serial IS NULL")),
        Some(false) => drop(sql.push(" AND serial IS NOT NULL")),
        None => {}
    }
    if let Some(can_reattest) = filter.can_reattest {
        sql.push(" AND can_reattest = ")
            .push_bind(flag(can_reattest));
    }
    if let Some(time) = filter.expires_before {
        sql.push(" AND expires_at < ").push_bind(seconds(time));
    }
    if let Some((authority, at)) = &filter.holds {
        let (authority, at) = (authority.as_str().to_owned(), seconds(*at));
        sql.push(" AND serial IS NOT NULL AND ((authority = ")
            .push_bind(authority.clone())
            .push(" AND expires_at > ")
            .push_bind(at)
            .push(") OR (renewed_authority = ")
            .push_bind(authority)
            .push(" AND renewed_expires_at > ")
            .push_bind(at)
            .push("))");
    }
}

/// The order and bounds of a page. One row more than asked for tells whether there is a next page.
pub(super) fn page(sql: &mut Statement, page: &Page) {
    if let Some(Cursor(after)) = page.after {
        sql.push(" AND seq > ").push_bind(after);
    }
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    sql.push(" ORDER BY seq LIMIT ")
        .push_bind(limit.saturating_add(1));
}

/// The page that was read, of rows with their places.
pub(super) fn paged<T>(mut rows: Vec<(i64, T)>, page: &Page) -> Paged<T> {
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = match rows.last() {
        Some((seq, _)) if more => Some(Cursor(*seq)),
        _ => None,
    };
    Paged {
        items: rows.into_iter().map(|(_, item)| item).collect(),
        next,
    }
}

/// A table that says which sets its owners have, and where those keep how many elements there are.
struct SetTable {
    table: &'static str,
    owners: &'static str,
    count: &'static str,
}

const ENTRY_SELECTORS: SetTable = SetTable {
    table: "entry_selectors",
    owners: "entries",
    count: "selector_count",
};

const ENTRY_FEDERATION: SetTable = SetTable {
    table: "entry_federation",
    owners: "entries",
    count: "federates_with_count",
};

const NODE_SELECTORS: SetTable = SetTable {
    table: "node_selectors",
    owners: "nodes",
    count: "selector_count",
};

fn selectors(sql: &mut Statement, table: &SetTable, set: &SelectorSet, how: Match) {
    matching(sql, table, set, how, |sql, selector| {
        sql.push("(kind = ")
            .push_bind(selector.kind().to_owned())
            .push(" AND value = ")
            .push_bind(selector.value().to_owned())
            .push(")");
    });
}

/// How many elements of the stored set were asked for decides every kind of match. The search begins
/// at the elements, of which there is an index, and not at the owners, of which there are many.
fn matching<T>(
    sql: &mut Statement,
    SetTable {
        table,
        owners,
        count,
    }: &SetTable,
    set: &BTreeSet<T>,
    how: Match,
    mut same: impl FnMut(&mut Statement, &T),
) {
    sql.push(format_args!(
        " AND seq IN (SELECT owner FROM {table} JOIN {owners} AS owned ON owned.seq = owner
         WHERE (1 = 0"
    ));
    for element in set {
        sql.push(" OR ");
        same(sql, element);
    }
    sql.push(format_args!(
        ") GROUP BY owner, owned.{count} HAVING COUNT(*)"
    ));
    let asked = i64::try_from(set.len()).unwrap_or(i64::MAX);
    match how {
        Match::Any => sql.push(" > 0"),
        Match::Subset => sql.push(format_args!(" = owned.{count}")),
        Match::Superset => sql.push(" = ").push_bind(asked),
        Match::Exact => sql
            .push(format_args!(" = owned.{count} AND COUNT(*) = "))
            .push_bind(asked),
    };
    sql.push(")");
}
