//! The main of a plugin in Rust.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::PROTOCOL;
use crate::manifest::StepInfo;
use crate::wire::{
    Describe, Failed, Operation, Outcome, Plan, Progress, Reply, Request, Verdict, Who,
};

/// One step of a plugin.
pub trait Step {
    /// What the manifest says of it.
    fn info(&self) -> StepInfo;

    /// What it would do here, one sentence for each change; changes nothing.
    ///
    /// # Errors
    /// Why it cannot be done here.
    fn plan(&self, request: &Request) -> Result<Vec<String>, Problem>;

    /// Does it.
    ///
    /// # Errors
    /// Why it was not done.
    fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem>;
}

/// Why a step failed: a sentence, who must act, what they should do.
pub type Problem = (String, Failed);

/// How a step went well.
#[derive(Debug, Clone, PartialEq)]
pub enum Success {
    /// The machine is as asked now: a sentence, and evidence.
    Changed(String, Value),
    /// It was before: a sentence, and evidence.
    Unchanged(String, Value),
    /// It must restart first: a sentence, and the state to go on with.
    Reboot(String, Value),
}

/// A plugin in Rust: its name, its version, its steps.
pub struct Plugin<'a> {
    /// As in the manifest.
    pub name: &'a str,
    /// As in the manifest.
    pub version: &'a str,
    /// The steps.
    pub steps: &'a [&'a dyn Step],
}

impl std::fmt::Debug for Plugin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What a running step has at hand.
#[derive(Debug, Clone, Default)]
pub struct Context {
    aborted: Arc<AtomicBool>,
}

impl Context {
    /// Whether the step should stop.
    #[must_use]
    pub fn aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Says how far the step is.
    pub fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        // An agent that no longer listens ends this process; there is nobody to tell.
        say(&Reply::Progress(Progress { done, total, message: message.to_owned() })).ok();
    }
}

/// Answers the one request on standard input.
#[must_use]
pub fn serve(plugin: &Plugin<'_>) -> ExitCode {
    let mut line = String::new();
    let request = io::stdin()
        .lock()
        .read_line(&mut line)
        .and_then(|_| serde_json::from_str::<Request>(&line).map_err(io::Error::other));
    let context = Context::default();
    let answered = request.and_then(|request| {
        if request.op == Operation::Run {
            listen(context.aborted.clone())?;
        }
        say(&answer(plugin, &request, &context))
    });
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{}: {error}", plugin.name).ok();
            ExitCode::FAILURE
        }
    }
}

fn answer(plugin: &Plugin<'_>, request: &Request, context: &Context) -> Reply {
    let step = || {
        let named = |step: &&&dyn Step| step.info().name == request.step;
        plugin.steps.iter().find(named).ok_or_else(|| {
            let remedy = "compare the manifest with the program".to_owned();
            let failed = Failed { who: Who::Plugin, remedy };
            (format!("{} has no step {:?}", plugin.name, request.step), failed)
        })
    };
    match request.op {
        Operation::Describe => Reply::Describe(Describe {
            name: plugin.name.to_owned(),
            version: plugin.version.to_owned(),
            protocol: PROTOCOL,
            steps: plugin.steps.iter().map(|step| step.info()).collect(),
        }),
        Operation::Plan => match step().and_then(|step| step.plan(request)) {
            Ok(actions) => Reply::Plan(Plan { actions }),
            Err(problem) => failed(problem),
        },
        Operation::Run => match step().and_then(|step| step.run(request, context)) {
            Ok(Success::Changed(message, data)) => result(Outcome::Changed, message, data),
            Ok(Success::Unchanged(message, data)) => result(Outcome::Unchanged, message, data),
            Ok(Success::Reboot(message, state)) => {
                result(Outcome::Reboot { state }, message, Value::Null)
            }
            Err(problem) => failed(problem),
        },
        Operation::Abort => failed(("nothing was running".to_owned(), Failed::default())),
    }
}

fn failed((message, failed): Problem) -> Reply {
    result(Outcome::Failed(failed), message, Value::Null)
}

fn result(outcome: Outcome, message: String, data: Value) -> Reply {
    Reply::Result(Verdict { outcome, message, data })
}

fn say(reply: &Reply) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(reply)?)?;
    out.flush()
}

/// Waits beside the step for `{"op":"abort"}`.
fn listen(aborted: Arc<AtomicBool>) -> io::Result<()> {
    let listen = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let abort = |request: Request| request.op == Operation::Abort;
            if serde_json::from_str(&line).is_ok_and(abort) {
                aborted.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::Builder::new().spawn(listen).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Safety;

    struct FakeStep;

    impl Step for FakeStep {
        fn info(&self) -> StepInfo {
            StepInfo {
                name: "greet".to_owned(),
                interface: "deploy".to_owned(),
                priority: 0,
                argsinfo: Default::default(),
                abortable: true,
                safety: Safety::ReadOnly,
            }
        }

        fn plan(&self, request: &Request) -> Result<Vec<String>, Problem> {
            Ok(request.devices.clone())
        }

        fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem> {
            if context.aborted() {
                return Err(("stopped".to_owned(), Failed::default()));
            }
            Ok(Success::Reboot("again".to_owned(), request.state.clone()))
        }
    }

    #[test]
    fn each_operation_of_a_fake_step_has_its_answer() {
        let plugin = Plugin { name: "hello", version: "1.0.0", steps: &[&FakeStep] };
        let ask = |op: &str, step: &str, context: &Context| {
            let request =
                serde_json::json!({"op": op, "step": step, "devices": ["/dev/x"], "state": 7});
            let reply = answer(&plugin, &serde_json::from_value(request).unwrap(), context);
            serde_json::to_string(&reply).unwrap()
        };
        let context = Context::default();
        assert!(ask("describe", "", &context).contains(r#""name":"greet""#));
        assert_eq!(ask("plan", "greet", &context), r#"{"type":"plan","actions":["/dev/x"]}"#);
        let again = r#"{"type":"result","outcome":"reboot","state":7,"message":"again"}"#;
        assert_eq!(ask("run", "greet", &context), again);
        assert!(ask("run", "dance", &context).contains("hello has no step"));
        context.aborted.store(true, Ordering::Relaxed);
        assert!(ask("run", "greet", &context).contains("stopped"));
    }
}
