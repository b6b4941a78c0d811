//! Allocations: a node with the wanted resource class and traits is taken for somebody. The node's `instance_uuid` is the
//! allocation's identifier, which the store keeps unique: two allocations cannot take one node.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Change, Severity};
use crate::node::{Node, ProvisionState};
use crate::store::{NodeFilter, Record, RecordKind, StoreError};

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Wish {
    uuid: Uuid,
    name: Option<String>,
    resource_class: Option<String>,
    traits: Vec<String>,
    candidates: Vec<String>,
    owner: Option<String>,
}

impl Wish {
    /// The wish in a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let texts = |name: &str| {
            let list = record.fields.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        Self {
            uuid: record.uuid,
            name: record.name.clone(),
            resource_class: record.text("resource_class").map(str::to_owned),
            traits: texts("traits"),
            candidates: texts("candidate_nodes"),
            owner: record.text("owner").map(str::to_owned),
        }
    }

    /// Whether `node` may be taken (Ironic's rules): free, healthy, of the class, with the traits, and nobody else's.
    #[must_use]
    pub fn fits(&self, node: &Node) -> bool {
        let kept = |name: &str| node.other.get(name).and_then(Value::as_str);
        let traits = node.other.get("traits").and_then(Value::as_array);
        let has = |wanted: &String| {
            traits.is_some_and(|traits| traits.iter().any(|one| one.as_str() == Some(wanted)))
        };
        let named = |ident: &String| {
            node.name.as_ref() == Some(ident) || Uuid::try_parse(ident) == Ok(node.uuid)
        };
        let owner = kept("lessee").or_else(|| kept("owner"));
        node.provision_state == ProvisionState::Available
            && node.instance_uuid.is_none()
            && node.power_state.is_some()
            && !node.maintenance
            && !node.retired
            && node.resource_class == self.resource_class
            && self.traits.iter().all(has)
            && (self.candidates.is_empty() || self.candidates.iter().any(named))
            && (self.owner.is_none() || owner.is_none() || owner == self.owner.as_deref())
    }
}

/// Takes a node for the allocation, or says in the record why there is none.
///
/// # Errors
///
/// The store's; the allocation stays `allocating` and is taken up again at the next start.
pub async fn allocate(app: &App, record: &Record) -> Result<(), StoreError> {
    let wish = Wish::of(record);
    let filter = NodeFilter {
        provision_state: Some(ProvisionState::Available.text().to_owned()),
        resource_class: wish.resource_class.clone(),
        ..NodeFilter::default()
    };
    let mut nodes: Vec<Node> = app.store.nodes(&filter).await?;
    // A claim of ours that a stop cut off is found by its instance.
    let of_ours = NodeFilter { instance_uuid: Some(wish.uuid), ..NodeFilter::default() };
    if let Some(node) = app.store.nodes(&of_ours).await?.first() {
        return settle(app, record, Some(node)).await;
    }
    nodes.retain(|node| wish.fits(node));
    shuffle(&mut nodes);
    // Ironic since 1.79: a node of the allocation's own name is the first choice.
    nodes.sort_by_key(|node| wish.name.is_none() || node.name != wish.name);
    for node in &nodes {
        if claim(app, &node.uuid.to_string(), &wish, |node| wish.fits(node)).await? {
            return settle(app, record, Some(node)).await;
        }
    }
    settle(app, record, None).await
}

/// Makes the record of a node that is in use already (Ironic's back-fill).
///
/// # Errors
///
/// The store's. False: the node has another instance or is not in use.
pub async fn backfill(app: &App, record: &Record, node: &Node) -> Result<bool, StoreError> {
    let wish = Wish::of(record);
    let in_use = |node: &Node| {
        node.provision_state == ProvisionState::Active
            && node.instance_uuid.is_none_or(|instance| instance == wish.uuid)
    };
    let claimed = claim(app, &node.uuid.to_string(), &wish, in_use).await?;
    if claimed {
        settle(app, record, Some(node)).await?;
    }
    Ok(claimed)
}

async fn claim(
    app: &App,
    ident: &str,
    wish: &Wish,
    still: impl Fn(&Node) -> bool,
) -> Result<bool, StoreError> {
    let claimed = app
        .change(ident, |node| -> Result<_, StoreError> {
            if !still(node) {
                return Ok(Change::Keep(false));
            }
            node.instance_uuid = Some(wish.uuid);
            node.other.insert("allocation_uuid".to_owned(), json!(wish.uuid));
            node.instance_info.insert("traits".to_owned(), json!(wish.traits));
            Ok(Change::Write(true))
        })
        .await?;
    Ok(claimed.is_some_and(|(_, claimed)| claimed))
}

