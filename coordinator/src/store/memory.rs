//! A store in memory, for tests and demonstrations: the same rules as the others, nothing survives the process.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Answer, Children, HISTORY_MAX, HistoryEntry, NodeFilter, PortFilter, Record, RecordKind, Stamp,
    Store, StoreError,
};
use crate::certificate::Kept;
use crate::node::{Node, Port};

/// Everything in one lock, never held across an await.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Enrolled>,
    /// Enrolments so far.
    enrolments: i64,
    ports: Vec<Port>,
    history: BTreeMap<Uuid, Vec<HistoryEntry>>,
    inventory: BTreeMap<Uuid, Value>,
    certificates: Vec<Kept>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Enrolled {
    row: i64,
    node: Node,
    due: Option<Timestamp>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<'a, T: Send + 'a>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Answer<'a, T> {
        let result = act(&mut self.lock());
        Box::pin(std::future::ready(result))
    }
}

fn duplicate(what: &'static str, value: &dyn ToString) -> StoreError {
    StoreError::Duplicate { what, value: value.to_string() }
}

impl Inner {
    fn check_unique(&self, node: &Node) -> Result<(), StoreError> {
        for other in self.nodes.iter().map(|one| &one.node).filter(|other| other.uuid != node.uuid)
        {
            if let Some(name) = node.name.as_ref().filter(|_| other.name == node.name) {
                return Err(duplicate("node name", name));
            }
            if let Some(instance) =
                node.instance_uuid.filter(|_| other.instance_uuid == node.instance_uuid)
            {
                return Err(duplicate("instance uuid", &instance));
            }
        }
        Ok(())
    }

    fn check_record(&self, record: &Record) -> Result<(), StoreError> {
        let others = self.records.iter();
        for other in others.filter(|other| other.kind == record.kind && other.uuid != record.uuid) {
            let noun = record.kind.noun();
            if let Some(name) = record.name.as_ref().filter(|_| other.name == record.name) {
                return Err(duplicate(noun, &format!("with name {name}")));
            }
            if let Some(key) = record.key.as_ref().filter(|_| other.key == record.key) {
                return Err(duplicate(noun, &format!("with {key}")));
            }
        }
        Ok(())
    }

    fn check_address(&self, port: &Port) -> Result<(), StoreError> {
        let taken =
            self.ports.iter().any(|other| other.uuid != port.uuid && other.address == port.address);
        if taken { Err(duplicate("port address", &port.address)) } else { Ok(()) }
    }

    fn select(&self, filter: &NodeFilter) -> Vec<&Enrolled> {
        let mut found: Vec<&Enrolled> =
            self.nodes.iter().filter(|one| matches(&one.node, filter)).collect();
        if let Some(key) = &filter.sort_key {
            found.sort_by(|one, other| compare(&one.node, &other.node, key));
        }
        if filter.descending {
            found.reverse();
        }
        let start = filter
            .marker
            .and_then(|marker| found.iter().position(|one| one.node.uuid == marker))
            .map_or(0, |position| position + 1);
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
        found.into_iter().skip(start).take(limit).collect()
    }
}

fn matches(node: &Node, filter: &NodeFilter) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
    };
    is(&filter.provision_state, Some(node.provision_state.text()))
        && is(&filter.driver, Some(&node.driver))
        && is(&filter.resource_class, node.resource_class.as_deref())
        && is(&filter.fault, node.fault.as_deref())
        && filter.maintenance.is_none_or(|wanted| wanted == node.maintenance)
        && filter.instance_uuid.is_none_or(|wanted| Some(wanted) == node.instance_uuid)
        && filter.associated.is_none_or(|wanted| wanted == node.instance_uuid.is_some())
        && match filter.children {
            Children::Shown => true,
            Children::Hidden => node.parent().is_none(),
            Children::Of(parent) => node.parent() == Some(parent),
        }
}

fn compare(one: &Node, other: &Node, key: &str) -> Ordering {
    match key {
        "uuid" => one.uuid.cmp(&other.uuid),
        "name" => one.name.cmp(&other.name),
        "driver" => one.driver.cmp(&other.driver),
        "provision_state" => one.provision_state.text().cmp(other.provision_state.text()),
        "power_state" => power(one).cmp(&power(other)),
        "maintenance" => one.maintenance.cmp(&other.maintenance),
        "resource_class" => one.resource_class.cmp(&other.resource_class),
        "instance_uuid" => one.instance_uuid.cmp(&other.instance_uuid),
        "fault" => one.fault.cmp(&other.fault),
        _ => Ordering::Equal,
    }
}

fn power(node: &Node) -> Option<&'static str> {
    node.power_state.map(crate::node::PowerState::text)
}

impl Store for Memory {
    fn create_node<'a>(&'a self, node: &'a Node) -> Answer<'a, Node> {
        self.answer(|inner| {
            if inner.nodes.iter().any(|other| other.node.uuid == node.uuid) {
                return Err(duplicate("node uuid", &node.uuid));
            }
            inner.check_unique(node)?;
            let node = Node { version: 1, ..node.clone() };
            inner.enrolments += 1;
            let row = inner.enrolments;
            inner.nodes.push(Enrolled { row, node: node.clone(), due: None });
            Ok(node)
        })
    }

