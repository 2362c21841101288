//! What somebody probably meant who wrote a name that there is not.

/// The known name that is nearest to a wrong one, in any case; `None` when none is near: when more than a third of it
/// would have to change.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let edits = |name: &str| strsim::damerau_levenshtein(&wrong, &name.to_lowercase());
    let best = known.into_iter().map(|name| (edits(name), name)).min()?;
    (best.0 <= (wrong.chars().count() / 3).max(1)).then_some(best.1)
}

/// The question to put behind a message about a wrong name; empty when no known one is near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["EDGE_LISTEN", "EDGE_DATA", "EDGE_HUB", "EDGE_LOG"];
        for (wrong, meant) in [
            ("EDGE_LISTN", Some("EDGE_LISTEN")),
            ("edge_dtaa", Some("EDGE_DATA")),
            ("EDGE_HUBS", Some("EDGE_HUB")),
            ("EDGE_SOMETHING_ELSE", None),
            ("x", None),
        ] {
            assert_eq!(nearest(wrong, known), meant, "{wrong}");
        }
        assert_eq!(did_you_mean("lissten", ["listen"]), " (did you mean listen?)");
    }
}
