//! Lists of nodes in SQLite: which, in which order, from where to where.

use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::nodes::node;
use super::{failed, to_text};
use crate::node::Node;
use crate::store::{Children, NodeFilter, Stamp, StoreError};

const ATTEMPT: &str = "list nodes";

/// The columns a list may be sorted by. Anything else sorts by creation; the API checks before it asks.
const SORTABLE: [&str; 9] = [
    "uuid",
    "name",
    "driver",
    "provision_state",
    "power_state",
    "maintenance",
    "resource_class",
    "instance_uuid",
    "fault",
];

type Query = sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments>;

/// The conditions, order and page of a filter; their values are bound by [`bound`].
fn clauses(filter: &NodeFilter) -> String {
    let key =
        filter.sort_key.as_deref().and_then(|key| SORTABLE.into_iter().find(|known| *known == key));
    // Column names come from the constants above; everything from outside is bound.
    let (key, order) = match key {
        Some(key) => (format!("COALESCE({key}, '')"), format!("COALESCE({key}, '') ")),
        None => ("''".to_owned(), String::new()),
    };
    let (after, direction) = if filter.descending { ("<", "DESC") } else { (">", "ASC") };
    let order = if order.is_empty() { order } else { format!("{order}{direction}, ") };
    format!(
        "WHERE (?1 IS NULL OR provision_state = ?1) AND (?2 IS NULL OR maintenance = ?2)
           AND (?3 IS NULL OR driver = ?3) AND (?4 IS NULL OR resource_class = ?4)
           AND (?5 IS NULL OR instance_uuid = ?5) AND (?6 IS NULL OR (instance_uuid IS NOT NULL) = ?6)
           AND (?7 IS NULL OR fault = ?7)
           AND (?8 IS NULL OR NOT EXISTS (SELECT 1 FROM node WHERE uuid = ?8)
                OR ({key}, seq) {after} (SELECT {key}, seq FROM node WHERE uuid = ?8))
           AND (?10 = 0 OR (?10 = 1 AND parent_node IS NULL) OR parent_node = ?11)
         ORDER BY {order}seq {direction} LIMIT ?9"
    )
}

/// `sql`, which ends with [`clauses`], with their values.
fn bound(sql: String, filter: &NodeFilter) -> Query {
    let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    let (children, parent) = match filter.children {
        Children::Shown => (0, None),
        Children::Hidden => (1, None),
        Children::Of(parent) => (2, Some(parent.to_string())),
    };
    sqlx::query(AssertSqlSafe(sql))
        .bind(filter.provision_state.clone())
        .bind(filter.maintenance)
        .bind(filter.driver.clone())
        .bind(filter.resource_class.clone())
        .bind(filter.instance_uuid.map(|uuid| uuid.to_string()))
        .bind(filter.associated)
        .bind(filter.fault.clone())
        .bind(filter.marker.map(|uuid| uuid.to_string()))
        .bind(limit)
        .bind(children)
        .bind(parent)
}

pub(super) async fn whole(pool: &SqlitePool, filter: &NodeFilter) -> Result<Vec<Node>, StoreError> {
    let sql = format!("SELECT document, version FROM node {}", clauses(filter));
    let rows = bound(sql, filter).fetch_all(pool).await.map_err(failed(ATTEMPT))?;
    rows.iter().map(node).collect()
}

/// One row for all: what a row costs on its way here is many times what SQLite spends on finding it.
pub(super) async fn stamps(
    pool: &SqlitePool,
    filter: &NodeFilter,
) -> Result<Vec<Stamp>, StoreError> {
    let sql = format!(
        "SELECT group_concat(seq || ' ' || version) FROM
         (SELECT seq, version FROM node INDEXED BY node_list {})",
        clauses(filter)
    );
    let row = bound(sql, filter).fetch_one(pool).await.map_err(failed(ATTEMPT))?;
    let text: Option<&str> = row.try_get(0).map_err(failed(ATTEMPT))?;
    let stamp = |pair: &str| {
        let (row, version) = pair.split_once(' ')?;
        Some(Stamp { row: row.parse().ok()?, version: version.parse().ok()? })
    };
    Ok(text.unwrap_or_default().split(',').filter_map(stamp).collect())
}

pub(super) async fn of_rows(
    pool: &SqlitePool,
    rows: &[i64],
) -> Result<Vec<(i64, Node)>, StoreError> {
    let sql =
        "SELECT seq, document, version FROM node WHERE seq IN (SELECT value FROM json_each(?))";
    let found =
        sqlx::query(sql).bind(to_text(&rows)?).fetch_all(pool).await.map_err(failed(ATTEMPT))?;
    let one = |row: &SqliteRow| Ok((row.try_get("seq").map_err(failed(ATTEMPT))?, node(row)?));
    found.iter().map(one).collect()
}
