//! What machines load: boot scripts, kernel and ramdisk over HTTP, and the settings of the DHCP server that sends them here.

mod dhcp;
pub mod script;

use std::path::Path as FilePath;

use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ironwright_api::Work;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;
use uuid::Uuid;

pub use dhcp::dnsmasq_config;

use crate::agent::{self, Beacon, BootDecision};
use crate::app::{App, Severity, chain};
use crate::http::error::ApiError;
use crate::http::request::{Body, Query, is_host};
use crate::node::{Node, Object};
use crate::settings::Settings;
use script::{Ramdisk, ScriptError};

/// Most NICs of one machine that are looked up.
const MOST_NICS: usize = 9;

/// `GET /boot/ipxe`: the script every machine gets first.
///
/// # Errors
///
/// 500 when the settings name no usable address.
pub async fn entry(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let base = plain_base(&app.settings, &headers);
    Ok(text(script::entry(&base).map_err(ApiError::internal)?))
}

/// `GET /boot/ipxe/{mac}?nics=MAC,…`: the script of one machine. The first address is that of the NIC that booted; a
/// machine is also known by its others.
///
/// # Errors
///
/// 500 where the store fails: iPXE then tries again.
pub async fn script_of(
    State(app): State<App>,
    Path(mac): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut nics = vec![mac.clone()];
    nics.extend(query.get("nics").unwrap_or_default().split(',').map(str::to_owned));
    let mut asked: Vec<String> = Vec::new();
    for nic in nics.into_iter().filter_map(|nic| hexhyp(&nic)) {
        if !asked.contains(&nic) && asked.len() < MOST_NICS {
            asked.push(nic);
        }
    }
    let boot_mac = hexhyp(&mac).or_else(|| asked.first().cloned());
    for nic in &asked {
        if let BootDecision::Ramdisk { node, nonce } = agent::expect_boot(&app, nic).await? {
            let boot_mac = boot_mac.as_deref().unwrap_or(nic);
            return Ok(text(ramdisk_script(&app, &node, &nonce, boot_mac, &headers).await));
        }
    }
    Ok(text(script::local_disk(&format!(
        "no work waits for {}",
        boot_mac.as_deref().unwrap_or("this machine")
    ))))
}

/// The script, or one that says what is wrong: a machine must not hang because of a setting.
async fn ramdisk_script(
    app: &App,
    node: &Node,
    nonce: &str,
    boot_mac: &str,
    headers: &HeaderMap,
) -> String {
    match write_ramdisk_script(app, node, nonce, boot_mac, headers) {
        Ok(script) => script,
        Err(error) => {
            let sentence = format!("no boot script can be written: {}", chain(&error));
            app.note(node.uuid, Severity::Error, "boot", sentence).await;
            script::local_disk("the boot script cannot be written, see the history of the node")
        }
    }
}

fn write_ramdisk_script(
    app: &App,
    node: &Node,
    nonce: &str,
    boot_mac: &str,
    headers: &HeaderMap,
) -> Result<String, ScriptError> {
    let base = plain_base(&app.settings, headers);
    let api_url = agent_base(&app.settings, headers);
    let own = |file: &str| format!("{base}/boot/{file}?node={}", node.uuid);
    let chosen = |key: &str, file: &str| {
        text_of(&node.driver_info, key).map_or_else(|| own(file), str::to_owned)
    };
    let keys = format!("{base}/boot/plugin-keys");
    let rescues = node.work.as_ref().is_some_and(|work| matches!(work.order.work, Work::Rescue(_)));
    let named = |key: &str| text_of(&node.driver_info, key).filter(|_| rescues).map(str::to_owned);
    let (kernel, whole) = (named("rescue_kernel"), named("rescue_ramdisk"));
    let archive = own("rescue");
    let nonce_sha256 = agent::sha256(nonce);
    script::ramdisk(&Ramdisk {
        kernel: &kernel.unwrap_or_else(|| chosen("deploy_kernel", "vmlinuz")),
        rescue: Some(archive.as_str()).filter(|_| rescues && whole.is_none()),
        initrd: &whole.unwrap_or_else(|| chosen("deploy_ramdisk", "initrd")),
        beacon: Some(&format!("{base}/boot/beacon?node={}&boot={nonce_sha256}", node.uuid)),
        plugin_keys: Some(keys.as_str()).filter(|_| !app.plugins.keys().is_empty()),
        api_url: &api_url,
        nonce: Some(nonce),
        certificate_sha256: app
            .certificate_sha256
            .as_deref()
            .filter(|_| api_url.starts_with("https:")),
        boot_mac,
        inspects: node.work.as_ref().is_some_and(|work| matches!(work.order.work, Work::Inspect)),
        append: &append(&app.settings.boot.kernel_append_params, node),
    })
}

