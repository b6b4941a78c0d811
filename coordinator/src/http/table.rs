//! The routes of the operator's API, one a line.

use axum::extract::{Path, State};

use super::error::ApiError;
use super::records::{self, Ask, Resource};
use super::request::Body;
use super::route::{Input, Output, Route, delete, get, patch, post, put};
use super::{
    allocations, certificates, conductors, drivers, evidence, explain, history, indicators,
    interfaces, inventory, maintenance, management, nodes, plan, ports, progress, root, shards,
    states, traits, validate, vendor, vifs,
};
use crate::app::App;
use crate::store::RecordKind;

/// Every route of the operator's API.
#[must_use]
pub fn operator_table() -> Vec<Route> {
    use records::resources as of;
    let mut table = super::discovery();
    table.extend(node_routes());
    table.extend(state_routes());
    table.extend(node_part_routes());
    table.extend(our_routes());
    table.extend(other_routes());
    for resource in [
        &of::CHASSIS,
        &of::PORTGROUP,
        &of::CONNECTOR,
        &of::TARGET,
        &of::TEMPLATE,
        &of::RUNBOOK,
        &of::INSPECTION_RULE,
    ] {
        table.extend(record_routes(resource));
    }
    table.extend(allocation_routes());
    table
}

fn node_routes() -> Vec<Route> {
    let node = "/v1/nodes/{node}";
    let lists = &nodes::PARAMETERS;
    vec![
        get("/v1/nodes", 1, "list nodes", nodes::plain).asks(lists).gives(Output::Nodes),
        post("/v1/nodes", 1, "enrol a node", nodes::create).takes(Input::Node).gives(Output::Node),
        get("/v1/nodes/detail", 1, "list whole nodes", nodes::detailed)
            .asks(lists)
            .gives(Output::Nodes),
        get("/v1/nodes/validate", 1, "check the node that the query names", validate::by_query)
            .asks(&[("node", 1), ("node_uuid", 1)]),
        get(node, 1, "show a node", nodes::show).asks(&[("fields", 8)]).gives(Output::Node),
        patch(node, 1, "change a node", nodes::change)
            .asks(&[("reset_interfaces", 45)])
            .gives(Output::Node),
        delete(node, 1, "delete a node", nodes::delete),
        get(format!("{node}/validate"), 1, "check everything a deploy needs", validate::by_ident),
        put(format!("{node}/maintenance"), 1, "switch maintenance on", maintenance::set)
            .takes(Input::Optional),
        delete(format!("{node}/maintenance"), 1, "switch maintenance off", maintenance::unset)
            .answers(202),
        get(format!("{node}/children"), 83, "list a node's children", nodes::children),
    ]
}

fn state_routes() -> Vec<Route> {
    let at = |path: &str| format!("/v1/nodes/{{node}}/{path}");
    vec![
        get(at("states"), 1, "show a node's states", states::show),
        put(at("states/power"), 1, "change the power", states::power)
            .takes(Input::Members(&[("target", "string"), ("timeout", "integer")])),
        put(at("states/provision"), 1, "ask for a provision state", states::provision)
            .takes(Input::Members(&states::PROVISION)),
        put(at("states/raid"), 12, "set the wanted RAID", interfaces::raid).answers(204),
        put(at("states/boot_mode"), 76, "change the boot mode", interfaces::boot_mode),
        put(at("states/secure_boot"), 76, "switch Secure Boot", interfaces::secure_boot),
        get(at("states/console"), 1, "show the console", interfaces::console),
        put(at("states/console"), 1, "switch the console", interfaces::set_console),
        get(at("management/boot_device"), 1, "read the boot device", management::boot_device),
        put(at("management/boot_device"), 1, "set the boot device", management::set_boot_device)
            .takes(Input::Members(&[("boot_device", "string"), ("persistent", "boolean")]))
            .answers(204),
        get(at("management/boot_device/supported"), 1, "list boot devices", management::supported),
        put(at("management/inject_nmi"), 29, "interrupt the machine", interfaces::inject_nmi)
            .answers(204)
            .takes(Input::Optional),
        get(at("management/indicators"), 63, "list indicators", indicators::list),
        get(
            at("management/indicators/{component}"),
            63,
            "list a component's indicators, or read one",
            indicators::of_component,
        ),
        put(
            at("management/indicators/{component}"),
            63,
            "set an indicator",
            indicators::set_unique,
        )
        .answers(204),
        get(
            at("management/indicators/{component}/{indicator}"),
            63,
            "read an indicator",
            indicators::show,
        ),
        put(
            at("management/indicators/{component}/{indicator}"),
            63,
            "set an indicator",
            indicators::set,
        )
        .answers(204),
    ]
}

