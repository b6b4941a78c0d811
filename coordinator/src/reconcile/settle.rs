//! Writes the result of what was done, if the record still wants it.

use uuid::Uuid;

use crate::app::{App, Change, Severity};
use crate::node::lifecycle::Event;
use crate::node::transition::{self, Asked, TransitionError};
use crate::node::{Node, Phase, PowerState, PowerTarget, ProvisionState};
use crate::store::StoreError;

/// What a result is for; when the record moved on meanwhile, the result is nobody's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) node: Uuid,
    state: ProvisionState,
    request: Option<PowerTarget>,
    /// Order, attempt, phase, and how many parts are left.
    work: Option<(Uuid, u32, Phase, usize)>,
}

impl Mark {
    pub(super) fn of(node: &Node) -> Self {
        let work = node
            .work
            .as_ref()
            .map(|work| (work.order.order_id, work.order.attempt, work.phase, work.later.len()));
        Self { node: node.uuid, state: node.provision_state, request: node.power_request, work }
    }
}

/// Writes a result; false when the record moved on.
pub(super) async fn settle(
    app: &App,
    mark: &Mark,
    mut result: impl FnMut(&mut Node) -> Result<(), TransitionError>,
) -> Result<bool, StoreError> {
    let settled = app
        .change(&mark.node.to_string(), |node| -> Result<_, StoreError> {
            if Mark::of(node) != *mark {
                return Ok(Change::Keep(false));
            }
            if let Err(error) = result(node) {
                // The table has a row for everything that `decide` decides; a model test walks them all.
                tracing::error!(node = %mark.node, "node {}: {error}", mark.node);
                return Ok(Change::Keep(false));
            }
            Ok(Change::Write(true))
        })
        .await?;
    Ok(settled.is_some_and(|(_, settled)| settled))
}

pub(super) fn asked(app: &App) -> Asked<'_> {
    Asked {
        now: app.clock.now(),
        clean: &app.settings.clean,
        steps: &[],
        deploy_steps: &[],
        without_ramdisk: false,
        plugins: &app.plugins,
        rescue: None,
    }
}

/// An event happened, perhaps with a power state learned on the way.
pub(super) async fn happened(
    app: &App,
    mark: &Mark,
    event: Event,
    power: Option<PowerState>,
) -> Result<(), StoreError> {
    let mut state = None;
    let settled = settle(app, mark, |node| {
        node.power_state = power.or(node.power_state);
        transition::apply(node, event, &asked(app))?;
        state = Some(node.provision_state);
        Ok(())
    })
    .await?;
    if let (true, Some(state)) = (settled, state) {
        app.note(mark.node, Severity::Info, "provisioning", format!("the node is {state}")).await;
    }
    Ok(())
}

/// It failed; `reason` becomes the node's `last_error`.
pub(super) async fn fail(app: &App, mark: &Mark, reason: String) -> Result<(), StoreError> {
    let settled = settle(app, mark, |node| {
        node.last_error = Some(reason.clone());
        transition::apply(node, Event::Failed, &asked(app))
    })
    .await?;
    if settled {
        app.note(mark.node, Severity::Error, "provisioning", reason).await;
    }
    Ok(())
}
