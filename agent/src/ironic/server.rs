//! The command port: Ironic's agent API over TLS, each path with and without `/v1` and a slash at its end.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::task::JoinHandle;

use super::book::{Book, Record};
use super::command::Command;
use super::fault::Refusal;
use super::worker::Worker;

/// Longest request: a config drive of 64 MiB in base64 comes twice in one command.
const MAX_BODY: usize = 192 << 20;
/// A client that takes longer for the head of a request is cut off.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// What every request needs.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) token: SecretString,
    pub(super) book: Arc<Book>,
    pub(super) worker: Arc<Worker>,
}

/// The port, open.
#[derive(Debug)]
pub(super) struct Serving {
    handle: Handle<std::net::SocketAddr>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Takes no more requests and waits so long for the answers to those that are there.
    pub(super) async fn stop(self, grace: Duration) {
        self.handle.graceful_shutdown(Some(grace));
        self.task.await.ok();
    }
}

/// Opens the port.
pub(super) fn start(listener: TcpListener, config: Arc<ServerConfig>, door: Door) -> Serving {
    let handle = Handle::new();
    let service = Router::new().fallback(answer).with_state((door, seconds())).into_make_service();
    let told = handle.clone();
    let task = tokio::spawn(async move {
        let served = match axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config))
        {
            Ok(server) => {
                let mut server = server.http1_only();
                server.http_builder().http1().header_read_timeout(HEAD_TIME);
                server.handle(told).serve(service).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!("the command port ended: {error}");
        }
    });
    Serving { handle, task }
}

/// What may stand behind the `?`.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    agent_token: String,
    wait: Option<String>,
}

async fn answer(
    State((door, started)): State<(Door, f64)>,
    method: Method,
    uri: Uri,
    query: Result<Query<Asked>, QueryRejection>,
    body: Body,
) -> Response {
    let asked = query.map(|Query(asked)| asked).unwrap_or_default();
    let mut path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let is_v1 = path.first() == Some(&"v1");
    if is_v1 {
        path.remove(0);
    }
    let answered = match (&method, &path[..]) {
        (&Method::GET, []) => Ok(if is_v1 { version() } else { root() }),
        (&Method::GET, ["status"]) => {
            Ok(json!({"started_at": started, "version": env!("CARGO_PKG_VERSION")}))
        }
        (_, ["commands", ..]) => door.commands(&method, &path, &asked, body).await,
        _ => Err(Refusal::new(404, format!("Requested resource not found: {}", uri.path()))),
    };
    match answered {
        Ok(value) => shown(StatusCode::OK, &value),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status);
            shown(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &refusal.body())
        }
    }
}

impl Door {
    fn knows(&self, token: &str) -> bool {
        let own = self.token.expose_secret();
        !own.is_empty() && own.as_bytes().ct_eq(token.as_bytes()).into()
    }

    async fn commands(
        &self,
        method: &Method,
        path: &[&str],
        asked: &Asked,
        body: Body,
    ) -> Result<Value, Refusal> {
        let holds_token = self.knows(&asked.agent_token);
        let invalid = || Refusal::new(401, "401 Unauthorized: Token invalid.");
        // A wrong token is wrong; none is an older conductor's way to look.
        let looks = method == Method::GET && (holds_token || asked.agent_token.is_empty());
        if !(holds_token || looks) || (looks && !self.book.may_look(holds_token)) {
            return Err(invalid());
        }
        let shown = |record: Record| if holds_token { record } else { record.redacted() };
        let waits = holds_token
            && asked.wait.as_deref().is_some_and(|wait| wait.eq_ignore_ascii_case("true"));
        match (method, path) {
            (&Method::GET, [_]) => {
                let records: Vec<Record> = self.book.list().into_iter().map(shown).collect();
                Ok(json!({"commands": records}))
            }
            (&Method::GET, [_, id]) => {
                let unknown =
                    || Refusal::new(404, format!("Requested resource not found: Command {id}"));
                let id = id.parse().map_err(|_| unknown())?;
                let record = if waits { self.book.ended(id).await } else { self.book.get(id) };
                record.map(|record| json!(shown(record))).ok_or_else(unknown)
            }
            (&Method::POST, [_]) => self.execute(body, waits).await,
            _ => Err(Refusal::new(405, "Method not allowed")),
        }
    }

    /// The body is read now: nobody without the token fills our memory.
    async fn execute(&self, body: Body, waits: bool) -> Result<Value, Refusal> {
        let malformed = |why: &str| Refusal::new(400, format!("Malformed request: {why}"));
        let body = axum::body::to_bytes(body, MAX_BODY).await;
        let body = body.map_err(|error| malformed(&error.to_string()))?;
        let body: Value =
            serde_json::from_slice(&body).map_err(|error| malformed(&error.to_string()))?;
        let (Some(name), Value::Object(_)) = (body["name"].as_str(), &body["params"]) else {
            return Err(malformed("a command has a name and an object of params"));
        };
        let command = Command::parse(name, &body["params"])?;
        let waits = waits || !command.is_asynchronous();
        let id = self.worker.begin(&self.book, name, command)?;
        let record = if waits { self.book.ended(id).await } else { self.book.get(id) };
        Ok(json!(record))
    }
}

fn shown(status: StatusCode, value: &Value) -> Response {
    let body = Body::from(value.to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /`.
fn root() -> Value {
    let version = version();
    json!({
        "name": "OpenStack Ironic Python Agent API",
        "description": "The commands of an Ironic conductor, taken by an Ironwright agent",
        "versions": [version], "default_version": version,
    })
}

/// `GET /v1`. Links are relative: who asks knows the address better.
fn version() -> Value {
    let links = |path: &str| json!([{"href": path, "rel": "self"}]);
    json!({
        "id": "v1", "links": links("/v1"), "commands": links("/v1/commands"), "status": links("/v1/status"),
        "media_types": [{"base": "application/json", "type": "application/vnd.openstack.ironic-python-agent.v1+json"}],
    })
}

/// Since 1970.
fn seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
