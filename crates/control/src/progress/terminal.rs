//! Lines that move, for people at a terminal: one per server, with the current step, the time it has taken and has left, and
//! what it waits for. What is over scrolls away above as plain lines; what matters now stays.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use upshift_model::Millis;
use upshift_run::{NodeView, Outcome, Pause, State, View};
use upshift_wire::session::LinkState;

use super::changes::{Change, Changes};
use super::lines::sentence;
use super::{Progress, readable};
use crate::runner::Ended;

/// The most servers that have a line of their own; of more, those have one that are being worked on.
const MOST_LINES: usize = 24;
/// How often the screen is drawn at most, per second.
const FRAMES: u8 = 15;

/// Shows a run at a terminal.
pub struct Terminal {
    screen: MultiProgress,
    head: ProgressBar,
    lines: BTreeMap<String, ProgressBar>,
    changes: Changes,
    /// The last look, and when that was in the run's time.
    seen: Option<View>,
    trouble: BTreeMap<String, String>,
    transfers: BTreeMap<String, (u64, u64)>,
    width: usize,
    /// Whether colours are welcome: see <https://no-color.org>.
    colours: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        Terminal::new()
    }
}

impl Terminal {
    /// On standard error.
    pub fn new() -> Self {
        Terminal::on(ProgressDrawTarget::stderr_with_hz(FRAMES))
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let screen = MultiProgress::with_draw_target(target);
        let head = screen.add(ProgressBar::no_length().with_style(plain()));
        Terminal {
            screen,
            head,
            lines: BTreeMap::new(),
            changes: Changes::new(),
            seen: None,
            trouble: BTreeMap::new(),
            transfers: BTreeMap::new(),
            width: 0,
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colours {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn draw(&mut self, now: Millis) {
        let Some(view) = self.seen.clone() else { return };
        let later = now.minus(view.elapsed);
        self.head
            .set_message(self.paint(Style::new().bold(), &headline(&view, now)));
        self.width = view
            .nodes
            .iter()
            .map(|node| node.name.chars().count())
            .max()
            .unwrap_or(0);
        let many = view.nodes.len() > MOST_LINES;
        let mut shown = 0;
        for node in &view.nodes {
            let wanted = shown < MOST_LINES && (!many || node.step.is_some());
            if !wanted {
                if let Some(line) = self.lines.remove(&node.name) {
                    line.finish_and_clear();
                }
                continue;
            }
            shown += 1;
            let trouble = self.trouble.get(&node.name);
            let transfer = self.transfers.get(&node.name).copied();
            let text = node_line(node, self.width, later, trouble.map(String::as_str), transfer);
            let text = match (trouble.is_some(), node.done) {
                (true, _) => self.paint(AnsiColor::Yellow.on_default(), &text),
                (false, true) => self.paint(AnsiColor::Green.on_default(), &text),
                (false, false) => text,
            };
            let screen = &self.screen;
            self.lines
                .entry(node.name.clone())
                .or_insert_with(|| screen.add(ProgressBar::no_length().with_style(plain())))
                .set_message(text);
        }
    }
}

impl Progress for Terminal {
    fn view(&mut self, view: &View, state: &State) {
        for change in self.changes.since(view, state) {
            if let Change::Ended { host, .. } = &change {
                self.transfers.remove(host);
            }
            let passing = matches!(change, Change::Began { .. } | Change::Waiting { .. });
            if let Some(text) = sentence(&change).filter(|_| !passing) {
                // Where the terminal is gone, the run goes on.
                let line = format!("[{:>6}] {text}", readable(view.elapsed));
                let _gone = self.screen.println(self.paint(style_of(&change), &line));
            }
        }
        self.seen = Some(view.clone());
        self.draw(view.elapsed);
    }

    fn tick(&mut self, now: Millis) {
        self.draw(now);
    }

    fn transfer(&mut self, host: &str, received: u64, size: u64) {
        self.transfers.insert(host.to_owned(), (received, size));
    }

    fn link(&mut self, host: &str, state: &LinkState) {
        match state {
            LinkState::Failing(error) => {
                self.trouble.insert(host.to_owned(), error.to_string());
            }
            LinkState::Connected | LinkState::Idle => {
                self.trouble.remove(host);
            }
        }
    }

    fn ended(&mut self, _: &Ended, _: &State) {
        for line in self.lines.values() {
            line.finish_and_clear();
        }
        self.head.finish_and_clear();
    }
}

/// What must be noticed is red, what is good green, what tells parts apart bold.
fn style_of(change: &Change) -> Style {
    match change {
        Change::Ended { result, .. } if result == "failed" => AnsiColor::Red.on_default(),
        Change::RollingBack { .. } | Change::InDoubt { in_doubt: true } | Change::Again { .. } => {
            AnsiColor::Yellow.on_default()
        }
        Change::Outcome {
            outcome: Outcome::Upgraded | Outcome::Finalized | Outcome::Prepared,
        } => AnsiColor::Green.on_default().bold(),
        Change::Outcome { .. } => AnsiColor::Red.on_default().bold(),
        Change::Phase { .. } => Style::new().bold(),
        _ => Style::new(),
    }
}

/// A line that is nothing but its text, cut where the terminal ends.
fn plain() -> ProgressStyle {
    // The template is constant and valid; without it the default would show.
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn headline(view: &View, now: Millis) -> String {
    let (done, all) = view.progress;
    let pause = match view.pause {
        Pause::No => "",
        Pause::Asked => " · pausing at the next safe point",
        Pause::Reached => " · paused",
    };
    let doubt = if view.in_doubt { " · in doubt" } else { "" };
    let why = view
        .why
        .iter()
        .find(|why| why.host.is_none())
        .map(|why| format!(" · {}", why.what))
        .unwrap_or_default();
    format!(
        "{} {} → {} · {} · {done}/{all} steps · {}{pause}{doubt}{why}",
        view.product,
        view.from,
        view.to,
        view.phase,
        readable(now)
    )
}

/// The line of a server; `later` is the time since it was looked at.
fn node_line(
    node: &NodeView,
    width: usize,
    later: Millis,
    trouble: Option<&str>,
    transfer: Option<(u64, u64)>,
) -> String {
    let mark = if node.done {
        '✓'
    } else if node.step.is_some() {
        '▸'
    } else {
        '·'
    };
    let mut text = format!("  {mark} {:<width$}  {:<10}", node.name, node.version);
    if let Some(step) = &node.step {
        let since = readable(step.since.plus(later));
        let left = readable(step.remaining.minus(later));
        text.push_str(&format!(" {} · {since}, {left} left", step.title));
        if let Some((received, size)) = transfer.filter(|(received, size)| received < size) {
            let share = received.saturating_mul(100) / size.max(1);
            text.push_str(&format!(" · {share}% of {} MB", size / 1_000_000));
        } else if !step.waiting.is_empty() {
            text.push_str(&format!(" · {}", step.waiting));
        }
    } else if let Some(disturbed) = node.disturbed.filter(|_| node.done) {
        text.push_str(&format!(" done, disturbed for {}", readable(disturbed)));
    }
    if let Some(trouble) = trouble {
        text.push_str(&format!(" · {trouble}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use upshift_plan::StepId;
    use upshift_run::{StepView, Why};

    fn node(name: &str, step: Option<StepView>) -> NodeView {
        NodeView {
            name: name.to_owned(),
            version: "3.4.23".to_owned(),
            step,
            guard: None,
            disturbed: Some(Millis(1400)),
            done: false,
        }
    }

    fn step(waiting: &str) -> StepView {
        StepView {
            id: StepId(7),
            title: "start etcd 3.5.30".to_owned(),
            stage: "proving".to_owned(),
            since: Millis(2100),
            remaining: Millis(57_900),
            waiting: waiting.to_owned(),
            attempt: 1,
        }
    }

    fn view() -> View {
        View {
            run: "r".to_owned(),
            product: "etcd".to_owned(),
            from: "3.4.23".to_owned(),
            to: "3.5.30".to_owned(),
            elapsed: Millis(12_300),
            phase: "window 2 of 3 (3.4.23 → 3.5.30)".to_owned(),
            rolling_back: false,
            pause: Pause::Asked,
            in_doubt: false,
            nodes: Vec::new(),
            why: vec![Why {
                host: None,
                what: "soaking".to_owned(),
                since: Millis::ZERO,
                remaining: None,
            }],
            outcome: None,
            progress: (14, 40),
        }
    }

    #[test]
    fn the_head_says_where_the_run_is() {
        insta::assert_snapshot!(headline(&view(), Millis(12_300)), @"etcd 3.4.23 → 3.5.30 · window 2 of 3 (3.4.23 → 3.5.30) · 14/40 steps · 12.3s · pausing at the next safe point · soaking");
    }

    #[test]
    fn a_servers_line_says_what_it_does_and_what_it_waits_for() {
        let lines = [
            node_line(&node("n1", None), 4, Millis::ZERO, None, None),
            node_line(
                &NodeView {
                    done: true,
                    ..node("n1", None)
                },
                4,
                Millis::ZERO,
                None,
                None,
            ),
            node_line(
                &node("n1", Some(step("n1 is not healthy yet"))),
                4,
                Millis(400),
                None,
                None,
            ),
            node_line(
                &node("n1", Some(step("x"))),
                4,
                Millis::ZERO,
                None,
                Some((50_000_000, 200_000_000)),
            ),
            node_line(
                &node("n1", Some(step(""))),
                4,
                Millis::ZERO,
                Some("n1 cannot be reached: No route to host"),
                None,
            ),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
          · n1    3.4.23    
          ✓ n1    3.4.23     done, disturbed for 1.4s
          ▸ n1    3.4.23     start etcd 3.5.30 · 2.5s, 57.5s left · n1 is not healthy yet
          ▸ n1    3.4.23     start etcd 3.5.30 · 2.1s, 57.9s left · 25% of 200 MB
          ▸ n1    3.4.23     start etcd 3.5.30 · 2.1s, 57.9s left · n1 cannot be reached: No route to host
        ");
    }
}
