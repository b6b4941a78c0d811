//! `GET /v1/nodes/{id}/validate`: everything a deploy would stumble over, before a machine is touched.

use std::path::Path as FilePath;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use ironwright_api::ImageAccess;
use serde_json::Value;

use super::error::ApiError;
use super::nodes::find;
use super::request::Query;
use crate::app::{App, chain};
use crate::images;
use crate::node::Node;
use crate::node::interfaces::class_of;
use crate::node::validate::{self, Report, Surroundings};
use crate::store::PortFilter;

/// For the BMC to answer.
const BMC_TIMEOUT: Duration = Duration::from_secs(8);

/// `GET /v1/nodes/{id}/validate`.
///
/// # Errors
///
/// 404.
pub async fn by_ident(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    answer(&app, &ident).await
}

/// `GET /v1/nodes/validate?node=NAME|UUID`.
///
/// # Errors
///
/// 400 without a node, 404.
pub async fn by_query(State(app): State<App>, query: Query) -> Result<Json<Value>, ApiError> {
    let ident = query.get("node").or_else(|| query.get("node_uuid"));
    let missing = || ApiError::Invalid("Missing mandatory parameter: node".into());
    answer(&app, ident.ok_or_else(missing)?).await
}

async fn answer(app: &App, ident: &str) -> Result<Json<Value>, ApiError> {
    let node = find(app, ident).await?;
    let mut report = local(app, &node).await?;
    let (bmc, image) = tokio::join!(bmc_problem(app, &node, &report), image_problem(app, &node));
    if let Some(problem) = bmc {
        report.problem("power", problem);
    }
    if let Some(problem) = image? {
        report.problem("deploy", problem);
    }
    Ok(Json(report.to_json()))
}

/// What can be said without asking the network.
///
/// # Errors
///
/// 500.
pub(super) async fn local(app: &App, node: &Node) -> Result<Report, ApiError> {
    let filter = PortFilter { node: Some(node.uuid), ..PortFilter::default() };
    let ports = app.store.ports(&filter).await?;
    let boot = &app.settings.boot;
    let mut ramdisk_problems = Vec::new();
    if app.settings.provisioning.listen.is_none() {
        ramdisk_problems.push(
            "No machine can boot from this coordinator: the setting provisioning.listen is missing.".to_owned(),
        );
    }
    for (key, file) in [("boot.kernel", &boot.kernel), ("boot.ramdisk", &boot.ramdisk)] {
        ramdisk_problems.extend(file_problem(key, file.as_deref()).await);
    }
    let bmc_sharers = app.store.bmc_sharers(node).await?;
    let rescue = rescue_problem(app, node).await;
    let around = Surroundings {
        bmc_sharers: &bmc_sharers,
        ports: &ports,
        ramdisk_problems: &ramdisk_problems,
        insecure_plain_http: app.settings.provisioning.insecure_plain_http,
    };
    let mut report = validate::local(node, &around);
    if let Some(problem) = rescue {
        report.problem("rescue", problem);
    }
    Ok(report)
}

/// Why no rescue system can be booted on this node, where it has rescue interface `agent`.
pub(super) async fn rescue_problem(app: &App, node: &Node) -> Option<String> {
    let whole = node.driver_info.get("rescue_ramdisk").is_some_and(|url| !url.is_null());
    if class_of(node, "rescue") != Some("agent") || whole {
        return None;
    }
    file_problem("boot.rescue", app.settings.boot.rescue.as_deref()).await
}

/// All problems as one sentence after another; none when there are none.
pub(super) fn reason(problems: &[String]) -> Option<String> {
    let mut unique: Vec<&str> = Vec::new();
    for problem in problems {
        // Power and management name the same credentials.
        if !unique.contains(&problem.as_str()) {
            unique.push(problem);
        }
    }
    (!unique.is_empty()).then(|| unique.join(" "))
}

/// Why the coordinator's own kernel or ramdisk cannot be served. The path is the operator's business, not every client's.
async fn file_problem(key: &str, file: Option<&FilePath>) -> Option<String> {
    let Some(file) = file else {
        return Some(format!("The coordinator has nothing to boot: the setting {key} is missing."));
    };
    match tokio::fs::metadata(file).await {
        Ok(found) if found.is_file() && found.len() > 0 => None,
        Ok(_) => Some(format!("The file that the setting {key} names is empty or not a file.")),
        Err(error) => {
            tracing::warn!(key, file = %file.display(), %error, "cannot read {}", file.display());
            Some(format!("The file that the setting {key} names cannot be read: {}.", error.kind()))
        }
    }
}

/// A session with the BMC that reads the power state; not tried where the credentials are incomplete.
async fn bmc_problem(app: &App, node: &Node, report: &Report) -> Option<String> {
    if !report.is_good("power") {
        return None;
    }
    let bmc = match app.power.bmc(node) {
        Ok(bmc) => bmc,
        Err(error) => return Some(format!("{}.", chain(&error))),
    };
    match tokio::time::timeout(BMC_TIMEOUT, bmc.power_state()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{}.", chain(&error))),
        Err(_) => Some(format!("The BMC did not answer within {} s.", BMC_TIMEOUT.as_secs())),
    }
}

async fn image_problem(app: &App, node: &Node) -> Result<Option<String>, ApiError> {
    let Ok(image) = validate::image(node) else {
        return Ok(None);
    };
    let hints = [&node.instance_info, &node.properties];
    let hinted =
        hints.iter().any(|info| info.get("root_device").is_some_and(|hints| !hints.is_null()));
    let inventory = app.store.inventory(node.uuid).await?;
    let disk = inventory.and_then(|inventory| images::root_disk_bytes(&inventory, hinted));
    let direct = ImageAccess::default();
    let client = match images::client(image.access.as_ref().unwrap_or(&direct)) {
        Ok(client) => client,
        Err(error) => return Ok(Some(format!("{}.", chain(&error)))),
    };
    for url in &image.urls {
        if let Err(error) = images::check(&client, url, &image, disk).await {
            return Ok(Some(format!("{}.", chain(&error))));
        }
    }
    Ok(None)
}
