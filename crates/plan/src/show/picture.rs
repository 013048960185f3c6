//! The phases per server as a picture: text and SVG.
//!
//! A row per server in the order in which they are taken, a column per phase. What disturbs a server is filled.

use std::fmt::Write;

use super::strategy_word;
use crate::types::{Hop, NodeIndex, Plan};

/// More servers than this are left out of the middle of the picture.
const ROWS: usize = 24;
/// More windows than this are shown as one column.
const COLUMNS: usize = 24;

/// What happens to a server in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Nothing,
    Beside,
    Disturbed,
    Watched,
}

/// One column.
struct Column {
    heading: String,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    Prepare,
    Protect(usize),
    Window(usize, usize),
    AllWindows(usize),
    Soak,
}

/// One row; without a server it stands for those left out.
struct Line {
    name: String,
    node: Option<NodeIndex>,
}

/// The picture as text.
pub fn picture(plan: &Plan) -> String {
    let (columns, lines) = (columns(plan), lines(plan));
    let widest = lines
        .iter()
        .map(|line| line.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    let mut heading = " ".repeat(widest);
    for column in &columns {
        let _ = write!(heading, "  {}", column.heading);
    }
    let _ = writeln!(out, "{}", heading.trim_end());
    for line in &lines {
        let mut text = format!("{:<widest$}", line.name);
        for column in &columns {
            let width = column.heading.chars().count();
            let fill = match mark(plan, line.node, column.phase) {
                Mark::Nothing if line.node.is_none() => " ",
                Mark::Nothing => "·",
                Mark::Beside => "░",
                Mark::Disturbed => "█",
                Mark::Watched => "~",
            };
            let _ = write!(text, "  {}", fill.repeat(width));
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    let _ = writeln!(
        out,
        "░ beside what serves   █ disturbed   ~ watched   · untouched"
    );
    out
}

/// The picture as a scalable drawing.
pub fn svg(plan: &Plan) -> String {
    const ROW: usize = 22;
    const TOP: usize = 44;
    const CHARACTER: usize = 8;
    let (columns, lines) = (columns(plan), lines(plan));
    let left = 16
        + CHARACTER
            * lines
                .iter()
                .map(|line| line.name.chars().count())
                .max()
                .unwrap_or(0);
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| 12 + CHARACTER * column.heading.chars().count())
        .collect();
    let (width, height) = (
        left + widths.iter().sum::<usize>() + 8,
        TOP + ROW * lines.len() + 34,
    );
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"13\">"
    );
    let _ = writeln!(
        out,
        "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"
    );
    let title = format!("{} on {}", plan.title, plan.fleet);
    let _ = writeln!(
        out,
        "<text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>",
        escaped(&title)
    );
    let mut x = left;
    for (column, width) in columns.iter().zip(&widths) {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"36\">{}</text>",
            x + 6,
            escaped(&column.heading)
        );
        for (row, line) in lines.iter().enumerate().filter(|(_, line)| line.node.is_some()) {
            let (fill, words) = match mark(plan, line.node, column.phase) {
                Mark::Nothing => ("#eeeeee", "untouched"),
                Mark::Beside => ("#9ecae1", "beside what serves"),
                Mark::Disturbed => ("#d94801", "disturbed"),
                Mark::Watched => ("#a1d99b", "watched"),
            };
            let _ = writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\" fill=\"{fill}\"><title>{}: {}, {words}</title></rect>",
                x + 2,
                TOP + row * ROW + 2,
                width - 4,
                ROW - 4,
                escaped(&line.name),
                escaped(&column.heading)
            );
        }
        x += width;
    }
    for (row, line) in lines.iter().enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{}\">{}</text>",
            TOP + row * ROW + 16,
            escaped(&line.name)
        );
    }
    let legend = "blue: beside what serves · orange: disturbed · green: watched · grey: untouched";
    let _ = writeln!(
        out,
        "<text x=\"8\" y=\"{}\" fill=\"#555555\">{legend}</text>",
        height - 12
    );
    out.push_str("</svg>\n");
    out
}

fn columns(plan: &Plan) -> Vec<Column> {
    let column = |heading: String, phase| Column { heading, phase };
    let mut columns = vec![column("prepare".to_owned(), Phase::Prepare)];
    for (position, hop) in plan.hops.iter().enumerate() {
        columns.push(column(format!("protect {}", hop.to), Phase::Protect(position)));
        let total = hop.windows.len();
        if total > COLUMNS {
            columns.push(column(format!("{total} windows"), Phase::AllWindows(position)));
        } else {
            columns.extend(
                (0..total).map(|window| column(window_heading(hop, window), Phase::Window(position, window))),
            );
        }
        columns.push(column("soak".to_owned(), Phase::Soak));
    }
    columns
}

fn window_heading(hop: &Hop, window: usize) -> String {
    let crossing = hop
        .no_return
        .as_ref()
        .is_some_and(|point| point.window as usize == window);
    let mark = if crossing { "!" } else { "" };
    match hop.windows.len() {
        1 => format!("{}{mark}", strategy_word(hop.strategy)),
        _ => format!("w{}{mark}", window + 1),
    }
}

fn lines(plan: &Plan) -> Vec<Line> {
    let mut order: Vec<NodeIndex> = Vec::with_capacity(plan.nodes.len());
    let mut listed = vec![false; plan.nodes.len()];
    let taken = plan
        .hops
        .iter()
        .flat_map(|hop| &hop.windows)
        .flat_map(|window| &window.nodes)
        .copied();
    for node in taken.chain((0..plan.nodes.len() as u32).map(NodeIndex)) {
        if !std::mem::replace(&mut listed[node.0 as usize], true) {
            order.push(node);
        }
    }
    let line = |node: &NodeIndex| {
        let leader = if plan.node(*node).leader { " (leader)" } else { "" };
        Line {
            name: format!("{}{leader}", plan.node(*node).name),
            node: Some(*node),
        }
    };
    if order.len() <= ROWS {
        return order.iter().map(line).collect();
    }
    let left_out = order.len() - ROWS + 1;
    let mut lines: Vec<Line> = order.iter().take(ROWS - 5).map(line).collect();
    lines.push(Line {
        name: format!("… {left_out} more …"),
        node: None,
    });
    lines.extend(order.iter().skip(order.len() - 4).map(line));
    lines
}

fn mark(plan: &Plan, node: Option<NodeIndex>, phase: Phase) -> Mark {
    let Some(node) = node else { return Mark::Nothing };
    let touched = |groups: &[crate::types::Group]| {
        groups
            .iter()
            .flat_map(|group| &group.steps)
            .any(|step| step.node == node)
    };
    let disturbed = |hop: &Hop| match hop.strategy {
        upshift_model::profile::Strategy::Hot => Mark::Beside,
        _ => Mark::Disturbed,
    };
    match phase {
        Phase::Prepare if touched(&plan.prepare) => Mark::Beside,
        Phase::Protect(hop) if touched(&plan.hops[hop].protect) => Mark::Beside,
        Phase::Window(hop, window) if plan.hops[hop].windows[window].nodes.contains(&node) => {
            disturbed(&plan.hops[hop])
        }
        Phase::AllWindows(hop)
            if plan.hops[hop]
                .windows
                .iter()
                .any(|window| window.nodes.contains(&node)) =>
        {
            disturbed(&plan.hops[hop])
        }
        Phase::Soak => Mark::Watched,
        _ => Mark::Nothing,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
