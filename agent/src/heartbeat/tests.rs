//! The loop against a scripted coordinator over real HTTP on loopback.

mod server;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use ironwright_api::Blame;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use server::{Server, Words};

/// Carries out orders as the test says: the steps to report, or the end to come to.
#[derive(Default)]
struct Scripted {
    steps: Vec<&'static str>,
    panics: bool,
    /// Orders that run until they are cancelled.
    endless: bool,
    starts: AtomicU32,
    seen: Mutex<HashMap<(Uuid, u32), Vec<String>>>,
    /// Steps, begun or ended, of orders that were given up.
    given_up: Mutex<Vec<Vec<String>>>,
    /// Whoever gives up never comes back.
    hangs: bool,
    ended: Mutex<Option<oneshot::Sender<()>>>,
}

impl Crew for Scripted {
    async fn carry_out(&self, order: Order, desk: OrderDesk) -> Result<(), Failure> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        let done = order.steps.iter().filter(|step| step.ended).map(|step| step.step.clone());
        self.seen.lock().unwrap().insert((order.order_id, order.attempt), done.collect());
        for step in &self.steps {
            let cancelled = |error: Cancelled| failure(step, &error.to_string());
            desk.step_started(step).await.map_err(cancelled)?;
            assert!(!self.panics, "the disk melted");
            desk.progress(5, Some(10));
            if self.endless {
                desk.canceller().cancelled().await;
                return Err(cancelled(Cancelled));
            }
            desk.step_ended(step, None);
        }
        self.ended.lock().unwrap().take().map(|told| told.send(()));
        Ok(())
    }

    async fn give_up(&self, order: &Order, failure: Failure) -> Failure {
        let steps = order.steps.iter().map(|step| step.step.clone()).collect();
        self.given_up.lock().unwrap().push(steps);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Failure { message: format!("{}; given up", failure.message), ..failure }
    }

    fn inventory(&self) -> serde_json::Value {
        serde_json::json!({"cpu": {"count": 2}})
    }
}

fn failure(step: &str, message: &str) -> Failure {
    Failure {
        step: step.to_owned(),
        message: message.to_owned(),
        remedy: String::new(),
        blame: Blame::Order,
    }
}

fn order(attempt: u32) -> Order {
    Order {
        order_id: Uuid::from_u128(7),
        attempt,
        work: Work::Inspect,
        steps: Vec::new(),
        raid: None,
    }
}

struct Agent {
    crew: Arc<Scripted>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(server: &Server, dir: &std::path::Path, crew: Scripted) -> Self {
        let client = crate::tls::coordinator_client(None, Duration::from_secs(5)).unwrap();
        let coordinator = Coordinator::new(client, vec![server.url()], None);
        let journal = Arc::new(Journal::open(dir, None).unwrap());
        let session =
            Session { node: Uuid::nil(), token: "t".into(), interval_ms: 20, conductor: None };
        let (crew, stop) = (Arc::new(crew), CancellationToken::new());
        let wait = Duration::from_millis(2);
        let heart = Heart::new(
            coordinator,
            session,
            journal,
            crew.clone(),
            LogTail::default(),
            Stages::default(),
        )
        .with_pace(Pace { interval: Duration::from_millis(20), failure: wait..=wait });
        let task = tokio::spawn(heart.run(stop.clone()));
        Self { crew, stop, task }
    }

    async fn stop(self) -> Arc<Scripted> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.crew
    }

    /// As SIGKILL would: nothing is said or written any more.
    async fn kill(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }
}

fn steps(steps: &[&'static str]) -> Scripted {
    Scripted { steps: steps.to_vec(), ..Scripted::default() }
}

#[tokio::test]
async fn an_order_is_carried_out_step_by_step_and_its_end_is_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let agent = Agent::start(&server, dir.path(), steps(&["write_image", "commit"]));
    server.until(|words| words.finished()).await;
    server.until_beats(3).await;
    let words = server.words();
    assert_eq!(
        words.events(),
        ["start write_image", "end write_image", "start commit", "end commit", "finished"]
    );
    assert_eq!(agent.stop().await.starts.load(Ordering::SeqCst), 1);
    assert_eq!(words.inventories, 1, "the inventory goes with the first heartbeat only");
}

#[tokio::test]
async fn nothing_changes_before_the_start_of_a_step_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    server.change(|words| words.deaf = true);
    let agent = Agent::start(&server, dir.path(), steps(&["write_image"]));
    server.until(|words| words.repeats >= 3).await;
    assert_eq!(server.words().events(), ["start write_image"], "it went on unacknowledged");
    server.change(|words| words.deaf = false);
    server.until(|words| words.finished()).await;
    agent.stop().await;
}

#[tokio::test]
async fn lost_answers_server_errors_and_nonsense_neither_end_the_loop_nor_lose_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    server.change(|words| words.bad_answers = vec![500, 409, 200, 202, 503, 400]);
    let agent = Agent::start(&server, dir.path(), steps(&["write_image", "commit"]));
    server.until(|words| words.bad_answers.is_empty() && words.finished()).await;
    let words = server.words();
    assert_eq!(
        words.events(),
        ["start write_image", "end write_image", "start commit", "end commit", "finished"]
    );
    assert_eq!(agent.stop().await.starts.load(Ordering::SeqCst), 1, "the order was begun twice");
}

#[tokio::test]
async fn the_final_report_is_repeated_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let agent = Agent::start(&server, dir.path(), steps(&[]));
    server.change(|words| words.deaf = true);
    server.until(|words| words.repeats >= 3 && words.finished()).await;
    server.change(|words| words.deaf = false);
    let before = server.until(|words| words.last_reports == 0).await;
    assert!(before.repeats >= 3);
    agent.stop().await;
}

