//! The whole life of a fake machine through the router, with the reconciler called by hand.

use serde_json::{Value, json};

use super::{Client, client};
use crate::reconcile;

/// Asks for a target and lets the reconciler work; the node as it then is.
async fn ask(client: &Client, body: Value) -> Value {
    let answer = client.send("PUT", "/v1/nodes/n/states/provision", body.clone()).await;
    assert_eq!(answer.status, 202, "{body} {}", answer.text);
    settled(client).await
}

async fn settled(client: &Client) -> Value {
    let uuid = client.app.store.node("n").await.unwrap().unwrap().uuid;
    reconcile::look(&client.app, uuid).await.unwrap();
    client.get("/v1/nodes/n").await.json()
}

async fn refused(client: &Client, body: Value) -> (u16, String) {
    let answer = client.send("PUT", "/v1/nodes/n/states/provision", body).await;
    (answer.status, answer.fault())
}

async fn fake(body: Value) -> Client {
    let client = client();
    let mut asked = json!({"name": "n", "deploy_interface": "fake", "boot_interface": "fake"});
    asked.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    client.node(asked).await;
    client
}

#[tokio::test]
async fn a_fake_machine_walks_the_whole_lifecycle() {
    let client = fake(json!({})).await;
    let validate = client.get("/v1/nodes/n/validate").await.json();
    for (kind, row) in validate.as_object().unwrap() {
        assert_eq!(row["result"], true, "{kind} {row}");
    }
    for (body, state, power) in [
        (json!({"target": "manage"}), "manageable", "power off"),
        (json!({"target": "inspect"}), "manageable", "power off"),
        (json!({"target": "provide"}), "available", "power off"),
        (json!({"target": "active", "configdrive": {"meta_data": {}}}), "active", "power on"),
        (json!({"target": "rescue", "rescue_password": "fake-pass"}), "rescue", "power on"),
        (json!({"target": "unrescue"}), "active", "power on"),
        (
            json!({"target": "service", "service_steps": [{"interface": "power", "step": "reboot"}]}),
            "active",
            "power on",
        ),
        (json!({"target": "rebuild"}), "active", "power on"),
        (json!({"target": "deleted"}), "available", "power off"),
        (json!({"target": "manage"}), "manageable", "power off"),
        (json!({"target": "adopt"}), "active", "power off"),
        (json!({"target": "undeploy"}), "available", "power off"),
    ] {
        let node = ask(&client, body.clone()).await;
        assert_eq!(
            (&node["provision_state"], &node["power_state"], &node["target_provision_state"]),
            (&json!(state), &json!(power), &Value::Null),
            "{body} {node}"
        );
        assert_eq!(node["last_error"], Value::Null, "{body}");
    }
    let node = client.get("/v1/nodes/n").await;
    assert!(node.json()["inspection_finished_at"].is_string() && !node.text.contains("fake-pass"));
}

#[tokio::test]
async fn a_fake_machine_is_held_by_its_steps_goes_on_and_can_be_aborted() {
    let client = fake(json!({})).await;
    ask(&client, json!({"target": "manage"})).await;
    let hold =
        json!([{"interface": "power", "step": "hold"}, {"interface": "power", "step": "reboot"}]);
    let clean = json!({"target": "clean", "clean_steps": hold});
    let held = ask(&client, clean.clone()).await;
    assert_eq!(
        (&held["provision_state"], &held["clean_step"]["step"]),
        (&json!("clean hold"), &json!("hold"))
    );
    assert!(client.get("/v1/nodes/n/explain").await.json()["deadline"].is_string());
    assert_eq!(ask(&client, json!({"target": "unhold"})).await["provision_state"], "manageable");
    ask(&client, clean).await;
    let aborted = ask(&client, json!({"target": "abort"})).await;
    assert_eq!(
        (&aborted["provision_state"], &aborted["fault"], &aborted["maintenance"]),
        (&json!("clean failed"), &json!("clean failure"), &json!(true))
    );
    client.send("DELETE", "/v1/nodes/n/maintenance", Value::Null).await;
    ask(&client, json!({"target": "manage"})).await;
    ask(&client, json!({"target": "provide"})).await;

    let steps = json!([{"interface": "deploy", "step": "hold", "args": {}, "priority": 50}]);
    let held = ask(&client, json!({"target": "active", "deploy_steps": steps})).await;
    assert_eq!(held["provision_state"], "deploy hold");
    assert_eq!(ask(&client, json!({"target": "unhold"})).await["provision_state"], "active");
    let service =
        json!({"target": "service", "service_steps": [{"interface": "power", "step": "hold"}]});
    assert_eq!(ask(&client, service).await["provision_state"], "service hold");
    for state in ["service failed", "active"] {
        assert_eq!(ask(&client, json!({"target": "abort"})).await["provision_state"], state);
    }
}