    fn node<'a>(&'a self, ident: &'a str) -> Answer<'a, Option<Node>> {
        let uuid = Uuid::parse_str(ident).ok();
        self.answer(|inner| {
            let found = inner.nodes.iter().map(|one| &one.node).find(|node| match uuid {
                Some(uuid) => node.uuid == uuid,
                None => node.name.as_deref() == Some(ident),
            });
            Ok(found.cloned())
        })
    }

    fn update_node<'a>(&'a self, node: &'a Node, due: Option<Timestamp>) -> Answer<'a, Node> {
        self.answer(|inner| {
            inner.check_unique(node)?;
            let stored = inner
                .nodes
                .iter_mut()
                .find(|one| one.node.uuid == node.uuid && one.node.version == node.version)
                .ok_or(StoreError::Conflict(node.uuid))?;
            stored.node = Node { version: node.version + 1, ..node.clone() };
            stored.due = due;
            Ok(stored.node.clone())
        })
    }

    fn delete_node(&self, uuid: Uuid) -> Answer<'_, ()> {
        self.answer(|inner| {
            inner.nodes.retain(|one| one.node.uuid != uuid);
            inner.ports.retain(|port| port.node_uuid != uuid);
            inner.records.retain(|record| record.node != Some(uuid));
            inner.history.remove(&uuid);
            inner.inventory.remove(&uuid);
            Ok(())
        })
    }

    fn nodes<'a>(&'a self, filter: &'a NodeFilter) -> Answer<'a, Vec<Node>> {
        self.answer(|inner| {
            Ok(inner.select(filter).into_iter().map(|one| one.node.clone()).collect())
        })
    }

    fn bmc_sharers<'a>(&'a self, node: &'a Node) -> Answer<'a, Vec<Uuid>> {
        self.answer(|inner| {
            let shares = |other: &&Node| {
                other.uuid != node.uuid
                    && other.bmc_place().is_some()
                    && other.bmc_place() == node.bmc_place()
            };
            let all = inner.select(&NodeFilter::default());
            let all = all.into_iter().map(|one| &one.node);
            Ok(all.filter(shares).map(|other| other.uuid).collect())
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.answer(|_| Ok(()))
    }

    fn node_stamps<'a>(&'a self, filter: &'a NodeFilter) -> Answer<'a, Vec<Stamp>> {
        let stamp = |one: &Enrolled| Stamp { row: one.row, version: one.node.version };
        self.answer(|inner| Ok(inner.select(filter).into_iter().map(stamp).collect()))
    }

    fn nodes_of<'a>(&'a self, rows: &'a [i64]) -> Answer<'a, Vec<(i64, Node)>> {
        self.answer(|inner| {
            let wanted = inner.nodes.iter().filter(|one| rows.contains(&one.row));
            Ok(wanted.map(|one| (one.row, one.node.clone())).collect())
        })
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<Uuid>> {
        self.answer(|inner| {
            let mut due: Vec<(Timestamp, Uuid)> = inner
                .nodes
                .iter()
                .filter_map(|one| Some((one.due?, one.node.uuid)))
                .filter(|(due, _)| *due <= now)
                .collect();
            due.sort();
            Ok(due.into_iter().take(limit).map(|(_, uuid)| uuid).collect())
        })
    }

    fn next_due(&self) -> Answer<'_, Option<Timestamp>> {
        self.answer(|inner| Ok(inner.nodes.iter().filter_map(|one| one.due).min()))
    }

    fn create_port<'a>(&'a self, port: &'a Port) -> Answer<'a, ()> {
        self.answer(|inner| {
            if inner.ports.iter().any(|other| other.uuid == port.uuid) {
                return Err(duplicate("port uuid", &port.uuid));
            }
            inner.check_address(port)?;
            inner.ports.push(port.clone());
            Ok(())
        })
    }

    fn port(&self, uuid: Uuid) -> Answer<'_, Option<Port>> {
        self.answer(|inner| Ok(inner.ports.iter().find(|port| port.uuid == uuid).cloned()))
    }

    fn ports<'a>(&'a self, filter: &'a PortFilter) -> Answer<'a, Vec<Port>> {
        self.answer(|inner| {
            let found: Vec<&Port> = inner
                .ports
                .iter()
                .filter(|port| filter.node.is_none_or(|node| node == port.node_uuid))
                .filter(|port| {
                    filter.address.as_ref().is_none_or(|address| *address == port.address)
                })
                .collect();
            let start = filter
                .marker
                .and_then(|marker| found.iter().position(|port| port.uuid == marker))
                .map_or(0, |position| position + 1);
            let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
            Ok(found.into_iter().skip(start).take(limit).cloned().collect())
        })
    }

    fn update_port<'a>(&'a self, port: &'a Port) -> Answer<'a, ()> {
        self.answer(|inner| {
            inner.check_address(port)?;
            if let Some(stored) = inner.ports.iter_mut().find(|stored| stored.uuid == port.uuid) {
                *stored = port.clone();
            }
            Ok(())
        })
    }

    fn delete_port(&self, uuid: Uuid) -> Answer<'_, bool> {
        self.answer(|inner| {
            let before = inner.ports.len();
            inner.ports.retain(|port| port.uuid != uuid);
            Ok(inner.ports.len() < before)
        })
    }

    fn node_by_addresses<'a>(&'a self, addresses: &'a [String]) -> Answer<'a, Option<Uuid>> {
        self.answer(|inner| {
            let mut owners: Vec<Uuid> = inner
                .ports
                .iter()
                .filter(|port| addresses.contains(&port.address))
                .map(|port| port.node_uuid)
                .collect();
            owners.sort();
            owners.dedup();
            Ok(if let [owner] = owners[..] { Some(owner) } else { None })
        })
    }

    fn create_record<'a>(&'a self, record: &'a Record) -> Answer<'a, ()> {
        self.answer(|inner| {
            let same = |other: &&Record| other.kind == record.kind && other.uuid == record.uuid;
            if inner.records.iter().any(|other| same(&other)) {
                let value = format!("with UUID {}", record.uuid);
                return Err(duplicate(record.kind.noun(), &value));
            }
            inner.check_record(record)?;
            inner.records.push(record.clone());
            Ok(())
        })
    }

    fn record<'a>(&'a self, kind: RecordKind, ident: &'a str) -> Answer<'a, Option<Record>> {
        let uuid = Uuid::parse_str(ident).ok();
        self.answer(|inner| {
            let is = |record: &&Record| {
                record.kind == kind
                    && uuid
                        .map_or(record.name.as_deref() == Some(ident), |uuid| record.uuid == uuid)
            };
            Ok(inner.records.iter().find(is).cloned())
        })
    }

    fn records(&self, kind: RecordKind, node: Option<Uuid>) -> Answer<'_, Vec<Record>> {
        self.answer(|inner| {
            let wanted =
                |record: &&Record| record.kind == kind && (node.is_none() || record.node == node);
            Ok(inner.records.iter().filter(wanted).cloned().collect())
        })
    }

    fn update_record<'a>(&'a self, record: &'a Record) -> Answer<'a, bool> {
        self.answer(|inner| {
            inner.check_record(record)?;
            let same = |other: &&mut Record| other.kind == record.kind && other.uuid == record.uuid;
            Ok(inner.records.iter_mut().find(same).map(|old| *old = record.clone()).is_some())
        })
    }

    fn delete_record(&self, kind: RecordKind, uuid: Uuid) -> Answer<'_, bool> {
        self.answer(|inner| {
            let before = inner.records.len();
            inner.records.retain(|record| record.kind != kind || record.uuid != uuid);
            Ok(inner.records.len() < before)
        })
    }

    fn add_history<'a>(&'a self, node: Uuid, entry: &'a HistoryEntry) -> Answer<'a, ()> {
        self.answer(|inner| {
            let history = inner.history.entry(node).or_default();
            history.push(entry.clone());
            let surplus = history.len().saturating_sub(HISTORY_MAX);
            history.drain(..surplus);
            Ok(())
        })
    }

    fn history(&self, node: Uuid) -> Answer<'_, Vec<HistoryEntry>> {
        self.answer(|inner| Ok(inner.history.get(&node).cloned().unwrap_or_default()))
    }

    fn put_inventory<'a>(&'a self, node: Uuid, inventory: &'a Value) -> Answer<'a, ()> {
        self.answer(|inner| {
            inner.inventory.insert(node, inventory.clone());
            Ok(())
        })
    }

    fn inventory(&self, node: Uuid) -> Answer<'_, Option<Value>> {
        self.answer(|inner| Ok(inner.inventory.get(&node).cloned()))
    }

    fn keep_certificates<'a>(&'a self, certificates: &'a [Kept]) -> Answer<'a, ()> {
        self.answer(|inner| {
            for kept in certificates {
                if !inner.certificates.iter().any(|known| known.id == kept.id) {
                    inner.certificates.push(kept.clone());
                }
            }
            Ok(())
        })
    }

    fn certificates(
        &self,
        node: Uuid,
        marker: Option<Uuid>,
        limit: usize,
    ) -> Answer<'_, Vec<Kept>> {
        self.answer(|inner| {
            let end = marker
                .and_then(|marker| inner.certificates.iter().position(|kept| kept.id == marker))
                .unwrap_or(inner.certificates.len());
            let older = inner.certificates[..end].iter().rev();
            let found = older.filter(|kept| kept.signed.certificate.node_uuid == node);
            Ok(found.take(limit).cloned().collect())
        })
    }

    fn certificate(&self, node: Uuid, id: Uuid) -> Answer<'_, Option<Kept>> {
        self.answer(|inner| {
            let is = |kept: &&Kept| kept.id == id && kept.signed.certificate.node_uuid == node;
            Ok(inner.certificates.iter().find(is).cloned())
        })
    }
}
