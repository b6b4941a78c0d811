//! SQLite: WAL, synchronous=FULL, one writer.
//!
//! The documents hold BMC passwords and config drives in the clear, so the file is made readable by its owner only. A lock
//! file beside it refuses a second coordinator.

mod certificates;
mod list;
mod nodes;
mod records;
mod rest;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use super::{
    Answer, HistoryEntry, NodeFilter, PortFilter, Record, RecordKind, Stamp, Store, StoreError,
};
use crate::certificate::Kept;
use crate::node::{Node, Port};
use writer::Writer;

/// The schema this program writes.
const SCHEMA_VERSION: i64 = 5;
/// What leads to each version from the one before.
const SCHEMA: [(i64, &str); 5] = [
    (1, include_str!("sqlite/schema.sql")),
    (2, include_str!("sqlite/certificates.sql")),
    (3, include_str!("sqlite/records.sql")),
    (4, include_str!("sqlite/lists.sql")),
    (5, include_str!("sqlite/history.sql")),
];
/// Readers beside the one writer.
const READERS: u32 = 4;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another coordinator uses it.
    #[error("another coordinator uses {}; stop it first, one SQLite file serves one coordinator", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file or its lock cannot be made.
    #[error("cannot open {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// SQLite refuses the file.
    #[error("cannot use {} as a SQLite database", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: sqlx::Error,
    },
    /// A newer program wrote it.
    #[error("{} has schema version {found}, this program knows {SCHEMA_VERSION}; use the newer program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
}

/// One SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    writer: Writer,
    readers: SqlitePool,
    /// Holds the lock until it is dropped.
    _lock: File,
}

impl Sqlite {
    /// Opens the database, making it if there is none.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::File { path: path.to_owned(), source };
        private(path).map_err(unusable)?;
        // By its real name: a link to a database in use is the same database.
        let path = &path.canonicalize().map_err(unusable)?;
        let lock = lock(path)?;
        let database = |source| OpenError::Database { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let mut writer = options.connect().await.map_err(database)?;
        let found: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut writer)
            .await
            .map_err(database)?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found });
        }
        for (_, sql) in SCHEMA.into_iter().filter(|(version, _)| *version > found) {
            let mut transaction = writer.begin().await.map_err(database)?;
            sqlx::raw_sql(sql).execute(&mut *transaction).await.map_err(database)?;
            transaction.commit().await.map_err(database)?;
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .idle_timeout(None)
            // A file does not go away as a server does.
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await
            .map_err(database)?;
        Ok(Self { writer: Writer::start(writer), readers, _lock: lock })
    }
}

/// Makes the file, readable by its owner only. SQLite gives its WAL the same mode.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = private(&name).map_err(|source| OpenError::File { path: name.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path: name, source }),
    }
}

/// Turns SQLite's refusal into ours.
fn refused(
    attempt: &'static str,
    error: sqlx::Error,
    values: &[(&str, &'static str, String)],
) -> StoreError {
    if let sqlx::Error::Database(refusal) = &error
        && refusal.is_unique_violation()
    {
        for (column, what, value) in values {
            if refusal.message().ends_with(column) {
                return StoreError::Duplicate { what, value: value.clone() };
            }
        }
    }
    StoreError::Database { attempt, source: Box::new(error) }
}

fn failed(attempt: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| refused(attempt, error, &[])
}

fn to_text<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database {
        attempt: "write a document",
        source: Box::new(error),
    })
}

fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Database {
        attempt: "read a stored document",
        source: Box::new(error),
    })
}