#[tokio::test]
async fn steps_that_a_fake_machine_has_not_are_refused_at_the_order() {
    let client = fake(json!({})).await;
    ask(&client, json!({"target": "manage"})).await;
    let clean = |step: &str| json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": step}]});
    let (status, fault) = refused(&client, clean("erase_everything")).await;
    assert_eq!(status, 400, "{fault}");
    assert!(
        fault.contains("no clean step deploy.erase_everything; it has deploy.erase_devices"),
        "{fault}"
    );
    assert_eq!(client.get("/v1/nodes/n").await.json()["provision_state"], "manageable");
    assert_eq!(ask(&client, clean("erase_devices")).await["provision_state"], "manageable");
    ask(&client, json!({"target": "adopt"})).await;
    let service = json!({"target": "service", "service_steps": [{"interface": "deploy", "step": "erase_devices"}]});
    let (status, fault) = refused(&client, service).await;
    assert_eq!(
        (status, fault.contains("no service step deploy.erase_devices")),
        (400, true),
        "{fault}"
    );
}

#[tokio::test]
async fn a_held_node_is_given_up_when_nobody_lets_it_go_on() {
    let mut client = fake(json!({})).await;
    client.app.clock = crate::app::Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    client.routes = crate::http::operator(client.app.clone());
    ask(&client, json!({"target": "manage"})).await;
    let steps = json!([{"interface": "power", "step": "hold"}]);
    ask(&client, json!({"target": "clean", "clean_steps": steps})).await;
    client.app.clock.advance(std::time::Duration::from_secs(8 * 24 * 3600));
    let node = settled(&client).await;
    assert_eq!(node["provision_state"], "clean failed");
    assert!(node["last_error"].as_str().unwrap().contains("nobody asked for unhold"), "{node}");
}

#[tokio::test]
async fn verbs_that_an_interface_does_not_do_are_refused_as_in_ironic() {
    let client = client();
    client.node(json!({"name": "n", "driver": "ipmi", "inspect_interface": "no-inspect"})).await;
    use crate::node::ProvisionState as S;
    for (state, body, part) in [
        (
            S::Active,
            json!({"target": "rescue", "rescue_password": "fake"}),
            "Driver ipmi does not support rescue (disabled or not implemented).",
        ),
        (
            S::Active,
            json!({
                "target": "service", "disable_ramdisk": true,
                "service_steps": [{"interface": "deploy", "step": "erase_devices"}],
            }),
            "deploy.erase_devices is performed in the ramdisk; leave disable_ramdisk out",
        ),
        (
            S::Active,
            json!({
                "target": "service",
                "service_steps": [{"interface": "power", "step": "wait", "args": {"seconds": -1}}],
            }),
            "power.wait: seconds is -1",
        ),
        (
            S::Manageable,
            json!({
                "target": "clean",
                "clean_steps": [{"interface": "deploy", "step": "x", "execute_on_child_nodes": true}],
            }),
            "'execute_on_child_nodes' is not supported",
        ),
        (
            S::Manageable,
            json!({"target": "provide", "disable_ramdisk": true}),
            "only valid when setting target provision state to clean or service",
        ),
        (S::Manageable, json!({"target": "inspect"}), "does not support inspect"),
        (S::Active, json!({"target": "rescue"}), "rescue_password"),
        (S::Active, json!({"target": "rescue", "rescue_password": "  "}), "not blank"),
        (S::Active, json!({"target": "service"}), "\"service_steps\" is required"),
        (S::Manageable, json!({"target": "clean"}), "\"clean_steps\" is required"),
        (S::Manageable, json!({"target": "manage", "rescue_password": "fake"}), "only valid"),
        (S::Manageable, json!({"target": "boil"}), "\"boil\" is not valid"),
    ] {
        client.force("n", |node| node.provision_state = state).await;
        let (status, fault) = refused(&client, body.clone()).await;
        assert_eq!(status, 400, "{body} {fault}");
        assert!(fault.contains(part), "{body} {fault}");
    }
    client.force("n", |node| node.provision_state = S::Cleaning).await;
    let (status, fault) = refused(&client, json!({"target": "manage"})).await;
    assert_eq!((status, fault.contains("is locked")), (409, true), "{fault}");
}

