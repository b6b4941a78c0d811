//! HTTP basic authentication of operators, with a file of bcrypt hashes as Ironic's `http_basic`.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::error::json_response;

/// Hashes computed at once: one costs a tenth of a second of a processor, and strangers may ask for it.
const AT_ONCE: usize = 2;

/// Why the file of users cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("cannot read http_basic_auth_user_file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A line is not `user:bcrypt hash`.
    #[error(
        "http_basic_auth_user_file {}, line {line}: it must be user:hash with a bcrypt hash ($2a$, $2b$ or $2y$); make one with htpasswd -nbB USER PASSWORD",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Nobody could sign in.
    #[error("http_basic_auth_user_file {} names no user; make one with htpasswd -nbB USER PASSWORD", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The operators who may sign in. The file is read again when it changed.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    known: Mutex<Known>,
    turn: Semaphore,
}

#[derive(Debug, Default, Clone)]
struct Known {
    changed: Option<SystemTime>,
    hashes: HashMap<String, String>,
    /// SHA-256 of user, password and hash of those who were let in: bcrypt is slow on purpose, once is enough.
    seen: BTreeSet<[u8; 32]>,
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`UsersError`].
    pub fn load(path: PathBuf) -> Result<Self, UsersError> {
        let users = Self { known: Mutex::new(read(&path)?), path, turn: Semaphore::new(AT_ONCE) };
        Ok(users)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that became unreadable lets nobody in whom it did not let in before.
    fn refresh(&self) {
        let changed = std::fs::metadata(&self.path).and_then(|found| found.modified()).ok();
        if changed.is_some() && changed != self.lock().changed {
            match read(&self.path) {
                Ok(known) => *self.lock() = known,
                Err(error) => tracing::error!("{}", crate::app::chain(&error)),
            }
        }
    }

    /// Whether this is one of the users.
    async fn admits(&self, user: &str, password: &str) -> bool {
        self.refresh();
        let (known, hash) = {
            let users = self.lock();
            let own = users.hashes.get(user);
            // An unknown user costs as much time as a known one.
            (own.is_some(), own.or_else(|| users.hashes.values().next()).cloned())
        };
        let Some(hash) = hash else { return false };
        let mark = mark(&[user, password, &hash]);
        if known && self.lock().seen.contains(&mark) {
            return true;
        }
        let Ok(_turn) = self.turn.acquire().await else { return false };
        let password = password.to_owned();
        let fits = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
        let admitted = known && matches!(fits.await, Ok(Ok(true)));
        if admitted {
            self.lock().seen.insert(mark);
        }
        admitted
    }
}

fn mark(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn read(path: &std::path::Path) -> Result<Known, UsersError> {
    let unreadable = |source| UsersError::Read { path: path.to_owned(), source };
    let changed = std::fs::metadata(path).and_then(|found| found.modified()).map_err(unreadable)?;
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut hashes = HashMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pair = line.trim().split_once(':');
        let good = |hash: &str| {
            ["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) && hash.len() == 60
        };
        match pair.filter(|(user, hash)| !user.is_empty() && good(hash)) {
            Some((user, hash)) => hashes.insert(user.to_owned(), hash.to_owned()),
            None => return Err(UsersError::Line { path: path.to_owned(), line: at + 1 }),
        };
    }
    if hashes.is_empty() {
        return Err(UsersError::Empty { path: path.to_owned() });
    }
    Ok(Known { changed: Some(changed), hashes, seen: BTreeSet::new() })
}

/// Whether everybody may read this path (Ironic's list).
fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/v1" | "/v1/lookup" | "/v1/continue_inspection")
        || path.starts_with("/v1/heartbeat/")
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let bytes =
        scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(value.trim()).ok())??;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Lets operators pass, and everybody to public paths.
pub(super) async fn layer(
    State(users): State<Arc<Users>>,
    request: Request,
    next: Next,
) -> Response {
    if is_public(request.uri().path()) {
        return next.run(request).await;
    }
    let Some((user, password)) = credentials(request.headers()) else {
        return refused("Authorization required");
    };
    if users.admits(&user, &password).await {
        next.run(request).await
    } else {
        tracing::warn!(user, "user {user} was refused");
        refused("Incorrect username or password")
    }
}

/// Ironic's answer, which has a shape of its own.
fn refused(text: &str) -> Response {
    let body = json!({"error": {"message": text, "code": 401}});
    let mut response = json_response(StatusCode::UNAUTHORIZED, &body);
    let realm = HeaderValue::from_static("Basic realm=\"Baremetal API\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_anything_but_bcrypt_is_refused_by_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        for (text, part) in [
            ("", "names no user"),
            ("admin:secret\n", "line 1"),
            ("admin:$apr1$x$y\n", "htpasswd -nbB"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Users::load(path.clone()).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert!(matches!(Users::load("/nosuch/users".into()), Err(UsersError::Read { .. })));
    }

    #[test]
    fn credentials_are_read_from_basic_alone() {
        for (value, expected) in [
            ("Basic YTpiOmM=", Some(("a", "b:c"))),
            ("basic YTo=", Some(("a", ""))),
            ("Bearer YTpi", None),
            ("Basic ???", None),
            ("Basic YQ==", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            let found = credentials(&headers);
            let found = found.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
            assert_eq!(found, expected, "{value}");
        }
    }
}
