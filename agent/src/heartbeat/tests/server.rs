//! A coordinator that does what the test says: it stores reports once, may stay deaf, and may lose its answers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ironwright_api::{Event, Failure, Heartbeat, HeartbeatReply, Order, Report};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

/// What was said, and what is to be answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    pub(super) order: Option<Order>,
    pub(super) cancel: Option<Uuid>,
    /// Stores, but does not acknowledge.
    pub(super) deaf: bool,
    /// Statuses to answer with next (the heartbeat is stored all the same: the answer is lost). 200 answers nonsense.
    pub(super) bad_answers: Vec<u16>,
    pub(super) beats: u32,
    pub(super) repeats: u32,
    pub(super) inventories: u32,
    pub(super) last_reports: usize,
    pub(super) progress_bytes: u64,
    pub(super) reports: Vec<Report>,
}

impl Words {
    pub(super) fn events(&self) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Planned { .. } => "planned".to_owned(),
            Event::StepStarted { step } => format!("start {step}"),
            Event::StepEnded { step, .. } => format!("end {step}"),
            Event::Attested { step, .. } => format!("attest {step}"),
            Event::Reboot { step, .. } => format!("restart in {step}"),
            Event::Finished => "finished".to_owned(),
            Event::Failed(_) => "failed".to_owned(),
            Event::Unknown => "unknown".to_owned(),
        };
        self.reports.iter().map(|report| text(&report.event)).collect()
    }

    pub(super) fn finished(&self) -> bool {
        self.reports.iter().any(|report| matches!(report.event, Event::Finished))
    }

    pub(super) fn failed(&self) -> bool {
        self.failure().is_some()
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.reports.iter().find_map(|report| {
            if let Event::Failed(failure) = &report.event { Some(failure.clone()) } else { None }
        })
    }

    fn hear(&mut self, heartbeat: Heartbeat) {
        let beat = heartbeat.ironwright.unwrap();
        assert_eq!(heartbeat.agent_token, "t");
        self.beats += 1;
        self.inventories += u32::from(beat.inventory.is_some());
        self.last_reports = beat.reports.len();
        self.progress_bytes = self.progress_bytes.max(beat.progress.unwrap_or_default().bytes);
        for report in beat.reports {
            if self.reports.iter().any(|known| known.seq == report.seq) {
                self.repeats += 1;
            } else {
                self.reports.push(report);
            }
        }
    }

    fn answer(&mut self) -> Response {
        if !self.bad_answers.is_empty() {
            return match self.bad_answers.remove(0) {
                202 => (StatusCode::ACCEPTED, "<html>").into_response(),
                status => StatusCode::from_u16(status).unwrap().into_response(),
            };
        }
        if self.finished() && !self.deaf && self.last_reports == 0 {
            // Ironic's own answer.
            return StatusCode::ACCEPTED.into_response();
        }
        let stored = self.reports.iter().map(|report| report.seq).max().unwrap_or(0);
        let acknowledged = if self.deaf { 0 } else { stored };
        let reply = HeartbeatReply { order: self.order.clone(), acknowledged, cancel: self.cancel };
        (StatusCode::ACCEPTED, Json(reply)).into_response()
    }
}

pub(super) struct Server {
    words: Arc<watch::Sender<Words>>,
    url: Url,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(super) async fn start(order: Option<Order>) -> Self {
        let words = Arc::new(watch::Sender::new(Words { order, ..Words::default() }));
        let versions = serde_json::json!({"default_version": {"version": "1.110"}});
        let router = axum::Router::new()
            .route("/", get(move || async { Json(versions) }))
            .route("/v1/heartbeat/{node}", post(heartbeat))
            .with_state(words.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serve = async move { axum::serve(listener, router).await.unwrap() };
        Self { words, url, _task: AbortOnDropHandle::new(tokio::spawn(serve)) }
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(super) fn words(&self) -> Words {
        self.words.borrow().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Words)) {
        self.words.send_modify(change);
    }

    /// Waits until `seen` is true of what was said.
    pub(super) async fn until(&self, seen: impl Fn(&Words) -> bool) -> Words {
        let mut words = self.words.subscribe();
        let result = tokio::time::timeout(Duration::from_secs(20), words.wait_for(seen)).await;
        match result {
            Ok(words) => words.unwrap().clone(),
            Err(_) => panic!("never came; was said: {:?}", self.words()),
        }
    }

    /// Waits for `more` further heartbeats.
    pub(super) async fn until_beats(&self, more: u32) {
        let enough = self.words.borrow().beats + more;
        self.until(|words| words.beats >= enough).await;
    }
}

async fn heartbeat(
    State(words): State<Arc<watch::Sender<Words>>>,
    Json(heartbeat): Json<Heartbeat>,
) -> Response {
    let mut answer = None;
    words.send_modify(|words| {
        words.hear(heartbeat);
        answer = Some(words.answer());
    });
    answer.unwrap()
}