#[tokio::test]
async fn a_hardware_type_that_is_switched_off_is_not_there() {
    let mut client = client();
    let mut settings = (*client.app.settings).clone();
    settings.enabled_hardware_types = vec!["ipmi".into()];
    client.app.settings = std::sync::Arc::new(settings);
    client.routes = crate::http::operator(client.app.clone());
    let answer = client.send("POST", "/v1/nodes", json!({"driver": "fake-hardware"})).await;
    assert_eq!(answer.status, 400);
    assert!(answer.fault().contains("enabled_hardware_types"), "{}", answer.text);
    assert_eq!(client.get("/v1/drivers/fake-hardware").await.status, 404);
    assert_eq!(client.get("/v1/drivers").await.json()["drivers"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_fake_machine_goes_on_after_a_restart() {
    let client = fake(json!({})).await;
    ask(&client, json!({"target": "manage"})).await;
    for (body, state) in [
        (json!({"target": "inspect"}), "manageable"),
        (json!({"target": "provide"}), "available"),
        (json!({"target": "active"}), "active"),
        (json!({"target": "rescue", "rescue_password": "fake"}), "rescue"),
        (json!({"target": "unrescue"}), "active"),
        (json!({"target": "deleted"}), "available"),
    ] {
        let answer = client.send("PUT", "/v1/nodes/n/states/provision", body.clone()).await;
        assert_eq!(answer.status, 202, "{body} {}", answer.text);
        // The coordinator stopped here. The next one finds the node by its deadline and knows nothing but the record.
        let settings = client.app.settings.clone();
        let power = std::sync::Arc::new(crate::power::Drivers::new(&settings));
        let next = crate::app::App::new(client.app.store.clone(), settings, power);
        let due = next.store.due(next.clock.now(), 10).await.unwrap();
        assert_eq!(due.len(), 1, "{body}");
        reconcile::look(&next, due[0]).await.unwrap();
        assert_eq!(client.get("/v1/nodes/n").await.json()["provision_state"], state, "{body}");
    }
}

#[tokio::test]
async fn random_requests_on_a_fake_machine_never_strand_it() {
    let bodies = [
        json!({"target": "manage"}),
        json!({"target": "inspect"}),
        json!({"target": "provide"}),
        json!({"target": "active"}),
        json!({"target": "active", "deploy_steps": [{"interface": "power", "step": "hold", "priority": 1}]}),
        json!({"target": "rebuild"}),
        json!({"target": "deleted"}),
        json!({"target": "abort"}),
        json!({"target": "adopt"}),
        json!({"target": "unhold"}),
        json!({"target": "clean", "clean_steps": [{"interface": "power", "step": "hold"}]}),
        json!({"target": "clean", "clean_steps": [{"interface": "power", "step": "reboot"}]}),
        json!({"target": "service", "service_steps": [{"interface": "power", "step": "hold"}]}),
        json!({"target": "rescue", "rescue_password": "fake"}),
        json!({"target": "unrescue"}),
    ];
    // The same on every run (Marsaglia's xorshift64).
    let mut seed = 0x5eed_u64;
    let (mut asked, mut taken, mut states) = (0, 0, std::collections::BTreeSet::new());
    for _ in 0..30 {
        let client = fake(json!({})).await;
        for _ in 0..60 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let body = &bodies[usize::try_from(seed % 15).unwrap()];
            let answer = client.send("PUT", "/v1/nodes/n/states/provision", body.clone()).await;
            asked += 1;
            assert!(matches!(answer.status, 202 | 400), "{body} {}", answer.text);
            taken += i32::from(answer.status == 202);
            let node = settled(&client).await;
            let state = node["provision_state"].as_str().unwrap().to_owned();
            let parsed = crate::node::ProvisionState::parse(&state).unwrap();
            assert!(!parsed.is_busy() && !parsed.is_waiting(), "{body} left it {state}");
            let goes_somewhere = parsed.is_held() || parsed.is_failed();
            assert_eq!(node["target_provision_state"].is_null(), !goes_somewhere, "{state}");
            states.insert(state);
            if node["maintenance"] == true {
                client.send("DELETE", "/v1/nodes/n/maintenance", Value::Null).await;
            }
        }
    }
    println!("{asked} requests, {taken} taken, states {states:?}");
    assert!(states.len() >= 10, "{states:?}");
}
