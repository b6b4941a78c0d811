//! Deploys that are interrupted and end well all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use lab::api;
use lab::image_server::Faults;

use crate::image;
use crate::stage::{Agent, KernelLine, Stage, until};

/// Where a deploy is held: the connection to the image server stalls, and goes on with [`go_on`], bytes.
const HELD_AT: u64 = 12 << 20;

/// A deploy held in the middle of its image, the agent at it, and what that was booted with.
async fn held(content: &[u8]) -> (Stage, Agent, KernelLine) {
    let stage = Stage::deploying(content).await;
    stage.images.set_faults(Faults { stall_after: Some(HELD_AT), ..Faults::default() });
    let line = stage.boot().await;
    let agent = stage.agent(&line);
    stage.reaches(content, 6 << 20).await;
    assert!(!image::has_partition_table(&stage.disk), "a half-written disk must not look bootable");
    (stage, agent, line)
}

fn go_on(stage: &Stage) {
    stage.images.set_faults(Faults::default());
}

#[tokio::test]
async fn a_coordinator_that_starts_again_in_the_middle_of_a_deploy_goes_on_with_it() {
    let content = image::gpt(24);
    let (mut stage, _agent, _) = held(&content).await;
    stage.kill();
    // The agent has nobody to report to now.
    go_on(&stage);
    stage.reaches(&content, 20 << 20).await;
    stage.restart().await;
    stage.rests_in("active").await;
    assert!(image::is_on(&stage.disk, &content));
    assert_eq!(stage.written().await["proven"], true);
    let boots = stage.history().await;
    let boots = boots.iter().filter(|event| event.starts_with("started into the ramdisk")).count();
    assert_eq!(boots, 1, "the machine was not booted again");
}

#[tokio::test]
async fn an_agent_that_starts_again_in_the_middle_of_a_write_begins_the_image_anew_and_ends_the_deploy()
 {
    let content = image::gpt(24);
    let (stage, agent, line) = held(&content).await;
    agent.stop().await;
    assert!(!image::has_partition_table(&stage.disk), "a half-written disk must not look bootable");
    go_on(&stage);
    let _agent = stage.agent(&line);
    stage.rests_in("active").await;
    assert!(image::is_on(&stage.disk, &content));
    let history = stage.history().await;
    let lookups = history.iter().filter(|event| event.contains("looked the node up")).count();
    assert_eq!(lookups, 1, "the second agent goes on with the first one's token: {history:?}");
}

/// A proxy that loses the answer to the first heartbeat with a final report.
#[derive(Clone)]
struct Lossy {
    client: reqwest::Client,
    to: SocketAddr,
    /// Final reports seen.
    finals: Arc<AtomicUsize>,
}

impl Lossy {
    /// Listens on a free port; the address.
    async fn start(self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(pass).with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

async fn pass(State(lossy): State<Lossy>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
    let is_final = String::from_utf8_lossy(&body).contains(r#""finished""#);
    let url = format!("http://{}{}", lossy.to, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let request = lossy.client.request(parts.method, url).headers(headers).body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let bytes = answer.bytes().await.unwrap();
    let swallowed = is_final && lossy.finals.fetch_add(1, Ordering::Relaxed) == 0;
    let body = if swallowed {
        let cut = futures_util::stream::once(async {
            Err::<bytes::Bytes, _>(std::io::Error::other("lost on purpose"))
        });
        Body::from_stream(cut)
    } else {
        Body::from(bytes)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[tokio::test]
async fn the_lost_answer_to_the_final_report_changes_nothing() {
    let content = image::gpt(8);
    let stage = Stage::deploying(&content).await;
    let finals = Arc::new(AtomicUsize::new(0));
    let client = api::http_client().unwrap();
    let proxy = Lossy { client, to: stage.provisioning(), finals: finals.clone() }.start().await;
    let line = KernelLine { api_url: format!("http://{proxy}"), ..stage.boot().await };
    let _agent = stage.agent(&line);
    stage.rests_in("active").await;
    assert!(image::is_on(&stage.disk, &content));
    // The agent repeats its report; by then the order is gone, and so is its token. That is no stranger at the door.
    until("the repeated report", async || finals.load(Ordering::Relaxed) > 1).await;
    assert_eq!(stage.rests_in("active").await.last_error, None);
    let history = stage.history().await;
    for event in ["the agent finished the order", "the node is deploying", "the node is active"] {
        assert_eq!(history.iter().filter(|known| *known == event).count(), 1, "{history:?}");
    }
    assert!(!history.iter().any(|event| event.contains("refused")), "{history:?}");
}
