//! The profiles that are part of the program.

/// File names and texts of the profiles that are part of the program, in the order of their names.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &[]
}
