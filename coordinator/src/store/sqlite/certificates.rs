//! Certificates in SQLite.

use serde_json::json;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{failed, from_text, to_text};
use crate::certificate::Kept;
use crate::store::StoreError;

pub(super) async fn keep(
    to: &mut SqliteConnection,
    certificates: &[Kept],
) -> Result<(), StoreError> {
    let row = |kept: &Kept| {
        let node = kept.signed.certificate.node_uuid;
        Ok(json!([kept.id.to_string(), node.to_string(), to_text(kept)?]))
    };
    let rows = certificates.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
    // One statement, so that all are kept or none: the transaction around it may hold other people's writes.
    let sql = "INSERT INTO certificate (id, node_uuid, document)
               SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
               ON CONFLICT (id) DO NOTHING";
    let done = sqlx::query(sql).bind(to_text(&rows)?).execute(to).await;
    done.map(drop).map_err(failed("keep a certificate"))
}

pub(super) async fn list(
    pool: &SqlitePool,
    node: Uuid,
    marker: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Kept>, StoreError> {
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT document FROM certificate
         WHERE node_uuid = ?1 AND seq < COALESCE((SELECT seq FROM certificate WHERE id = ?2), 9223372036854775807)
         ORDER BY seq DESC LIMIT ?3",
    )
    .bind(node.to_string())
    .bind(marker.map(|marker| marker.to_string()))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
    .map_err(failed("list certificates"))?;
    texts.iter().map(|text| from_text(text)).collect()
}

pub(super) async fn one(
    pool: &SqlitePool,
    node: Uuid,
    id: Uuid,
) -> Result<Option<Kept>, StoreError> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT document FROM certificate WHERE node_uuid = ? AND id = ?")
            .bind(node.to_string())
            .bind(id.to_string())
            .fetch_optional(pool)
            .await
            .map_err(failed("read a certificate"))?;
    text.as_deref().map(from_text).transpose()
}
