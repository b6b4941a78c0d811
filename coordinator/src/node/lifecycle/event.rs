//! What can happen to a node: what operators ask for, and what comes of the work.

/// What an operator may ask for: the targets of `PUT states/provision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the wire text says it")]
pub enum Verb {
    Active,
    Rebuild,
    Deleted,
    Manage,
    Provide,
    Inspect,
    Abort,
    Clean,
    Adopt,
    Rescue,
    Unrescue,
    Service,
    Unhold,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 13] = [
        Self::Active,
        Self::Rebuild,
        Self::Deleted,
        Self::Manage,
        Self::Provide,
        Self::Inspect,
        Self::Abort,
        Self::Clean,
        Self::Adopt,
        Self::Rescue,
        Self::Unrescue,
        Self::Service,
        Self::Unhold,
    ];

    /// The verb of an API target; `deploy` and `undeploy` are the newer names of `active` and `deleted`.
    #[must_use]
    pub fn parse(target: &str) -> Option<Self> {
        match target {
            "deploy" => Some(Self::Active),
            "undeploy" => Some(Self::Deleted),
            _ => Self::ALL.into_iter().find(|verb| verb.text() == target),
        }
    }

    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rebuild => "rebuild",
            Self::Deleted => "deleted",
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Inspect => "inspect",
            Self::Abort => "abort",
            Self::Clean => "clean",
            Self::Adopt => "adopt",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Service => "service",
            Self::Unhold => "unhold",
        }
    }
}

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// An operator asked.
    Asked(Verb),
    /// The machine was started into the ramdisk; its agent is awaited.
    Waiting,
    /// The ramdisk was lost; it is to be booted once more.
    BootAgain,
    /// A `hold` among the steps was reached.
    Held,
    /// The agent finished its order well, or the wait is over for another reason.
    AgentDone,
    /// What a busy state had to do is done.
    Done,
    /// An automated cleaning was proven by the agent's final report.
    Cleaned,
    /// Automated cleaning is switched off, for this node or for all.
    CleaningSkipped,
    /// A cleaning that the operator asked for is done.
    CleanedManually,
    /// It failed.
    Failed,
}

impl Event {
    /// Every event.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut events: Vec<Self> = Verb::ALL.into_iter().map(Self::Asked).collect();
        events.extend([
            Self::Waiting,
            Self::BootAgain,
            Self::Held,
            Self::AgentDone,
            Self::Done,
            Self::Cleaned,
            Self::CleaningSkipped,
            Self::CleanedManually,
            Self::Failed,
        ]);
        events
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked(verb) => f.write_str(verb.text()),
            Self::Waiting => f.write_str("(wait)"),
            Self::BootAgain => f.write_str("(boot again)"),
            Self::Held => f.write_str("(hold)"),
            Self::AgentDone => f.write_str("(agent done)"),
            Self::Done => f.write_str("(done)"),
            Self::Cleaned => f.write_str("(cleaned)"),
            Self::CleaningSkipped => f.write_str("(cleaning skipped)"),
            Self::CleanedManually => f.write_str("(cleaned manually)"),
            Self::Failed => f.write_str("(fail)"),
        }
    }
}
