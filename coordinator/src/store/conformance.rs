//! What every store must do; run on each of them.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::memory::Memory;
use super::{
    HISTORY_MAX, HistoryEntry, NodeFilter, PortFilter, Record, RecordKind, Store, StoreError,
};
use crate::certificate::Kept;
use crate::certificate::tests::{Agent, certificate};
use crate::node::tests::node_with;
use crate::node::{Node, Port, PowerState, ProvisionState};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn named(name: &str) -> Node {
    Node { name: Some(name.to_owned()), ..node_with(json!({})) }
}

fn port(node: &Node, address: &str) -> Port {
    let (uuid, node_uuid) = (Uuid::now_v7(), node.uuid);
    serde_json::from_value(json!({"uuid": uuid, "node_uuid": node_uuid, "address": address, "created_at": "2026-01-01T00:00:00Z"}))
        .unwrap()
}

pub(super) async fn all(store: &dyn Store) {
    a_record_comes_back_as_written_by_uuid_and_by_name(store).await;
    an_older_version_never_overwrites_a_newer_one(store).await;
    taken_names_and_addresses_are_refused_by_name(store).await;
    due_nodes_come_earliest_first(store).await;
    lists_filter_sort_and_page(store).await;
    addresses_of_several_nodes_belong_to_none(store).await;
    history_keeps_the_newest(store).await;
    Box::pin(nodes_with_one_bmc_find_each_other(store)).await;
    a_deleted_node_takes_everything_with_it(store).await;
    certificates_are_kept_once_for_ever_and_listed_newest_first(store).await;
    records_are_unique_in_their_kind_and_go_with_their_node(store).await;
}

