//! The only place that performs effects; feeds their results back as events.
//!
//! A node is looked at when it was woken or when its `due` has come, by one task at a time. A task reads the record, does
//! the one thing that is to be done, and writes the result if the record still wants it. Nothing is kept between two looks,
//! so a restart at any moment goes on from the record.

mod between;
mod decide;
mod perform;
mod play;
mod scheduler;
mod settle;
#[cfg(test)]
mod tests;
mod wording;

pub use scheduler::run;

use uuid::Uuid;

use self::decide::Todo;
use crate::app::App;
use crate::store::StoreError;

/// Things done to one node in one look, at most; the rest is done at the next. A bound against a table that circles.
const TURNS: u32 = 32;

/// Looks at one node until nothing is to be done at once.
///
/// # Errors
///
/// The store's; the node is looked at again later.
pub async fn look(app: &App, uuid: Uuid) -> Result<(), StoreError> {
    for _ in 0..TURNS {
        let Some(node) = app.store.node(&uuid.to_string()).await? else {
            app.live.forget(uuid);
            return Ok(());
        };
        let pulse = app.live.pulse(uuid);
        let todo = decide::decide(
            &node,
            &app.settings,
            pulse.as_ref(),
            app.live.started(),
            app.clock.now(),
        );
        if matches!(todo, Todo::Nothing) {
            return Ok(());
        }
        perform::perform(app, &node, todo).await?;
    }
    tracing::error!(node = %uuid, "node {uuid}: {TURNS} things done without coming to rest; going on later");
    Ok(())
}
