//! Starts everything and stops it in order.

mod identity;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use axum_server::{Handle, Server};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::certificate::{KeyError, SigningKey};
use crate::http::auth::{Users, UsersError};
use crate::plugins::{self, Plugins};
use crate::power::{Drivers, Power, sync};
use crate::settings::{Settings, SettingsError};
use crate::store::Store;
use crate::store::sqlite::{OpenError, Sqlite};
use crate::{allocation, http, reconcile};

pub use identity::{Identity, IdentityError};

/// Time that open requests get when stopping.
const GRACE: Duration = Duration::from_secs(5);

/// For the head of a request, and between two requests of one connection: a client that sends a byte a minute must not hold
/// one open for ever.
const HEAD_TIME: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// Why the coordinator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The key that countersigns certificates of erased disks.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key of those who sign plugins.
    #[error(transparent)]
    PluginKey(#[from] plugins::KeyError),
    /// The file of users.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The certificate of the operator's API.
    #[error(
        "cannot use tls_certificate {} with tls_key {}; both must be PEM files that belong together",
        certificate.display(),
        key.display()
    )]
    OperatorTls {
        /// The certificate.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
        /// What is wrong with them.
        source: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting})")]
    Listen {
        /// The setting it comes from.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Signals cannot be awaited.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// A coordinator at work. Dropping it cuts everything off, as a power cut would; [`Running::stop`] stops in order.
#[derive(Debug)]
pub struct Running {
    /// The parts, for tests that look inside.
    pub app: App,
    /// Where the operator's API listens.
    pub operator: SocketAddr,
    /// Where machines boot from.
    pub provisioning: Option<SocketAddr>,
    /// Where agents call.
    pub tls: Option<SocketAddr>,
    stop: CancellationToken,
    servers: Vec<Handle<SocketAddr>>,
    tasks: JoinSet<()>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// [`ServeError`].
pub async fn run(settings: Settings) -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let running = start(settings).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping: SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping: SIGINT"),
    }
    running.stop().await;
    Ok(())
}

/// Opens the database and the listeners and spawns the work.
///
/// # Errors
///
/// [`ServeError`]; nothing is left running.
pub async fn start(settings: Settings) -> Result<Running, ServeError> {
    let power: Arc<dyn Power> = Arc::new(Drivers::new(&settings));
    start_with(settings, power).await
}

/// As [`start`], with another way to the BMCs (for tests and the lab).
///
/// # Errors
///
/// [`ServeError`].
pub async fn start_with(
    mut settings: Settings,
    power: Arc<dyn Power>,
) -> Result<Running, ServeError> {
    settings.check()?;
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&settings.database).await?);
    let countersigner = Arc::new(SigningKey::load_or_make(&settings.state_dir)?);
    let plugins = Arc::new(Plugins::open(&settings.plugins)?);
    let mut certificate_sha256 = None;
    let tls = match settings.provisioning.tls_listen {
        Some(address) => {
            let identity = Identity::load_or_make(&settings)?;
            certificate_sha256 = Some(identity.sha256().into());
            Some((listen("provisioning.tls_listen", address)?, identity.server_config()?))
        }
        None => None,
    };
    let plain = match settings.provisioning.listen {
        Some(address) => Some(listen("provisioning.listen", address)?),
        None => None,
    };
    let users = settings.http_basic_auth_user_file.clone().map(Users::load).transpose()?;
    let operator_tls = operator_tls(&settings).await?;
    let operator = listen("listen", settings.listen)?;
    // Boot scripts name these addresses: port 0 must not be told to a machine, but the port that the kernel chose.
    settings.provisioning.tls_listen = tls.as_ref().map(|((_, address), _)| *address);
    settings.provisioning.listen = plain.as_ref().map(|(_, address)| *address);
    settings.listen = operator.1;
    let mut app = App::new(store, Arc::new(settings), power);
    app.certificate_sha256 = certificate_sha256;
    app.countersigner = Some(countersigner);
    app.plugins = plugins.clone();
    app.users = users.map(Arc::new);

    let stop = CancellationToken::new();
    let mut running = Running {
        operator: operator.1,
        provisioning: plain.as_ref().map(|(_, address)| *address),
        tls: tls.as_ref().map(|((_, address), _)| *address),
        app: app.clone(),
        stop: stop.clone(),
        servers: Vec::new(),
        tasks: JoinSet::new(),
    };
    running.serve(operator, http::operator(app.clone()), operator_tls, "operator's API");
    if let Some(listener) = plain {
        running.serve(listener, http::provisioning(app.clone(), false), None, "provisioning");
    }
    if let Some((listener, config)) = tls {
        running.serve(
            listener,
            http::provisioning(app.clone(), true),
            Some(config),
            "provisioning (TLS)",
        );
    }
    running.tasks.spawn(allocate(app.clone()));
    running.tasks.spawn(plugins::follow(plugins, stop.clone()));
    running.tasks.spawn(reconcile::run(app.clone(), stop.clone()));
    running.tasks.spawn(sync::run(app, stop));
    Ok(running)
}

/// Goes on with the allocations that an earlier process left.
async fn allocate(app: App) {
    if let Err(error) = allocation::resume(&app).await {
        tracing::error!("cannot go on with allocations: {}", crate::app::chain(&error));
    }
}

/// TLS of the operator's API, if the settings name a certificate.
async fn operator_tls(settings: &Settings) -> Result<Option<RustlsConfig>, ServeError> {
    let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else {
        return Ok(None);
    };
    // Fails where it was installed before.
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = RustlsConfig::from_pem_file(certificate, key).await;
    config.map(Some).map_err(|source| ServeError::OperatorTls {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })
}

