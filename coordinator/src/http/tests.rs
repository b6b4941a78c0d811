//! The whole router, as a client sees it.

mod access;
mod bad_input;
mod enrolment;
mod inspection;
mod lifecycle;
mod machines;
mod parts;
mod records;
mod resources;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::app::App;
use crate::node::Node;
use crate::power::Drivers;
use crate::settings::Settings;
use crate::store::memory::Memory;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const MAC: &str = "00:11:22:00:11:22";

struct Client {
    app: App,
    routes: Router,
    version: String,
    _files: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The text a client would print.
    fn fault(&self) -> String {
        let inner: Value =
            serde_json::from_str(self.json()["error_message"].as_str().unwrap()).unwrap();
        let text = inner.get("faultstring").or_else(|| inner.get("description"));
        text.unwrap().as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A coordinator with a kernel and a ramdisk.
fn app() -> (App, tempfile::TempDir) {
    let _already = rustls::crypto::ring::default_provider().install_default().is_err();
    let files = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    for (slot, name, content) in [
        (&mut settings.boot.kernel, "vmlinuz", "0123456789"),
        (&mut settings.boot.ramdisk, "initrd", "ramdisk"),
    ] {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        *slot = Some(path);
    }
    settings.enabled_hardware_types = vec!["fake-hardware".into(), "ipmi".into()];
    settings.provisioning.listen = Some("172.22.0.1:6386".parse().unwrap());
    settings.provisioning.tls_listen = Some("172.22.0.1:6387".parse().unwrap());
    let power = Arc::new(Drivers::new(&settings));
    (App::new(Arc::new(Memory::default()), Arc::new(settings), power), files)
}

fn client() -> Client {
    let (app, files) = app();
    Client { routes: super::operator(app.clone()), app, version: "1.110".into(), _files: files }
}

impl Client {
    async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let headers = [("x-openstack-ironic-api-version", self.version.as_str())];
        send(&self.routes, method, path, &headers, &body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    /// A node of the fake driver; its answer.
    async fn node(&self, body: Value) -> Value {
        let mut asked = json!({"driver": "fake-hardware", "boot_interface": "ipxe", "deploy_interface": "direct"});
        asked.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = self.send("POST", "/v1/nodes", asked).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    /// Changes a record behind the API's back.
    async fn force(&self, ident: &str, change: impl Fn(&mut Node)) {
        let mut node = self.app.store.node(ident).await.unwrap().unwrap();
        change(&mut node);
        self.app.store.update_node(&node, None).await.unwrap();
    }
}

async fn send(
    routes: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "h:6385");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let response = routes.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 24).await.unwrap().to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}
