//! Records in SQLite.

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{failed, from_text, refused, to_text};
use crate::store::{Record, RecordKind, StoreError};

pub(super) async fn create(to: &mut SqliteConnection, record: &Record) -> Result<(), StoreError> {
    let sql = "INSERT INTO record (kind, uuid, name, node_uuid, unique_key, document)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    write(to, sql, record).await.map(drop)
}

pub(super) async fn update(to: &mut SqliteConnection, record: &Record) -> Result<bool, StoreError> {
    let sql = "UPDATE record SET name = ?3, node_uuid = ?4, unique_key = ?5, document = ?6
               WHERE kind = ?1 AND uuid = ?2";
    write(to, sql, record).await
}

async fn write(
    to: &mut SqliteConnection,
    sql: &'static str,
    record: &Record,
) -> Result<bool, StoreError> {
    let done = sqlx::query(sql)
        .bind(record.kind.text())
        .bind(record.uuid.to_string())
        .bind(record.name.clone())
        .bind(record.node.map(|node| node.to_string()))
        .bind(record.key.clone())
        .bind(to_text(record)?)
        .execute(to)
        .await;
    let noun = record.kind.noun();
    done.map(|done| done.rows_affected() > 0).map_err(|error| {
        refused(
            "write a record",
            error,
            &[
                ("record.uuid", noun, format!("with UUID {}", record.uuid)),
                (
                    "record.name",
                    noun,
                    format!("with name {}", record.name.as_deref().unwrap_or_default()),
                ),
                (
                    "record.unique_key",
                    noun,
                    format!("with {}", record.key.as_deref().unwrap_or_default()),
                ),
            ],
        )
    })
}

pub(super) async fn one(
    pool: &SqlitePool,
    kind: RecordKind,
    ident: &str,
) -> Result<Option<Record>, StoreError> {
    let (sql, value) = match Uuid::parse_str(ident) {
        Ok(uuid) => ("SELECT document FROM record WHERE kind = ? AND uuid = ?", uuid.to_string()),
        Err(_) => ("SELECT document FROM record WHERE kind = ? AND name = ?", ident.to_owned()),
    };
    let text: Option<String> = sqlx::query_scalar(sql)
        .bind(kind.text())
        .bind(value)
        .fetch_optional(pool)
        .await
        .map_err(failed("read a record"))?;
    text.as_deref().map(from_text).transpose()
}

pub(super) async fn list(
    pool: &SqlitePool,
    kind: RecordKind,
    node: Option<Uuid>,
) -> Result<Vec<Record>, StoreError> {
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT document FROM record WHERE kind = ?1 AND (?2 IS NULL OR node_uuid = ?2) ORDER BY seq",
    )
    .bind(kind.text())
    .bind(node.map(|node| node.to_string()))
    .fetch_all(pool)
    .await
    .map_err(failed("list records"))?;
    texts.iter().map(|text| from_text(text)).collect()
}

pub(super) async fn delete(
    to: &mut SqliteConnection,
    kind: RecordKind,
    uuid: Uuid,
) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM record WHERE kind = ? AND uuid = ?")
        .bind(kind.text())
        .bind(uuid.to_string())
        .execute(to)
        .await;
    done.map(|done| done.rows_affected() > 0).map_err(failed("delete a record"))
}
