//! Completions, man pages and the reference of all commands, generated from the command line itself.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Cli, EXIT_STATUSES};
use crate::exit::{Exit, Failure};
use crate::output::Printer;

/// `upshift completions`.
pub fn completions(shell: Shell) -> Result<Exit, Failure> {
    clap_complete::generate(shell, &mut Cli::full(), "upshift", &mut std::io::stdout());
    Ok(Exit::Done)
}

/// `upshift man`: one page per command.
pub fn man_pages(directory: &Path, printer: Printer) -> Result<Exit, Failure> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    clap_mangen::generate_to(Cli::full(), directory)
        .with_context(|| format!("cannot write man pages into {}", directory.display()))?;
    printer.note(&format!("man pages written into {}", directory.display()));
    Ok(Exit::Done)
}

/// `upshift reference`: `docs/commands.md` is its output.
pub fn reference(printer: Printer) -> Result<Exit, Failure> {
    printer.text(&reference_text())?;
    Ok(Exit::Done)
}

/// The help of every command, as Markdown.
pub fn reference_text() -> String {
    let mut text = String::from(
        "# Every command\n\nThe help pages of `upshift`, as `upshift --help` and `upshift COMMAND --help` print them. \
         The options that every command takes are listed once, in the first page.\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    page(&mut root, &mut text, true);
    text.push_str(&format!(
        "\nEvery command ends with one of these:\n\n```text\n{EXIT_STATUSES}\n```\n"
    ));
    text
}

fn page(command: &mut clap::Command, text: &mut String, first: bool) {
    let mut shown = command.clone().color(clap::ColorChoice::Never);
    if !first {
        let global: Vec<clap::Id> = shown
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|a| a.get_id().clone())
            .collect();
        for id in global {
            shown = shown.mut_arg(id, |argument| argument.hide(true));
        }
    }
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = shown.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    ));
    for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set()) {
        page(child, text, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::full().debug_assert();
    }

    #[test]
    fn the_printed_reference_is_the_current_one() {
        let printed = include_str!("../../../../docs/commands.md");
        assert!(
            printed.trim_end() == reference_text().trim_end(),
            "docs/commands.md is out of date: cargo run -- reference > docs/commands.md"
        );
    }

    #[test]
    fn every_command_gives_examples() {
        fn without(command: &clap::Command, names: &mut Vec<String>) {
            for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
                let help = child
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if !help.contains("Examples:") {
                    names.push(child.get_name().to_owned());
                }
                without(child, names);
            }
        }
        let mut names = Vec::new();
        without(&Cli::full(), &mut names);
        assert_eq!(names, Vec::<String>::new());
    }
}