/// A server that waits so long for a request's head and no longer.
fn patient<A, Acceptor>(mut server: Server<A, Acceptor>) -> Server<A, Acceptor>
where
    A: axum_server::Address,
{
    server.http_builder().http1().header_read_timeout(HEAD_TIME);
    server
}

type Listener = (TcpListener, SocketAddr);

fn listen(setting: &'static str, address: SocketAddr) -> Result<Listener, ServeError> {
    let bind = || -> std::io::Result<Listener> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|source| ServeError::Listen { setting, address, source })
}

impl Running {
    fn serve(
        &mut self,
        listener: Listener,
        router: Router,
        tls: Option<RustlsConfig>,
        what: &'static str,
    ) {
        let (listener, address) = listener;
        let handle = Handle::new();
        self.servers.push(handle.clone());
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tracing::info!(%address, "{what} on {address}");
        self.tasks.spawn(async move {
            let served = match tls {
                None => match axum_server::from_tcp(listener) {
                    Ok(server) => patient(server.http1_only()).handle(handle).serve(service).await,
                    Err(error) => Err(error),
                },
                Some(config) => match axum_server::from_tcp_rustls(listener, config) {
                    Ok(server) => patient(server.http1_only()).handle(handle).serve(service).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = served {
                tracing::error!("{what} on {address} ended: {error}");
            }
        });
    }

    /// Lets open requests and work end for a moment, then returns.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for server in &self.servers {
            server.graceful_shutdown(Some(GRACE));
        }
        while self.tasks.join_next().await.is_some() {}
        if let Err(error) = self.app.store.close().await {
            tracing::warn!(error = %crate::app::chain(&error), "the database was not closed in order");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Connections are tasks of their own: without this an agent that is connected would go on talking to a
        // coordinator that is gone, and keep its database locked.
        for server in &self.servers {
            server.shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &std::path::Path) -> Settings {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = Settings { listen: any, ..Settings::default() };
        settings.database = directory.join("db");
        settings.state_dir = directory.to_owned();
        settings.provisioning.listen = Some(any);
        settings.provisioning.tls_listen = Some(any);
        settings
    }

    #[tokio::test]
    async fn three_listeners_start_answer_and_stop() {
        let directory = tempfile::tempdir().unwrap();
        let running = start(settings(directory.path())).await.unwrap();
        let client = http_client();
        let root = client.get(format!("http://{}/", running.operator)).send().await.unwrap();
        assert!(root.text().await.unwrap().contains("default_version"));
        let plain = running.provisioning.unwrap();
        let entry = client.get(format!("http://{plain}/boot/ipxe")).send().await.unwrap();
        let entry = entry.text().await.unwrap();
        assert!(entry.contains(&format!("http://{plain}/boot/ipxe/")), "the port in use: {entry}");
        let nodes = client.get(format!("http://{plain}/v1/nodes")).send().await.unwrap();
        assert_eq!(nodes.status(), 404, "machines never see the operator's API");
        let unknown =
            format!("https://{}/v1/lookup?addresses=52:54:00:00:00:09", running.tls.unwrap());
        assert_eq!(
            client
                .get(unknown)
                .header("x-openstack-ironic-api-version", "1.62")
                .send()
                .await
                .unwrap()
                .status(),
            404
        );
        let second = start(settings(directory.path())).await;
        assert!(matches!(second, Err(ServeError::Store(OpenError::Locked { .. }))));
        running.stop().await;
        start(settings(directory.path())).await.unwrap().stop().await;
    }

    #[tokio::test]
    async fn a_dropped_coordinator_cuts_its_connections_and_gives_the_database_back() {
        let directory = tempfile::tempdir().unwrap();
        let running = start(settings(directory.path())).await.unwrap();
        let client = http_client();
        let url = format!("http://{}/", running.operator);
        // Leaves a connection open for the next request.
        client.get(&url).send().await.unwrap().bytes().await.unwrap();
        drop(running);
        let again = async {
            while let Err(ServeError::Store(_)) = start(settings(directory.path())).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
    }

    #[tokio::test]
    async fn slow_and_oversized_heads_are_cut_off() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let directory = tempfile::tempdir().unwrap();
        let running = start(settings(directory.path())).await.unwrap();
        let huge = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "a".repeat(2 << 20));
        for (sent, expected) in
            [("GET / HTTP/1.1\r\nhost: h\r\nx-slow", ""), (huge.as_str(), "431")]
        {
            let mut stream = tokio::net::TcpStream::connect(running.operator).await.unwrap();
            // The server may hang up before everything is sent.
            stream.write_all(sent.as_bytes()).await.ok();
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().ok();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.is_empty() || answer.contains(expected), "{answer}");
            assert!(!answer.contains("200 OK"), "{answer}");
        }
        running.stop().await;
    }

    #[tokio::test]
    async fn the_operator_s_api_speaks_tls_with_the_certificate_of_the_settings() {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut settings = settings(directory.path());
        for (slot, name, text) in [
            (&mut settings.tls_certificate, "cert.pem", made.cert.pem()),
            (&mut settings.tls_key, "key.pem", made.signing_key.serialize_pem()),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            *slot = Some(path);
        }
        let running = start(settings.clone()).await.unwrap();
        let client = http_client();
        let answer = client.get(format!("https://{}/v1", running.operator)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(text.contains("https://127.0.0.1:"), "links say how to come back: {text}");
        assert!(client.get(format!("http://{}/v1", running.operator)).send().await.is_err());
        running.stop().await;
        settings.tls_key = settings.tls_certificate.clone();
        let refused = start(settings).await.unwrap_err();
        assert!(matches!(refused, ServeError::OperatorTls { .. }), "{refused}");
    }

    fn http_client() -> reqwest::Client {
        rustls::crypto::ring::default_provider().install_default().ok();
        reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap()
    }
}
