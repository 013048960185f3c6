//! What happened on which host, for people: the transcript of a simulated run.

use std::fmt::Write as _;

/// How much is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing: thousands of seeds are run for their verdict alone.
    #[default]
    Silent,
    /// What an operator would tell another: orders, what servers did, faults, decisions, outcomes.
    Story,
    /// Every message and every look as well.
    Everything,
}

/// The transcript.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    level: Level,
    lines: Vec<(u64, String, String)>,
}

impl Trace {
    /// An empty transcript.
    pub fn new(level: Level) -> Self {
        Trace {
            level,
            lines: Vec::new(),
        }
    }

    /// Writes down what a person should read. The text is only made where it is kept.
    pub fn tell(&mut self, at: u64, place: &str, text: impl FnOnce() -> String) {
        self.write(Level::Story, at, place, text);
    }

    /// Writes down a detail.
    pub fn detail(&mut self, at: u64, place: &str, text: impl FnOnce() -> String) {
        self.write(Level::Everything, at, place, text);
    }

    fn write(&mut self, level: Level, at: u64, place: &str, text: impl FnOnce() -> String) {
        if self.level >= level {
            self.lines.push((at, place.to_owned(), text()));
        }
    }

    /// The transcript as text: time in seconds, place, what happened.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (at, place, line) in &self.lines {
            let (seconds, millis) = (at / 1000, at % 1000);
            let _ = writeln!(text, "{seconds:>5}.{millis:03}  {place:<11} {line}");
        }
        text
    }
}

/// An action in a few words, with what it is about.
pub fn describe(action: &upshift_model::action::Action) -> String {
    use upshift_model::action::Action;
    let word = action.word();
    match action {
        Action::Distribute(artifact) => format!("{word} {}", artifact.file_name),
        Action::Unpack(unpack) => format!("{word} {}", unpack.artifact.file_name),
        Action::Switch(switch) => format!("{word} to {}", switch.release),
        Action::Command(command) => command.argv.join(" "),
        Action::Relink(relink) => format!("{word} {} to {}", relink.link, relink.target),
        Action::ArmGuard(recipe) => format!("{word} for {} and {}", recipe.lease, recipe.stagger),
        _ => word.to_owned(),
    }
}