#[tokio::test]
async fn a_panic_becomes_a_failure_and_the_heart_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let crew = Scripted { panics: true, ..steps(&["write_image"]) };
    let agent = Agent::start(&server, dir.path(), crew);
    let words = server.until(Words::failed).await;
    let failure = words.failure().unwrap();
    assert_eq!(failure.step, "write_image");
    assert!(failure.message.contains("the disk melted"), "{failure:?}");
    assert_eq!(failure.blame, Blame::Internal);
    server.until_beats(3).await;
    let crew = agent.stop().await;
    assert_eq!(*crew.given_up.lock().unwrap(), [["write_image"]]);
}

#[tokio::test]
async fn a_cancelled_order_fails_with_that_word() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let crew = Scripted { endless: true, ..steps(&["write_image"]) };
    let agent = Agent::start(&server, dir.path(), crew);
    server.until(|words| words.progress_bytes == 5).await;
    server.change(|words| words.cancel = Some(order(1).order_id));
    let words = server.until(Words::failed).await;
    let failure = words.failure().unwrap();
    assert!(failure.message.contains("cancelled"), "{failure:?}");
    assert!(failure.message.ends_with("; given up"), "{failure:?}");
    let crew = agent.stop().await;
    assert_eq!(*crew.given_up.lock().unwrap(), [["write_image"]]);
}

#[tokio::test]
async fn an_order_cancelled_as_it_arrives_is_answered_without_beginning_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    server.change(|words| words.cancel = Some(order(1).order_id));
    let agent = Agent::start(&server, dir.path(), steps(&["write_image"]));
    let words = server.until(Words::failed).await;
    assert_eq!(words.events(), ["failed"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_new_attempt_stops_the_old_one_which_is_not_reported_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let crew = Scripted { endless: true, ..steps(&["write_image"]) };
    let agent = Agent::start(&server, dir.path(), crew);
    server.until(|words| words.progress_bytes == 5).await;
    server.change(|words| words.order = Some(order(2)));
    let words = server.until(|words| words.reports.iter().any(|report| report.attempt == 2)).await;
    assert!(!words.failed());
    server.change(|words| words.order = Some(order(1)));
    server.until_beats(2).await;
    let crew = agent.stop().await;
    assert_eq!(crew.starts.load(Ordering::SeqCst), 2, "an older attempt came back");
}

#[tokio::test]
async fn a_restarted_agent_goes_on_with_the_order_and_knows_the_steps_done() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let crew = Scripted { endless: true, ..steps(&["write_image"]) };
    let first = Agent::start(&server, dir.path(), crew);
    server.until(|words| words.progress_bytes == 5).await;
    first.kill().await;

    let second = Agent::start(&server, dir.path(), steps(&["write_image", "commit"]));
    server.until(|words| words.finished()).await;
    let crew = second.stop().await;
    assert_eq!(crew.seen.lock().unwrap().values().next().unwrap().len(), 0);

    server.change(|words| words.order = Some(order(1)));
    let third = Agent::start(&server, dir.path(), steps(&["write_image"]));
    server.until_beats(3).await;
    assert_eq!(
        third.stop().await.starts.load(Ordering::SeqCst),
        0,
        "an answered order began again"
    );
    let seqs: Vec<u64> = server.words().reports.iter().map(|report| report.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "numbers go on over restarts");
}

#[tokio::test]
async fn an_order_that_kills_the_agent_again_and_again_is_failed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    for start in 1..=MAX_STARTS {
        server.change(|words| words.progress_bytes = 0);
        let crew = Scripted { endless: true, ..steps(&["write_image"]) };
        let agent = Agent::start(&server, dir.path(), crew);
        server.until(|words| words.progress_bytes == 5).await;
        assert!(!server.words().failed(), "start {start}");
        agent.kill().await;
    }
    let last = Agent::start(&server, dir.path(), steps(&["write_image"]));
    let failure = server.until(Words::failed).await.failure().unwrap();
    assert!(failure.message.contains("died 3 times"), "{failure:?}");
    assert!(failure.message.ends_with("; given up"), "{failure:?}");
    assert_eq!(failure.step, "write_image");
    let crew = last.stop().await;
    assert_eq!(crew.starts.load(Ordering::SeqCst), 0);
    assert_eq!(crew.given_up.lock().unwrap()[0][0], "write_image");
}

#[tokio::test]
async fn an_agent_that_dies_giving_an_order_up_tells_the_failure_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), None).unwrap();
    for _ in 0..MAX_STARTS {
        journal.begin(order(1).order_id, 1);
    }
    drop(journal);
    let server = Server::start(Some(order(1))).await;
    let agent = Agent::start(&server, dir.path(), Scripted { hangs: true, ..steps(&[]) });
    let crew = agent.crew.clone();
    while crew.given_up.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!server.words().failed());
    agent.kill().await;
    let last = Agent::start(&server, dir.path(), steps(&[]));
    let failure = server.until(Words::failed).await.failure().unwrap();
    assert!(failure.message.contains("died 4 times"), "{failure:?}");
    assert!(last.stop().await.given_up.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stopped_agent_ends_its_worker_and_leaves_the_order_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Some(order(1))).await;
    let crew = Scripted { endless: true, ..steps(&["write_image"]) };
    let agent = Agent::start(&server, dir.path(), crew);
    server.until(|words| words.progress_bytes == 5).await;
    agent.stop().await;
    assert!(!Journal::open(dir.path(), None).unwrap().current().unwrap().settled);
}