async fn records_are_unique_in_their_kind_and_go_with_their_node(store: &dyn Store) {
    let node = store.create_node(&named("owner")).await.unwrap();
    let made = |kind, name: &str, key: Option<&str>| Record {
        kind,
        uuid: Uuid::now_v7(),
        name: Some(name.to_owned()),
        node: key.map(|_| node.uuid),
        key: key.map(str::to_owned),
        fields: json!({"a": [1]}).as_object().unwrap().clone(),
        created_at: at(1),
        updated_at: None,
    };
    let mut group = made(RecordKind::Portgroup, "g", Some("address x"));
    let chassis = made(RecordKind::Chassis, "g", None);
    for record in [&group, &chassis] {
        store.create_record(record).await.unwrap();
    }
    assert_eq!(store.record(RecordKind::Portgroup, "g").await.unwrap(), Some(group.clone()));
    let uuid = chassis.uuid.to_string();
    assert_eq!(store.record(RecordKind::Chassis, &uuid).await.unwrap(), Some(chassis.clone()));
    assert_eq!(store.record(RecordKind::Runbook, &uuid).await.unwrap(), None);
    let twin = Record { uuid: chassis.uuid, ..made(RecordKind::Chassis, "h", None) };
    for (record, part) in [
        (made(RecordKind::Portgroup, "g", None), "with name g"),
        (made(RecordKind::Portgroup, "h", Some("address x")), "with address x"),
        (twin, "with UUID"),
    ] {
        let refused = store.create_record(&record).await.unwrap_err();
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    (group.name, group.updated_at) = (None, Some(at(2)));
    assert!(store.update_record(&group).await.unwrap());
    assert_eq!(
        store.records(RecordKind::Portgroup, Some(node.uuid)).await.unwrap(),
        [group.clone()]
    );
    store.delete_node(node.uuid).await.unwrap();
    assert!(store.records(RecordKind::Portgroup, None).await.unwrap().is_empty());
    assert!(!store.update_record(&group).await.unwrap());
    assert!(store.delete_record(RecordKind::Chassis, chassis.uuid).await.unwrap());
    assert!(!store.delete_record(RecordKind::Chassis, chassis.uuid).await.unwrap());
}

async fn certificates_are_kept_once_for_ever_and_listed_newest_first(store: &dyn Store) {
    let node = store.create_node(&named("erased")).await.unwrap();
    let kept: Vec<Kept> = (0..3)
        .map(|second| {
            let certificate = certificate(node.uuid, Uuid::now_v7(), Uuid::nil());
            let erased = Agent::new().erased(certificate);
            Kept::new(*erased.certificate.unwrap(), at(second))
        })
        .collect();
    store.keep_certificates(&kept[..2]).await.unwrap();
    store.keep_certificates(&kept).await.unwrap();
    store.delete_node(node.uuid).await.unwrap();
    let listed = store.certificates(node.uuid, None, 10).await.unwrap();
    assert_eq!(listed, kept.iter().rev().cloned().collect::<Vec<_>>());
    let page = store.certificates(node.uuid, Some(kept[2].id), 1).await.unwrap();
    assert_eq!(page, [kept[1].clone()]);
    assert_eq!(store.certificate(node.uuid, kept[0].id).await.unwrap(), Some(kept[0].clone()));
    assert!(store.certificate(Uuid::nil(), kept[0].id).await.unwrap().is_none());
    assert!(store.certificates(Uuid::nil(), None, 10).await.unwrap().is_empty());
}

async fn a_record_comes_back_as_written_by_uuid_and_by_name(store: &dyn Store) {
    let mut node = named("first");
    node.instance_info.insert("image_source".into(), json!("http://h/i"));
    let stored = store.create_node(&node).await.unwrap();
    assert_eq!(stored.version, 1);
    for ident in [node.uuid.to_string(), "first".to_owned()] {
        let found = store.node(&ident).await.unwrap().unwrap();
        assert_eq!(serde_json::to_value(&found).unwrap(), serde_json::to_value(&stored).unwrap());
    }
    assert!(store.node("nobody").await.unwrap().is_none());
    store.delete_node(node.uuid).await.unwrap();
}

async fn an_older_version_never_overwrites_a_newer_one(store: &dyn Store) {
    let old = store.create_node(&named("cas")).await.unwrap();
    let new = store.update_node(&old, None).await.unwrap();
    assert_eq!(new.version, 2);
    assert!(
        matches!(store.update_node(&old, None).await, Err(StoreError::Conflict(uuid)) if uuid == old.uuid)
    );
    store.delete_node(old.uuid).await.unwrap();
    assert!(matches!(store.update_node(&new, None).await, Err(StoreError::Conflict(_))));
}

async fn taken_names_and_addresses_are_refused_by_name(store: &dyn Store) {
    let one = store.create_node(&named("one")).await.unwrap();
    let mut two = store.create_node(&named("two")).await.unwrap();
    let duplicate = |result: Result<(), StoreError>, expected: &str| match result {
        Err(StoreError::Duplicate { what, .. }) => assert_eq!(what, expected),
        other => panic!("{other:?}"),
    };
    let same_uuid = Node { name: Some("other".into()), ..one.clone() };
    duplicate(store.create_node(&same_uuid).await.map(drop), "node uuid");
    duplicate(store.create_node(&named("one")).await.map(drop), "node name");
    two.name = Some("one".into());
    duplicate(store.update_node(&two, None).await.map(drop), "node name");
    store.create_port(&port(&one, "52:54:00:00:00:01")).await.unwrap();
    duplicate(store.create_port(&port(&two, "52:54:00:00:00:01")).await, "port address");
    for node in [one, two] {
        store.delete_node(node.uuid).await.unwrap();
    }
}

async fn due_nodes_come_earliest_first(store: &dyn Store) {
    let mut uuids = Vec::new();
    for (name, due) in [("late", Some(30)), ("early", Some(10)), ("never", None), ("mid", Some(20))]
    {
        let node = store.create_node(&named(name)).await.unwrap();
        store.update_node(&node, due.map(at)).await.unwrap();
        uuids.push(node.uuid);
    }
    assert_eq!(store.due(at(25), 10).await.unwrap(), [uuids[1], uuids[3]]);
    assert_eq!(store.due(at(25), 1).await.unwrap(), [uuids[1]]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
    for uuid in uuids {
        store.delete_node(uuid).await.unwrap();
    }
    assert_eq!(store.next_due().await.unwrap(), None);
}

async fn lists_filter_sort_and_page(store: &dyn Store) {
    let mut created = Vec::new();
    for (name, state, maintenance) in [
        ("c", ProvisionState::Available, false),
        ("a", ProvisionState::Active, false),
        ("b", ProvisionState::Available, true),
    ] {
        let mut node = named(name);
        (node.provision_state, node.maintenance) = (state, maintenance);
        node.power_state = Some(PowerState::On);
        created.push(store.create_node(&node).await.unwrap());
    }
    let names = async |filter: NodeFilter| -> Vec<String> {
        let whole = store.nodes(&filter).await.unwrap();
        let stamps = store.node_stamps(&filter).await.unwrap();
        let rows: Vec<i64> = stamps.iter().map(|stamp| stamp.row).collect();
        let of_rows = store.nodes_of(&rows).await.unwrap();
        assert_eq!((stamps.len(), of_rows.len()), (whole.len(), whole.len()));
        for (stamp, node) in stamps.iter().zip(&whole) {
            let found = of_rows.iter().find(|(row, _)| *row == stamp.row).unwrap();
            assert_eq!((found.1.uuid, found.1.version), (node.uuid, stamp.version));
        }
        whole.into_iter().filter_map(|node| node.name).collect()
    };
    let plain = NodeFilter::default;
    assert_eq!(names(plain()).await, ["c", "a", "b"], "order of creation");
    let by_name = || NodeFilter { sort_key: Some("name".into()), ..plain() };
    assert_eq!(names(by_name()).await, ["a", "b", "c"]);
    assert_eq!(names(NodeFilter { descending: true, ..by_name() }).await, ["c", "b", "a"]);
    let page = NodeFilter { marker: Some(created[1].uuid), limit: 1, ..by_name() };
    assert_eq!(names(page).await, ["b"]);
    let page = NodeFilter { marker: Some(created[0].uuid), limit: 1, ..plain() };
    assert_eq!(names(page).await, ["a"]);
    let available = NodeFilter { provision_state: Some("available".into()), ..plain() };
    assert_eq!(names(available.clone()).await, ["c", "b"]);
    assert_eq!(names(NodeFilter { maintenance: Some(true), ..available }).await, ["b"]);
    assert!(names(NodeFilter { associated: Some(true), ..plain() }).await.is_empty());
    assert!(names(NodeFilter { driver: Some("ipmi".into()), ..plain() }).await.is_empty());
    for node in created {
        store.delete_node(node.uuid).await.unwrap();
    }
}

async fn addresses_of_several_nodes_belong_to_none(store: &dyn Store) {
    let (one, two) = (named("one"), named("two"));
    let address = |last: u8| format!("52:54:00:00:01:{last:02x}");
    for (node, last) in [(&one, [1, 2]), (&two, [3, 4])] {
        store.create_node(node).await.unwrap();
        for last in last {
            store.create_port(&port(node, &address(last))).await.unwrap();
        }
    }
    for (addresses, owner) in [
        (vec![address(1), address(2), address(9)], Some(one.uuid)),
        (vec![address(4)], Some(two.uuid)),
        (vec![address(1), address(3)], None),
        (vec![address(9)], None),
        (vec![], None),
    ] {
        assert_eq!(store.node_by_addresses(&addresses).await.unwrap(), owner, "{addresses:?}");
    }
    let filter = PortFilter { node: Some(one.uuid), ..PortFilter::default() };
    let mut ports = store.ports(&filter).await.unwrap();
    assert_eq!(ports.len(), 2);
    ports[0].pxe_enabled = false;
    store.update_port(&ports[0]).await.unwrap();
    assert!(!store.port(ports[0].uuid).await.unwrap().unwrap().pxe_enabled);
    assert!(store.delete_port(ports[0].uuid).await.unwrap());
    assert!(!store.delete_port(ports[0].uuid).await.unwrap());
    for node in [one, two] {
        store.delete_node(node.uuid).await.unwrap();
    }
}

async fn history_keeps_the_newest(store: &dyn Store) {
    let node = store.create_node(&named("history")).await.unwrap();
    for number in 0..HISTORY_MAX + 5 {
        let entry = HistoryEntry {
            uuid: Uuid::now_v7(),
            created_at: at(1_000_000),
            severity: "INFO".into(),
            event_type: "test".into(),
            event: number.to_string(),
        };
        store.add_history(node.uuid, &entry).await.unwrap();
    }
    let history = store.history(node.uuid).await.unwrap();
    assert_eq!(history.len(), HISTORY_MAX);
    assert_eq!(history[0].event, "5");
    assert_eq!(history.last().unwrap().event, (HISTORY_MAX + 4).to_string());
    store.delete_node(node.uuid).await.unwrap();
}

async fn nodes_with_one_bmc_find_each_other(store: &dyn Store) {
    let on_bmc = |name: &str, info: serde_json::Value| {
        let mut node = named(name);
        node.driver = "ipmi".to_owned();
        node.driver_info = info.as_object().unwrap().clone().into_iter().collect();
        node
    };
    let first = on_bmc("bmc-1", json!({"ipmi_address": "BMC.example"}));
    let twin = on_bmc("bmc-2", json!({"ipmi_address": "bmc.example", "ipmi_port": "623"}));
    let other = on_bmc("bmc-3", json!({"ipmi_address": "bmc.example", "ipmi_port": 624}));
    let none = on_bmc("bmc-4", json!({}));
    for node in [&first, &twin, &other, &none] {
        store.create_node(node).await.unwrap();
    }
    assert_eq!(store.bmc_sharers(&first).await.unwrap(), [twin.uuid]);
    assert_eq!(store.bmc_sharers(&twin).await.unwrap(), [first.uuid]);
    assert!(store.bmc_sharers(&other).await.unwrap().is_empty());
    assert!(store.bmc_sharers(&none).await.unwrap().is_empty());
    for node in [first, twin, other, none] {
        store.delete_node(node.uuid).await.unwrap();
    }
}

async fn a_deleted_node_takes_everything_with_it(store: &dyn Store) {
    let node = store.create_node(&named("gone")).await.unwrap();
    let owned = port(&node, "52:54:00:00:02:01");
    store.create_port(&owned).await.unwrap();
    for inventory in [json!({"cpu": 1}), json!({"cpu": 2})] {
        store.put_inventory(node.uuid, &inventory).await.unwrap();
        assert_eq!(store.inventory(node.uuid).await.unwrap(), Some(inventory));
    }
    store.delete_node(node.uuid).await.unwrap();
    assert!(store.node("gone").await.unwrap().is_none());
    assert!(store.port(owned.uuid).await.unwrap().is_none());
    assert!(store.inventory(node.uuid).await.unwrap().is_none());
    assert!(store.history(node.uuid).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_memory_store_conforms() {
    Box::pin(all(&Memory::default())).await;
}
