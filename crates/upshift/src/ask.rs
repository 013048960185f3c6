//! Questions to the operator.

use std::io::{BufRead, Write};

use crate::exit::{Failure, Problem};
use crate::output::Printer;

/// What is to be confirmed, and which option answers it where there is no terminal.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What will happen, as a question.
    pub text: &'a str,
    /// What must be typed. `y` takes `yes` as well; `yes` takes nothing shorter.
    pub answer: &'a str,
    /// The option that says so beforehand.
    pub option: &'a str,
}

/// Asks, unless it was answered beforehand. Anything but the answer is a refusal, and nothing has been changed.
pub fn confirm(question: Question<'_>, beforehand: bool, printer: Printer) -> Result<(), Failure> {
    if beforehand {
        return Ok(());
    }
    if !printer.can_ask() {
        return Err(Failure::Refused(
            Problem::new("confirmation required, but there is no terminal")
                .because(question.text)
                .next(format!("run it in a terminal, or pass {}", question.option)),
        ));
    }
    let typed = ask(question)?;
    if accepts(question.answer, &typed) {
        return Ok(());
    }
    Err(Failure::Refused(Problem::new("not confirmed").next(format!(
        "type `{}` when asked, or pass {}",
        question.answer, question.option
    ))))
}

fn ask(question: Question<'_>) -> Result<String, Failure> {
    let mut errors = anstream::stderr().lock();
    write!(errors, "{} Type `{}` to go on: ", question.text, question.answer)?;
    errors.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

fn accepts(answer: &str, typed: &str) -> bool {
    let typed = typed.trim().to_lowercase();
    typed == answer || (answer == "y" && typed == "yes")
}

#[cfg(test)]
mod tests {
    use super::accepts;

    #[test]
    fn a_point_of_no_return_takes_the_whole_word() {
        assert!(accepts("yes", "yes\n"));
        assert!(accepts("yes", " YES "));
        assert!(!accepts("yes", "y"));
        assert!(accepts("y", "y\n"));
        assert!(accepts("y", "yes"));
        assert!(!accepts("y", ""));
        assert!(!accepts("y", "n"));
    }
}