async fn settle(app: &App, record: &Record, node: Option<&Node>) -> Result<(), StoreError> {
    let mut record = record.clone();
    record.updated_at = Some(app.clock.now());
    record.node = node.map(|node| node.uuid);
    let (state, error) = match node {
        Some(_) => ("active", Value::Null),
        None => ("error", Value::from(nothing_fits(&record))),
    };
    record.fields.insert("state".to_owned(), state.into());
    record.fields.insert("last_error".to_owned(), error);
    if !app.store.update_record(&record).await? {
        // It was deleted meanwhile: the node is free again.
        if let Some(node) = node {
            release(app, node.uuid, record.uuid).await?;
        }
        return Ok(());
    }
    if let Some(node) = node {
        let sentence = format!("taken by allocation {}", record.uuid);
        app.note(node.uuid, Severity::Info, "allocation", sentence).await;
    }
    Ok(())
}

fn nothing_fits(record: &Record) -> String {
    let wish = Wish::of(record);
    let mut text = format!(
        "Failed to process allocation {}: no available nodes match the resource class {}",
        record.uuid,
        wish.resource_class.unwrap_or_default()
    );
    if !wish.traits.is_empty() {
        text.push_str(&format!(" and the traits {}", wish.traits.join(", ")));
    }
    if !wish.candidates.is_empty() {
        text.push_str(&format!(" among {}", wish.candidates.join(", ")));
    }
    text.push_str(
        ". A node must be available, with a known power state, without instance and maintenance.",
    );
    text
}

/// Gives the node back.
///
/// # Errors
///
/// The store's.
pub async fn release(app: &App, node: Uuid, allocation: Uuid) -> Result<(), StoreError> {
    app.change(&node.to_string(), |node| -> Result<_, StoreError> {
        if node.other.get("allocation_uuid") != Some(&json!(allocation)) {
            return Ok(Change::Keep(()));
        }
        node.instance_uuid = None;
        node.other.remove("allocation_uuid");
        node.instance_info.remove("traits");
        Ok(Change::Write(()))
    })
    .await
    .map(drop)
}

/// Forgets the allocation of a node whose instance is gone.
///
/// # Errors
///
/// The store's.
pub async fn forget(app: &App, node: Uuid) -> Result<(), StoreError> {
    for record in app.store.records(RecordKind::Allocation, Some(node)).await? {
        app.store.delete_record(RecordKind::Allocation, record.uuid).await?;
    }
    Ok(())
}

/// Takes up what a stop cut off.
///
/// # Errors
///
/// The store's.
pub async fn resume(app: &App) -> Result<(), StoreError> {
    for record in app.store.records(RecordKind::Allocation, None).await? {
        if record.text("state") == Some("allocating") {
            allocate(app, &record).await?;
        }
    }
    Ok(())
}

/// A random order, so that machines wear evenly.
fn shuffle(nodes: &mut [Node]) {
    nodes.sort_by_cached_key(|_| Uuid::new_v4());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::PowerState;
    use crate::node::sample::node;

    fn wish() -> Wish {
        Wish {
            uuid: Uuid::nil(),
            name: None,
            resource_class: Some("gold".into()),
            traits: vec!["CUSTOM_A".into()],
            candidates: Vec::new(),
            owner: None,
        }
    }

    #[test]
    fn a_node_fits_only_when_it_is_free_healthy_and_has_what_is_wanted() {
        let mut good = node();
        good.resource_class = Some("gold".into());
        good.power_state = Some(PowerState::Off);
        good.other.insert("traits".into(), json!(["CUSTOM_A", "CUSTOM_B"]));
        assert!(wish().fits(&good));
        let spoils: [fn(&mut Node); 8] = [
            |node| node.power_state = None,
            |node| node.maintenance = true,
            |node| node.instance_uuid = Some(Uuid::nil()),
            |node| node.provision_state = ProvisionState::Active,
            |node| node.resource_class = None,
            |node| node.resource_class = Some("silver".into()),
            |node| node.retired = true,
            |node| drop(node.other.remove("traits")),
        ];
        for spoil in spoils {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(!wish().fits(&bad));
        }
        for (candidates, fits) in [(vec!["mytest"], true), (vec!["other"], false)] {
            let candidates = candidates.into_iter().map(str::to_owned).collect();
            assert_eq!(Wish { candidates, ..wish() }.fits(&good), fits);
        }
        for (owner, fits) in [("a", true), ("b", false)] {
            let mut owned = good.clone();
            owned.other.insert("owner".into(), json!("a"));
            assert_eq!(Wish { owner: Some(owner.into()), ..wish() }.fits(&owned), fits);
        }
    }
}
