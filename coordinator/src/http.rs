//! The routes, on one screen.
//!
//! Two sides: operators (Ironic's API and our additions to it) and machines (boot script, kernel, ramdisk, lookup,
//! heartbeat). Neither side serves the other's routes, unless no address was set for the machines' side.

pub mod certificates;
pub mod conductors;
pub mod drivers;
pub mod error;
pub mod evidence;
pub mod explain;
pub mod fields;
pub mod heartbeat;
pub mod history;
pub mod inventory;
mod layers;
pub mod lookup;
pub mod maintenance;
pub mod management;
pub mod mask;
pub mod nodes;
pub mod plan;
pub mod ports;
pub mod progress;
pub mod representation;
pub mod request;
pub mod root;
pub mod states;
pub mod traits;
pub mod validate;
pub mod version;

use axum::routing::{MethodRouter, get, post, put};
use axum::{Extension, Router, middleware};

use crate::app::App;
use crate::boot;
use lookup::Secure;

/// What operators reach. It also serves lookup and heartbeat where machines have no address of their own.
pub fn operator(app: App) -> Router {
    let mut routes = discovery().merge(node_routes()).merge(other_routes());
    if app.settings.provisioning.listen.is_none() && app.settings.provisioning.tls_listen.is_none()
    {
        routes = routes.merge(agent_routes());
    }
    layers::around(routes.layer(Extension(Secure(false))).with_state(app))
}

/// What machines reach. `secure` is whether the listener speaks TLS; without it there are also the files to boot from.
pub fn provisioning(app: App, secure: bool) -> Router {
    let mut routes = discovery().merge(agent_routes());
    if !secure {
        routes = routes.merge(boot_routes());
    }
    layers::around(routes.layer(Extension(Secure(secure))).with_state(app))
}

fn discovery() -> Router<App> {
    Router::new().route("/", get(root::discover)).route("/v1", get(root::version_document))
}

fn agent_routes() -> Router<App> {
    Router::new()
        .route("/v1/lookup", get(lookup::show))
        .route("/v1/heartbeat/{node}", post(heartbeat::beat))
}

fn boot_routes() -> Router<App> {
    Router::new()
        .route("/boot/ipxe", get(boot::entry))
        .route("/boot/ipxe/{mac}", get(boot::script_of))
        .route("/boot/vmlinuz", get(boot::kernel))
        .route("/boot/initrd", get(boot::ramdisk))
}

fn node_routes() -> Router<App> {
    let node = "/v1/nodes/{node}";
    let at = |path: &str| format!("{node}{path}");
    Router::new()
        .route("/v1/nodes", get(nodes::plain).post(nodes::create))
        .route("/v1/nodes/detail", get(nodes::detailed))
        .route("/v1/nodes/validate", get(validate::by_query))
        .route(node, get(nodes::show).patch(nodes::change).delete(nodes::delete))
        .route(&at("/validate"), get(validate::by_ident))
        .route(&at("/states"), get(states::show))
        .route(&at("/states/power"), put(states::power))
        .route(&at("/states/provision"), put(states::provision))
        .route(&at("/states/console"), get(states::console))
        .route(&at("/maintenance"), put(maintenance::set).delete(maintenance::unset))
        .route(
            &at("/management/boot_device"),
            get(management::boot_device).put(management::set_boot_device),
        )
        .route(&at("/management/boot_device/supported"), get(management::supported))
        .route(&at("/ports"), get(ports::of_node))
        .route(&at("/ports/detail"), get(ports::of_node_detailed))
        .route(&at("/vifs"), since(28, get(traits::vifs)))
        .route(
            &at("/traits"),
            since(37, get(traits::list).put(traits::replace).delete(traits::clear)),
        )
        .route(&at("/traits/{trait}"), since(37, put(traits::add).delete(traits::remove)))
        .route(&at("/history"), since(78, get(history::list)))
        .route(&at("/history/{entry}"), since(78, get(history::show)))
        .route(&at("/inventory"), since(81, get(inventory::show)))
        // Ours.
        .route(&at("/progress"), get(progress::show))
        .route(&at("/explain"), get(explain::show))
        .route(&at("/evidence"), get(evidence::show))
        .route(&at("/plan"), get(plan::show))
        .route(&at("/certificates"), get(certificates::list))
        .route(&at("/certificates/{id}"), get(certificates::show))
}

fn other_routes() -> Router<App> {
    Router::new()
        .route("/v1/ports", get(ports::list).post(ports::create))
        .route("/v1/ports/detail", get(ports::detailed))
        .route("/v1/ports/{port}", get(ports::show).patch(ports::change).delete(ports::delete))
        .route("/v1/drivers", get(drivers::list))
        .route("/v1/drivers/properties", get(drivers::properties_by_query))
        .route("/v1/drivers/{driver}", get(drivers::show))
        .route("/v1/drivers/{driver}/properties", get(drivers::properties))
        .route("/v1/certificate-key", get(certificates::key))
        .route("/v1/conductors", since(49, get(conductors::list)))
        .route("/v1/conductors/{host}", since(49, get(conductors::show)))
}

/// Routes that older versions than `1.minor` do not have: 404 for those.
fn since(minor: u16, routes: MethodRouter<App>) -> MethodRouter<App> {
    routes.layer(middleware::from_fn(move |version, request, next| {
        layers::since(minor, version, request, next)
    }))
}

#[cfg(test)]
mod tests;
