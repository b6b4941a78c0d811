//! One line of a plugin: read, and its texts made fit for terminals and logs.

use ironwright_plugin::{Outcome, Plan, Reply};

/// Reads a line. `data` and `state` stay as they are: they are only ever written as JSON.
///
/// # Errors
/// Where it is no line of the protocol.
pub(super) fn read(line: &str) -> Result<Reply, serde_json::Error> {
    let mut reply: Reply = serde_json::from_str(line)?;
    match &mut reply {
        // It is compared with the manifest, and where it differs that is escaped as a whole.
        Reply::Describe(_) => {}
        Reply::Plan(Plan { actions }) => {
            actions.iter_mut().for_each(|action| *action = escaped(action));
        }
        Reply::Progress(progress) => progress.message = escaped(&progress.message),
        Reply::Result(verdict) => {
            verdict.message = escaped(&verdict.message);
            if let Outcome::Failed(failed) = &mut verdict.outcome {
                failed.remedy = escaped(&failed.remedy);
            }
        }
    }
    Ok(reply)
}

/// With its control characters written out: they would move a terminal's cursor, or begin a line of the log.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && char != '\t' {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_a_saved_state_is_not() {
        let line = r#"{"type":"result","outcome":"reboot","state":"\u001b","message":"\u001b\u009b\n\tä"}"#;
        let Reply::Result(verdict) = read(line).unwrap() else { panic!("{line}") };
        assert_eq!(verdict.message, "\\u{1b}\\u{9b}\\n\tä");
        assert_eq!(verdict.outcome, Outcome::Reboot { state: "\u{1b}".into() });
        let plan = read(r#"{"type":"plan","actions":["\u0000"]}"#).unwrap();
        assert_eq!(plan, Reply::Plan(Plan { actions: vec!["\\u{0}".to_owned()] }));
    }
}
