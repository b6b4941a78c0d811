//! The machines' side: what they reach, and what they boot.

use serde_json::{Value, json};

use super::{app, send};

#[tokio::test]
async fn machines_and_operators_do_not_see_each_other_s_side() {
    let (app, _files) = app();
    let plain = crate::http::provisioning(app.clone(), false);
    let secure = crate::http::provisioning(app, true);
    for (routes, path, exists) in [
        (&plain, "/boot/ipxe", true),
        (&secure, "/boot/ipxe", false),
        (&plain, "/v1/nodes", false),
        (&secure, "/v1/nodes", false),
        (&secure, "/v1/drivers", false),
        (&secure, "/v1", true),
        (&plain, "/", true),
    ] {
        let answer = send(routes, "GET", path, &[], &Value::Null).await;
        assert_eq!(answer.status == 200, exists, "{path} {}", answer.text);
    }
    let nobody =
        send(&secure, "GET", "/v1/lookup?addresses=52:54:00:00:00:01", &[], &Value::Null).await;
    assert_eq!(
        (nobody.status, nobody.fault().contains("could not be found")),
        (404, true),
        "{}",
        nobody.text
    );
}

#[tokio::test]
async fn kernel_and_ramdisk_are_served_in_ranges_and_unknown_machines_start_their_disk() {
    let (app, _files) = app();
    let routes = crate::http::provisioning(app, false);
    let whole = send(&routes, "GET", "/boot/vmlinuz?node=x", &[], &Value::Null).await;
    assert_eq!((whole.status, whole.text.as_str()), (200, "0123456789"));
    let part = send(&routes, "GET", "/boot/vmlinuz", &[("range", "bytes=2-4")], &Value::Null).await;
    assert_eq!((part.status, part.text.as_str()), (206, "234"));
    assert_eq!(send(&routes, "GET", "/boot/initrd", &[], &Value::Null).await.text, "ramdisk");

    let entry = send(&routes, "GET", "/boot/ipxe", &[], &Value::Null).await;
    assert!(
        entry.text.contains("chain --replace http://172.22.0.1:6386/boot/ipxe/${netX/mac:hexhyp}"),
        "{}",
        entry.text
    );
    let script =
        send(&routes, "GET", "/boot/ipxe/52-54-00-00-00-01?nics=,,", &[], &Value::Null).await;
    assert!(script.text.contains("sanboot") && !script.text.contains("kernel"), "{}", script.text);
}

#[tokio::test]
async fn a_machine_that_is_expected_gets_the_ramdisk_with_a_nonce_under_any_of_its_addresses() {
    let (mut app, _files) = app();
    app.certificate_sha256 = Some("c0ffee".into());
    let mut node = crate::node::tests::working_node(app.clock.now());
    let work = node.work.as_mut().unwrap();
    work.phase = crate::node::Phase::AwaitAgent;
    work.boot = crate::node::Boot::default();
    node.driver_info.insert("kernel_append_params".into(), json!("console=ttyS0"));
    let mut port = crate::node::sample::port();
    port.node_uuid = node.uuid;
    app.store.create_node(&node).await.unwrap();
    app.store.create_port(&port).await.unwrap();

    let routes = crate::http::provisioning(app.clone(), false);
    let path = "/boot/ipxe/52-54-00-00-00-09?nics=52-54-00-00-00-09,00-11-22-00-11-22,";
    let script = send(&routes, "GET", path, &[], &Value::Null).await.text;
    for part in [
        "ipa-api-url=https://172.22.0.1:6387 ",
        "ironwright.tls=c0ffee ",
        "BOOTIF=01-52-54-00-00-00-09 ",
        "panic=30 console=ttyS0",
        &format!("http://172.22.0.1:6386/boot/vmlinuz?node={} ", node.uuid),
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
    let nonce = script.split("ironwright.nonce=").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(nonce.len(), 32);

    send(&routes, "GET", &format!("/boot/initrd?node={}", node.uuid), &[], &Value::Null).await;
    let after = app.store.node(&node.uuid.to_string()).await.unwrap().unwrap().work.unwrap();
    assert!(!serde_json::to_string(&after).unwrap().contains(nonce), "only its hash is kept");
    assert!(
        after.boot.moments.contains_key("script") && after.boot.moments.contains_key("ramdisk")
    );

    let lookup = format!("/v1/lookup?addresses={}", port.address);
    let headers = [
        ("x-ironwright-nonce", nonce),
        ("x-ironwright-boot-id", "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f"),
    ];
    let agents = crate::http::provisioning(app, true);
    let found = send(&agents, "GET", &lookup, &headers, &Value::Null).await;
    assert_eq!(
        (found.status, &found.json()["node"]["uuid"]),
        (200, &json!(node.uuid)),
        "{}",
        found.text
    );
    let beat = json!({"agent_token": found.json()["config"]["agent_token"], "ironwright": {"protocol": 1, "boot_id": headers[1].1}});
    let reply = send(&agents, "POST", &format!("/v1/heartbeat/{}", node.uuid), &[], &beat).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let stranger =
        json!({"agent_token": "x", "ironwright": {"protocol": 1, "boot_id": headers[1].1}});
    let refused =
        send(&agents, "POST", &format!("/v1/heartbeat/{}", node.uuid), &[], &stranger).await;
    assert_eq!(
        (refused.status, refused.fault().as_str()),
        (400, "Invalid or missing agent token received.")
    );
}