/// The node's kernel parameters instead of the coordinator's; `%default%` in them stands for the coordinator's (Ironic's rule).
fn append(default: &str, node: &Node) -> String {
    let own = text_of(&node.instance_info, "kernel_append_params")
        .or_else(|| text_of(&node.driver_info, "kernel_append_params"));
    own.map_or_else(|| default.to_owned(), |own| own.replace("%default%", default))
}

fn text_of<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// A MAC address as iPXE's `hexhyp`; none when it is none.
fn hexhyp(mac: &str) -> Option<String> {
    let mac = mac.trim().to_ascii_lowercase().replace(':', "-");
    let good = mac
        .split('-')
        .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (good && mac.len() == 17).then_some(mac)
}

/// Where machines load their files.
fn plain_base(settings: &Settings, headers: &HeaderMap) -> String {
    let listen = settings.provisioning.listen;
    format!("http://{}", authority(settings, listen, headers))
}

/// Where the agent talks to us: over TLS where there is such a listener.
fn agent_base(settings: &Settings, headers: &HeaderMap) -> String {
    match settings.provisioning.tls_listen {
        Some(listen) => format!("https://{}", authority(settings, Some(listen), headers)),
        None => plain_base(settings, headers),
    }
}

/// Host and port as machines see them: the advertised name, else the listening address, else (listening everywhere) the address
/// by which this machine reached us.
fn authority(
    settings: &Settings,
    listen: Option<std::net::SocketAddr>,
    headers: &HeaderMap,
) -> String {
    let port = listen.map_or(80, |listen| listen.port());
    let listening =
        listen.map(|listen| listen.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    let reached = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| is_host(host))
        .map(without_port);
    let host = settings
        .provisioning
        .advertise
        .clone()
        .or(listening)
        .or(reached)
        .unwrap_or_else(|| "localhost".into());
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn without_port(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, _port)) if !name.contains(':') || name.ends_with(']') => name.to_owned(),
        _ => host.to_owned(),
    }
}

/// `GET /boot/vmlinuz`.
///
/// # Errors
///
/// 404 without such a file.
pub async fn kernel(
    State(app): State<App>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let file = app.settings.boot.kernel.clone();
    artefact(&app, &query, request, file.as_deref(), "kernel").await
}

/// `GET /boot/initrd`.
///
/// # Errors
///
/// 404 without such a file.
pub async fn ramdisk(
    State(app): State<App>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let file = app.settings.boot.ramdisk.clone();
    artefact(&app, &query, request, file.as_deref(), "ramdisk").await
}