impl Store for Sqlite {
    fn create_node<'a>(&'a self, node: &'a Node) -> Answer<'a, Node> {
        let node = node.clone();
        Box::pin(
            self.writer.write(move |to| Box::pin(async move { nodes::create(to, &node).await })),
        )
    }
    fn node<'a>(&'a self, ident: &'a str) -> Answer<'a, Option<Node>> {
        Box::pin(nodes::one(&self.readers, ident))
    }
    fn update_node<'a>(&'a self, node: &'a Node, due: Option<Timestamp>) -> Answer<'a, Node> {
        let node = node.clone();
        Box::pin(
            self.writer
                .write(move |to| Box::pin(async move { nodes::update(to, &node, due).await })),
        )
    }
    fn delete_node(&self, uuid: Uuid) -> Answer<'_, ()> {
        Box::pin(
            self.writer.write(move |to| Box::pin(async move { nodes::delete(to, uuid).await })),
        )
    }
    fn nodes<'a>(&'a self, filter: &'a NodeFilter) -> Answer<'a, Vec<Node>> {
        Box::pin(list::whole(&self.readers, filter))
    }
    fn node_stamps<'a>(&'a self, filter: &'a NodeFilter) -> Answer<'a, Vec<Stamp>> {
        Box::pin(list::stamps(&self.readers, filter))
    }
    fn nodes_of<'a>(&'a self, rows: &'a [i64]) -> Answer<'a, Vec<(i64, Node)>> {
        Box::pin(list::of_rows(&self.readers, rows))
    }
    fn bmc_sharers<'a>(&'a self, node: &'a Node) -> Answer<'a, Vec<Uuid>> {
        Box::pin(nodes::bmc_sharers(&self.readers, node))
    }
    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<Uuid>> {
        Box::pin(nodes::due(&self.readers, now, limit))
    }
    fn next_due(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(nodes::next_due(&self.readers))
    }
    fn create_port<'a>(&'a self, port: &'a Port) -> Answer<'a, ()> {
        let port = port.clone();
        Box::pin(
            self.writer
                .write(move |to| Box::pin(async move { rest::create_port(to, &port).await })),
        )
    }
    fn port(&self, uuid: Uuid) -> Answer<'_, Option<Port>> {
        Box::pin(rest::port(&self.readers, uuid))
    }
    fn ports<'a>(&'a self, filter: &'a PortFilter) -> Answer<'a, Vec<Port>> {
        Box::pin(rest::ports(&self.readers, filter))
    }
    fn update_port<'a>(&'a self, port: &'a Port) -> Answer<'a, ()> {
        let port = port.clone();
        Box::pin(
            self.writer
                .write(move |to| Box::pin(async move { rest::update_port(to, &port).await })),
        )
    }
    fn delete_port(&self, uuid: Uuid) -> Answer<'_, bool> {
        Box::pin(
            self.writer.write(move |to| Box::pin(async move { rest::delete_port(to, uuid).await })),
        )
    }
    fn node_by_addresses<'a>(&'a self, addresses: &'a [String]) -> Answer<'a, Option<Uuid>> {
        Box::pin(rest::node_by_addresses(&self.readers, addresses))
    }
    fn create_record<'a>(&'a self, record: &'a Record) -> Answer<'a, ()> {
        let record = record.clone();
        Box::pin(
            self.writer
                .write(move |to| Box::pin(async move { records::create(to, &record).await })),
        )
    }
    fn record<'a>(&'a self, kind: RecordKind, ident: &'a str) -> Answer<'a, Option<Record>> {
        Box::pin(records::one(&self.readers, kind, ident))
    }
    fn records(&self, kind: RecordKind, node: Option<Uuid>) -> Answer<'_, Vec<Record>> {
        Box::pin(records::list(&self.readers, kind, node))
    }
    fn update_record<'a>(&'a self, record: &'a Record) -> Answer<'a, bool> {
        let record = record.clone();
        Box::pin(
            self.writer
                .write(move |to| Box::pin(async move { records::update(to, &record).await })),
        )
    }
    fn delete_record(&self, kind: RecordKind, uuid: Uuid) -> Answer<'_, bool> {
        Box::pin(
            self.writer
                .write(move |to| Box::pin(async move { records::delete(to, kind, uuid).await })),
        )
    }
    fn add_history<'a>(&'a self, node: Uuid, entry: &'a HistoryEntry) -> Answer<'a, ()> {
        let entry = entry.clone();
        Box::pin(
            self.writer
                .post(move |to| Box::pin(async move { rest::add_history(to, node, &entry).await })),
        )
    }
    fn history(&self, node: Uuid) -> Answer<'_, Vec<HistoryEntry>> {
        Box::pin(async move {
            self.writer.flush().await?;
            rest::history(&self.readers, node).await
        })
    }
    fn put_inventory<'a>(&'a self, node: Uuid, inventory: &'a Value) -> Answer<'a, ()> {
        let inventory = inventory.clone();
        Box::pin(self.writer.write(move |to| {
            Box::pin(async move { rest::put_inventory(to, node, &inventory).await })
        }))
    }
    fn inventory(&self, node: Uuid) -> Answer<'_, Option<Value>> {
        Box::pin(rest::inventory(&self.readers, node))
    }
    fn keep_certificates<'a>(&'a self, certificates: &'a [Kept]) -> Answer<'a, ()> {
        let certificates = certificates.to_vec();
        Box::pin(
            self.writer.write(move |to| {
                Box::pin(async move { certificates::keep(to, &certificates).await })
            }),
        )
    }
    fn certificates(
        &self,
        node: Uuid,
        marker: Option<Uuid>,
        limit: usize,
    ) -> Answer<'_, Vec<Kept>> {
        Box::pin(certificates::list(&self.readers, node, marker, limit))
    }
    fn certificate(&self, node: Uuid, id: Uuid) -> Answer<'_, Option<Kept>> {
        Box::pin(certificates::one(&self.readers, node, id))
    }
    /// Moves the WAL into the file, so that the file alone is a whole copy.
    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            self.writer.close().await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;
    use crate::node::tests::node_with;

    #[tokio::test]
    async fn the_sqlite_store_conforms() {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&directory.path().join("db")).await.unwrap();
        Box::pin(crate::store::conformance::all(&store)).await;
    }

    #[tokio::test]
    async fn writes_at_the_same_time_share_a_transaction_and_fail_each_for_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let store = Sqlite::open(&path).await.unwrap();
        let named = |name: String| crate::node::Node { name: Some(name), ..node_with(json!({})) };
        let nodes: Vec<_> = (0..200).map(|at| named(format!("n{}", at % 150))).collect();
        let writes = nodes.iter().map(|node| store.create_node(node));
        let results = futures_util::future::join_all(writes).await;
        let good = results.iter().filter(|result| result.is_ok()).count();
        let twice =
            results.iter().filter(|result| matches!(result, Err(StoreError::Duplicate { .. })));
        assert_eq!((good, twice.count()), (150, 50));
        drop(store);
        let store = Sqlite::open(&path).await.unwrap();
        assert_eq!(store.nodes(&NodeFilter::default()).await.unwrap().len(), 150);
    }

    #[tokio::test]
    async fn a_second_coordinator_is_refused_and_records_survive_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let node = node_with(json!({}));
        let first = Sqlite::open(&path).await.unwrap();
        first.create_node(&node).await.unwrap();
        assert!(matches!(Sqlite::open(&path).await, Err(OpenError::Locked { .. })));
        let link = path.with_file_name("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Sqlite::open(&link).await, Err(OpenError::Locked { .. })));
        std::fs::remove_file(&link).unwrap();
        drop(first);
        let second = Sqlite::open(&path).await.unwrap();
        assert!(second.node("n1").await.unwrap().is_some());
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let mode = file.as_ref().unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file:?}");
        }
    }

    #[tokio::test]
    async fn a_database_of_the_version_before_is_brought_up_with_its_records() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let store = Sqlite::open(&path).await.unwrap();
        store.create_node(&node_with(json!({}))).await.unwrap();
        let undone =
            "DROP TRIGGER history_kept; DROP INDEX node_list; DROP TABLE record; ALTER TABLE node DROP COLUMN parent_node;
            DROP TABLE certificate; PRAGMA user_version = 1";
        store
            .writer
            .write(move |to| {
                Box::pin(async move {
                    sqlx::raw_sql(undone).execute(to).await.map(drop).map_err(failed("undo"))
                })
            })
            .await
            .unwrap();
        drop(store);
        let store = Sqlite::open(&path).await.unwrap();
        assert!(store.node("n1").await.unwrap().is_some());
        assert!(store.certificates(Uuid::nil(), None, 1).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_closed_store_is_one_file_that_holds_everything() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("db"), directory.path().join("copy"));
        let store = Sqlite::open(&path).await.unwrap();
        store.create_node(&node_with(json!({}))).await.unwrap();
        store.close().await.unwrap();
        assert!(store.node("n1").await.is_err());
        std::fs::copy(&path, &copy).unwrap();
        assert!(Sqlite::open(&copy).await.unwrap().node("n1").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_database_of_a_newer_program_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let store = Sqlite::open(&path).await.unwrap();
        let newer = sqlx::raw_sql("PRAGMA user_version = 9");
        store
            .writer
            .write(move |to| {
                Box::pin(async move {
                    newer.execute(to).await.map(drop).map_err(failed("set the version"))
                })
            })
            .await
            .unwrap();
        drop(store);
        assert!(matches!(Sqlite::open(&path).await, Err(OpenError::Newer { found: 9, .. })));
    }
}