fn node_part_routes() -> Vec<Route> {
    use records::resources as of;
    let at = |path: &str| format!("/v1/nodes/{{node}}/{path}");
    let mut table = vec![
        get(at("ports"), 1, "list a node's ports", ports::of_node)
            .asks(&ports::PARAMETERS)
            .gives(Output::Ports),
        get(at("ports/detail"), 1, "list a node's whole ports", ports::of_node_detailed)
            .asks(&ports::PARAMETERS)
            .gives(Output::Ports),
        get(at("traits"), 37, "list traits", traits::list),
        put(at("traits"), 37, "replace all traits", traits::replace).answers(204),
        delete(at("traits"), 37, "remove all traits", traits::clear),
        put(at("traits/{trait}"), 37, "add a trait", traits::add)
            .answers(204)
            .takes(Input::Optional),
        delete(at("traits/{trait}"), 37, "remove a trait", traits::remove),
        get(at("vifs"), 28, "list network attachments", vifs::list),
        post(at("vifs"), 28, "attach to a network", vifs::attach).answers(204),
        delete(at("vifs/{vif}"), 28, "detach from a network", vifs::detach),
        get(at("bios"), 40, "list BIOS settings", interfaces::bios),
        get(at("bios/{setting}"), 40, "show a BIOS setting", interfaces::bios_setting),
        get(at("firmware"), 86, "list firmware", interfaces::firmware),
        get(at("vmedia"), 93, "list virtual media", interfaces::vmedia),
        post(at("vmedia"), 89, "attach virtual media", interfaces::vmedia).answers(204),
        delete(at("vmedia"), 89, "detach virtual media", interfaces::vmedia),
        get(at("history"), 78, "list what happened", history::list).asks(&history::PARAMETERS),
        get(at("history/{entry}"), 78, "show one event", history::show),
        get(at("inventory"), 81, "show what the last inspection found", inventory::show),
        get(at("allocation"), 52, "show a node's allocation", allocations::of_node),
        delete(at("allocation"), 52, "end a node's allocation", allocations::delete_of_node),
        get(at("vendor_passthru/methods"), 1, "list vendor methods", vendor::methods),
        get(at("volume"), 32, "links to a node's volumes", root::node_volume),
    ];
    for (path, since, resource) in [
        ("portgroups", 24, &of::PORTGROUP),
        ("volume/connectors", 32, &of::CONNECTOR),
        ("volume/targets", 32, &of::TARGET),
    ] {
        let list = move |ask: Ask, Path(node): Path<String>| async move {
            let node = nodes::find(&ask.app, &node).await?.uuid;
            records::list(resource, &ask, Some(node), false).await
        };
        table.push(get(at(path), since, "list what belongs to a node", list));
    }
    for path in ["vendor_passthru", "vendor_passthru/{method}"] {
        table.extend([
            get(at(path), 1, "call a vendor method", vendor::call),
            post(at(path), 1, "call a vendor method", vendor::call)
                .takes(Input::Optional)
                .answers(202),
            put(at(path), 1, "call a vendor method", vendor::call).takes(Input::Optional),
            patch(at(path), 1, "call a vendor method", vendor::call).takes(Input::Optional),
            delete(at(path), 1, "call a vendor method", vendor::call),
        ]);
    }
    table
}

/// What Ironic does not have.
fn our_routes() -> Vec<Route> {
    let at = |path: &str| format!("/v1/nodes/{{node}}/{path}");
    vec![
        get(at("progress"), 1, "how far the work is", progress::show),
        get(at("explain"), 1, "what the node waits for, and what to do", explain::show),
        get(at("evidence"), 1, "what the last work proved", evidence::show),
        get(at("plan"), 1, "what the agent is about to do", plan::show),
        get(at("inventory/history"), 1, "list inventories kept", inventory::history),
        get(at("inventory/history/{entry}"), 1, "show an inventory kept", inventory::entry),
        get(at("inventory/diff"), 1, "what became different of the hardware", inventory::compared)
            .asks(&inventory::COMPARED),
        get(at("certificates"), 1, "list certificates of erased disks", certificates::list),
        get(at("certificates/{id}"), 1, "one certificate", certificates::show),
        get("/v1/certificate-key", 1, "the key that countersigns certificates", certificates::key),
    ]
}

