//! Which node is looked at when: woken ones at once, due ones within a second, one task a node, so many at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{App, chain};

/// Nodes worked on at once. A task mostly waits for a BMC; 1,000 BMC sessions at once were measured to be harmless.
const TASKS_MAX: usize = 500;
/// How often the due nodes are read: what a lost wake-up costs.
const POLL: Duration = Duration::from_secs(1);
/// A node whose record could not be read or written is left alone for so long.
const HOLD: Duration = Duration::from_secs(5);
/// Time to finish when stopping. What is cut off is begun again at the next start.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Scheduler {
    tasks: JoinSet<Result<(), String>>,
    running: HashMap<Id, Uuid>,
    busy: BTreeSet<Uuid>,
    wanted: BTreeSet<Uuid>,
    held: HashMap<Uuid, Instant>,
}

/// Works until `stop`, then lets the running tasks finish for a moment.
pub async fn run(app: App, stop: CancellationToken) {
    let mut scheduler = Scheduler::default();
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = app.waker.woken() => {}
            Some(ended) = scheduler.tasks.join_next_with_id() => scheduler.ended(ended),
            _ = poll.tick() => scheduler.find_due(&app).await,
        }
        scheduler.wanted.append(&mut app.waker.take());
        scheduler.start(&app);
    }
    let finish = async { while scheduler.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        tracing::warn!("stopping with work in progress; it is begun again at the next start");
    }
}

impl Scheduler {
    async fn find_due(&mut self, app: &App) {
        let now = Instant::now();
        self.held.retain(|_, until| *until > now);
        match app.store.due(app.clock.now(), TASKS_MAX).await {
            Ok(due) => {
                let free = due
                    .into_iter()
                    .filter(|node| !self.busy.contains(node) && !self.held.contains_key(node));
                self.wanted.extend(free);
            }
            Err(error) => tracing::error!("cannot read which nodes are due: {}", chain(&error)),
        }
    }

    /// Starts what is wanted. A node that is busy stays wanted and is looked at once more after its task.
    fn start(&mut self, app: &App) {
        let free: Vec<Uuid> = self.wanted.difference(&self.busy).copied().collect();
        for node in free {
            if self.tasks.len() >= TASKS_MAX {
                return;
            }
            self.wanted.remove(&node);
            self.busy.insert(node);
            let app = app.clone();
            let task = self
                .tasks
                .spawn(async move { super::look(&app, node).await.map_err(|error| chain(&error)) });
            self.running.insert(task.id(), node);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Result<(), String>), tokio::task::JoinError>) {
        let (id, problem) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(problem))) => (id, Some(problem)),
            Err(error) => (error.id(), Some(error.to_string())),
        };
        let Some(node) = self.running.remove(&id) else { return };
        self.busy.remove(&node);
        if let Some(problem) = problem {
            tracing::error!(%node, "node {node}: {problem}; looking at it again in {} s", HOLD.as_secs());
            self.held.insert(node, Instant::now() + HOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::sync::Notify;

    use super::*;
    use crate::node::tests::node_with;
    use crate::node::{Node, PowerState, ProvisionState};
    use crate::power::{Answer, Bmc, BmcError, BootDevice, Command, Performed, Power};
    use crate::settings::Settings;
    use crate::store::memory::Memory;

    /// Counts the calls that are inside at once; each waits until it is let out.
    #[derive(Debug, Default)]
    struct Gate {
        inside: AtomicUsize,
        most: AtomicUsize,
        entered: Notify,
        out: Notify,
    }

    #[derive(Debug, Clone)]
    struct Gated(Arc<Gate>);

    impl Bmc for Gated {
        fn power_state(&self) -> Answer<'_, PowerState> {
            Box::pin(async {
                let inside = self.0.inside.fetch_add(1, Ordering::SeqCst) + 1;
                self.0.most.fetch_max(inside, Ordering::SeqCst);
                self.0.entered.notify_one();
                self.0.out.notified().await;
                self.0.inside.fetch_sub(1, Ordering::SeqCst);
                Ok(PowerState::On)
            })
        }
        fn perform<'a>(&'a self, _commands: &'a [Command]) -> Answer<'a, Performed> {
            Box::pin(async { Ok(Performed::default()) })
        }
        fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)> {
            Box::pin(async { Ok((None, None)) })
        }
    }

    impl Power for Gated {
        fn bmc(&self, _node: &Node) -> Result<Arc<dyn Bmc>, BmcError> {
            Ok(Arc::new(self.clone()))
        }
    }

    #[tokio::test]
    async fn a_node_is_worked_on_by_one_task_at_a_time_and_other_nodes_meanwhile() {
        let gate = Arc::new(Gate::default());
        let power = Arc::new(Gated(gate.clone()));
        let app = App::new(Arc::new(Memory::default()), Arc::new(Settings::default()), power);
        let mut nodes = Vec::new();
        for name in ["one", "two"] {
            let mut node = node_with(json!({}));
            node.name = Some(name.to_owned());
            node.provision_state = ProvisionState::Verifying;
            nodes.push(app.store.create_node(&node).await.unwrap());
        }
        let stop = CancellationToken::new();
        let scheduler = tokio::spawn(run(app.clone(), stop.clone()));
        for (node, inside) in [(0, 1), (0, 1), (1, 2)] {
            app.waker.wake(nodes[node].uuid);
            if gate.inside.load(Ordering::SeqCst) < inside {
                gate.entered.notified().await;
            }
        }
        stop.cancel();
        gate.out.notify_waiters();
        scheduler.await.unwrap();
        assert_eq!(gate.most.load(Ordering::SeqCst), 2);
        for node in nodes {
            let node = app.store.node(&node.uuid.to_string()).await.unwrap().unwrap();
            assert_eq!(
                node.provision_state,
                ProvisionState::Manageable,
                "stopping waits for what is begun"
            );
        }
    }
}
