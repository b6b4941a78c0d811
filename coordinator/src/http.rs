//! The routes, on one screen.
//!
//! Two sides: operators (Ironic's API and our additions to it) and machines (boot script, kernel, ramdisk, lookup,
//! heartbeat). Neither side serves the other's routes, unless no address was set for the machines' side.

pub mod allocations;
pub mod auth;
pub mod certificates;
pub mod conductors;
pub mod drivers;
pub mod error;
pub mod evidence;
pub mod explain;
pub mod fields;
pub mod heartbeat;
pub mod history;
pub mod indicators;
pub mod inspection;
pub mod interfaces;
pub mod inventory;
mod layers;
pub mod lookup;
pub mod maintenance;
pub mod management;
pub mod mask;
pub mod nodes;
pub mod openapi;
pub mod plan;
pub mod ports;
pub mod progress;
pub mod records;
pub mod representation;
pub mod request;
pub mod root;
pub mod route;
pub mod shards;
pub mod states;
mod table;
pub mod traits;
pub mod validate;
pub mod vendor;
pub mod version;
pub mod vifs;

use axum::{Extension, Router, middleware};

use crate::app::App;
use crate::{boot, plugins};
use lookup::Secure;
use request::Scheme;
use route::{Route, get, post, router};

pub use table::operator_table;

/// What operators reach. It also serves lookup and heartbeat where machines have no address of their own.
pub fn operator(app: App) -> Router {
    let mut table = operator_table();
    if app.settings.provisioning.listen.is_none() && app.settings.provisioning.tls_listen.is_none()
    {
        table.extend(agent_routes());
    }
    let secure = app.settings.tls_certificate.is_some();
    let users = app.users.clone();
    let mut routes = layers::refusing(
        router(table)
            .layer(Extension(Secure(secure)))
            .layer(Extension(Scheme::of(secure)))
            .with_state(app),
    );
    if let Some(users) = users {
        routes = routes.layer(middleware::from_fn_with_state(users, auth::layer));
    }
    layers::around(routes)
}

/// What machines reach. `secure` is whether the listener speaks TLS; without it there are also the files to boot from.
pub fn provisioning(app: App, secure: bool) -> Router {
    let mut table = discovery();
    table.extend(agent_routes());
    if !secure {
        table.extend(boot_routes());
    }
    let routes =
        router(table).layer(Extension(Secure(secure))).layer(Extension(Scheme::of(secure)));
    layers::around(layers::refusing(routes.with_state(app)))
}

fn discovery() -> Vec<Route> {
    vec![
        get("/", 1, "what this API is", root::discover),
        get("/v1", 1, "the versions and resources of this API", root::version_document),
    ]
}

fn agent_routes() -> Vec<Route> {
    vec![
        get("/v1/lookup", 1, "a ramdisk asks which node it runs on", lookup::show),
        post("/v1/heartbeat/{node}", 1, "an agent reports", heartbeat::beat).answers(202),
        post("/v1/continue_inspection", 1, "a ramdisk says what it found", inspection::post)
            .answers(202),
        get("/plugins/{sha256}", 1, "a plugin's bundle", plugins::show),
    ]
}

fn boot_routes() -> Vec<Route> {
    vec![
        get("/boot/ipxe", 1, "the first boot script", boot::entry),
        get("/boot/ipxe/{mac}", 1, "a machine's boot script", boot::script_of),
        get("/boot/vmlinuz", 1, "the ramdisk's kernel", boot::kernel),
        get("/boot/initrd", 1, "the ramdisk", boot::ramdisk),
        get("/boot/rescue", 1, "what makes the ramdisk a rescue system", boot::rescue),
        post("/boot/beacon", 1, "a ramdisk's network is up", boot::beacon).answers(204),
        get("/boot/plugin-keys", 1, "the trusted keys of plugins", plugins::keys),
    ]
}

#[cfg(test)]
mod tests;