fn other_routes() -> Vec<Route> {
    let driver = |path: &str| format!("/v1/drivers/{{driver}}{path}");
    vec![
        get("/v1/ports", 1, "list ports", ports::list)
            .asks(&ports::PARAMETERS)
            .gives(Output::Ports),
        post("/v1/ports", 1, "add a port", ports::create).takes(Input::Port).gives(Output::Port),
        get("/v1/ports/detail", 1, "list whole ports", ports::detailed)
            .asks(&ports::PARAMETERS)
            .gives(Output::Ports),
        get("/v1/ports/{port}", 1, "show a port", ports::show)
            .asks(&[("fields", 8)])
            .gives(Output::Port),
        patch("/v1/ports/{port}", 1, "change a port", ports::change).gives(Output::Port),
        delete("/v1/ports/{port}", 1, "delete a port", ports::delete),
        get("/v1/portgroups/{ident}/ports", 24, "list a group's ports", ports::of_group)
            .asks(&ports::PARAMETERS),
        get("/v1/chassis/{ident}/nodes", 1, "list a chassis's nodes", nodes::of_chassis)
            .asks(&nodes::PARAMETERS)
            .gives(Output::Nodes),
        get("/v1/drivers", 1, "list hardware types", drivers::list).asks(&drivers::PARAMETERS),
        get(
            "/v1/drivers/properties",
            1,
            "explain a type's driver_info",
            drivers::properties_by_query,
        )
        .asks(&[("driver_name", 1)]),
        get(driver(""), 1, "show a hardware type", drivers::show),
        get(driver("/properties"), 1, "explain a type's driver_info", drivers::properties),
        get(
            driver("/raid/logical_disk_properties"),
            12,
            "explain RAID's fields",
            drivers::raid_properties,
        ),
        get(
            driver("/vendor_passthru/methods"),
            1,
            "list a type's vendor methods",
            drivers::vendor_methods,
        ),
        get("/v1/conductors", 49, "list coordinators", conductors::list)
            .asks(&conductors::PARAMETERS),
        get("/v1/conductors/{host}", 49, "show a coordinator", conductors::show),
        get("/v1/shards", 82, "count nodes by shard", shards::list),
        post("/v1/events", 54, "take events of other services", shards::take).answers(204),
        get("/v1/volume", 32, "links to volume resources", root::volume),
    ]
}

/// Create, list, show, change and delete of a resource that is only a record.
fn record_routes(resource: &'static Resource) -> Vec<Route> {
    let all = format!("/v1/{}", resource.path);
    let one = format!("{all}/{{ident}}");
    let since = resource.since;
    let list = move |ask: Ask| async move { records::list(resource, &ask, None, false).await };
    let detailed = move |ask: Ask| async move { records::list(resource, &ask, None, true).await };
    let create = move |ask: Ask, Body(body): Body| async move {
        records::create(resource, &ask, &body).await
    };
    let show = move |ask: Ask, Path(ident): Path<String>| async move {
        records::show(resource, &ask, &ident).await
    };
    let change = move |ask: Ask, Path(ident): Path<String>, Body(body): Body| async move {
        records::change(resource, &ask, &ident, &body, &records::changeable(resource)).await
    };
    let remove = move |State(app): State<App>, Path(ident): Path<String>| async move {
        records::delete(resource, &app, &ident).await
    };
    let mut table = vec![
        get(&all, since, "list records", list).asks(&records::PAGE).and_asks(resource.filters),
        get(format!("{all}/detail"), since, "list whole records", detailed).asks(&records::PAGE),
        post(&all, since, "make a record", create).takes(Input::Record(resource)),
        get(&one, since, "show a record", show).asks(&[("fields", 1)]),
        patch(&one, since, "change a record", change),
        delete(&one, since, "delete a record", remove),
    ];
    if resource.kind == RecordKind::InspectionRule {
        let clear =
            move |State(app): State<App>| async move { records::clear(resource, &app).await };
        table.push(delete(&all, since, "delete all records", clear));
    }
    table
}

fn allocation_routes() -> Vec<Route> {
    let resource = &records::resources::ALLOCATION;
    let one = "/v1/allocations/{ident}";
    let list = move |ask: Ask| async move { records::list(resource, &ask, None, false).await };
    let show = move |ask: Ask, Path(ident): Path<String>| async move {
        records::show(resource, &ask, &ident).await
    };
    let change = move |ask: Ask, Path(ident): Path<String>, Body(body): Body| async move {
        // Ironic: the method came with 1.57, the path was there before.
        if ask.version.0 < 57 {
            return Err(ApiError::NoSuchMethod("PATCH".to_owned()));
        }
        records::change(resource, &ask, &ident, &body, &["extra", "name"]).await
    };
    vec![
        get("/v1/allocations", 52, "list allocations", list)
            .asks(&records::PAGE)
            .and_asks(resource.filters),
        post("/v1/allocations", 52, "take a node", allocations::create),
        get(one, 52, "show an allocation", show).asks(&[("fields", 52)]),
        patch(one, 52, "rename an allocation", change),
        delete(one, 52, "give a node back", allocations::delete),
    ]
}