/// `POST /boot/beacon?node=UUID&boot=SHA256`: a ramdisk's network is up.
///
/// # Errors
///
/// 400 for the query and the body; nothing else: a stranger learns nothing.
pub async fn beacon(
    State(app): State<App>,
    query: Query,
    Body(body): Body<4>,
) -> Result<StatusCode, ApiError> {
    let node = query.parsed::<Uuid>("node")?;
    let node = node.ok_or_else(|| ApiError::Invalid("node is missing.".to_owned()))?;
    let said: Beacon = serde_json::from_value(body)
        .map_err(|error| ApiError::Invalid(format!("The beacon is malformed: {error}.")))?;
    agent::beacon(&app, node, query.get("boot").unwrap_or_default(), &said).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /boot/rescue`: what makes the ramdisk a rescue system.
///
/// # Errors
///
/// 404 without such a file.
pub async fn rescue(
    State(app): State<App>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let file = app.settings.boot.rescue.clone();
    artefact(&app, &query, request, file.as_deref(), "rescue").await
}

/// Streams a file, whole or a range of it, and notes for the node that its boot came so far.
async fn artefact(
    app: &App,
    query: &Query,
    request: Request,
    file: Option<&FilePath>,
    moment: &'static str,
) -> Result<Response, ApiError> {
    let file = file.ok_or(ApiError::NoSuchPath)?;
    let response = ServeFile::new(file).oneshot(request).await.map_err(ApiError::internal)?;
    if !response.status().is_success() {
        tracing::error!(file = %file.display(), status = %response.status(), "cannot serve {}", file.display());
    } else if let Some(node) = query.get("node").and_then(|node| Uuid::try_parse(node).ok()) {
        agent::moment(app, node, moment).await;
    }
    Ok(response.map(axum::body::Body::new))
}

fn text(script: String) -> Response {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    (StatusCode::OK, [(CONTENT_TYPE, content_type)], script).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::sample::{node, object};

    fn settings(listen: &str, tls: Option<&str>, advertise: Option<&str>) -> Settings {
        let mut settings = Settings::default();
        settings.provisioning.listen = Some(listen.parse().unwrap());
        settings.provisioning.tls_listen = tls.map(|tls| tls.parse().unwrap());
        settings.provisioning.advertise = advertise.map(str::to_owned);
        settings
    }

    /// What a machine is told that came with this `Host` header: the address of the files, and the agent's.
    fn told(settings: &Settings, host: &'static str) -> [String; 2] {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        [plain_base(settings, &headers), agent_base(settings, &headers)]
    }

    #[test]
    fn machines_are_told_the_address_they_can_reach() {
        for (listen, advertise, host, expected) in [
            ("172.22.0.1:6386", None, "x", "http://172.22.0.1:6386"),
            ("0.0.0.0:6386", None, "10.0.2.2:6386", "http://10.0.2.2:6386"),
            ("[::]:6386", None, "[fd00::1]:6386", "http://[fd00::1]:6386"),
            ("127.0.0.1:6386", Some("fd00::1"), "x", "http://[fd00::1]:6386"),
            ("0.0.0.0:6386", None, "evil/x", "http://localhost:6386"),
        ] {
            let told = told(&settings(listen, None, advertise), host);
            assert_eq!(told, [expected, expected], "{listen} {advertise:?} {host}");
        }
    }

    #[test]
    fn agents_are_sent_to_the_tls_listener_where_there_is_one() {
        let settings = settings("0.0.0.0:6386", Some("0.0.0.0:6387"), Some("pxe.example"));
        assert_eq!(told(&settings, "x"), ["http://pxe.example:6386", "https://pxe.example:6387"]);
    }

    #[test]
    fn a_node_s_kernel_parameters_replace_the_coordinator_s_or_add_to_them() {
        let mut record = node();
        assert_eq!(append("quiet", &record), "quiet");
        record.driver_info = object(json!({"kernel_append_params": "%default% debug"}));
        assert_eq!(append("quiet", &record), "quiet debug");
        record.instance_info = object(json!({"kernel_append_params": "only"}));
        assert_eq!(append("quiet", &record), "only");
    }

    #[test]
    fn only_mac_addresses_are_looked_up() {
        assert_eq!(hexhyp("52:54:00:AA:00:01").as_deref(), Some("52-54-00-aa-00-01"));
        assert_eq!(hexhyp("52-54-00-aa-00-01").as_deref(), Some("52-54-00-aa-00-01"));
        for wrong in
            ["", "52-54-00-aa-00", "52-54-00-aa-00-01-02", "${net0/mac}", "5254-00-aa-00-010"]
        {
            assert_eq!(hexhyp(wrong), None, "{wrong}");
        }
    }
}
