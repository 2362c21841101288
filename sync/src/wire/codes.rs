//! Stable codes of errors, each with when it comes and what to do: `docs/errors.md` is printed from them.
//!
//! A boundary has one table. A code is taken out of its table by name when the program is compiled, so none can be
//! answered that is not listed.

/// A stable code of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// The code.
    pub code: &'static str,
    /// The status it comes with: of HTTP, or of the process that ends. 0 where there is none.
    pub status: u16,
    /// When it comes.
    pub when: &'static str,
    /// What to do.
    pub what_to_do: &'static str,
}

impl ErrorCode {
    /// A line of a table.
    pub const fn new(code: &'static str, status: u16, when: &'static str, what_to_do: &'static str) -> Self {
        Self { code, status, when, what_to_do }
    }
}

/// The line of a table for a code. To be used in constants, where a missing one is an error of the compiler.
///
/// # Panics
/// When the table lacks the code.
pub const fn listed(table: &'static [ErrorCode], code: &str) -> &'static ErrorCode {
    let mut index = 0;
    while index < table.len() {
        if same(table[index].code, code) {
            return &table[index];
        }
        index += 1;
    }
    panic!("the table of codes lacks this one")
}

/// Whether two texts are equal. Comparing texts with `==` is not possible in constants.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_whole_name() {
        const TABLE: &[ErrorCode] = &[ErrorCode::new("fence", 409, "", ""), ErrorCode::new("fen", 1, "", "")];
        assert_eq!((listed(TABLE, "fen").status, listed(TABLE, "fence").status), (1, 409));
    }
}
