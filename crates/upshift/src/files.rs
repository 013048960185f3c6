//! Reading the operator's files.

use std::path::Path;

use crate::exit::{Failure, Problem};

/// The text of a file that the operator named; `kind` says what it is to be.
pub fn read_text(path: &Path, kind: &str) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, kind, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Failure::Usage(
            Problem::new(format!("the {kind} is not a text file"))
                .at(path.display())
                .because(format!("byte {byte} is not UTF-8"))
                .next(format!("give the name of a {kind}")),
        )
    })
}

fn unreadable(path: &Path, kind: &str, error: &std::io::Error) -> Failure {
    Failure::Usage(
        Problem::new(format!("cannot read the {kind}"))
            .at(path.display())
            .because(error)
            .next("check the name and its permissions"),
    )
}
