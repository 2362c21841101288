//! Emergency codes, made on the box.

use serde_json::Value;

use super::desk::Desk;
use super::{on, says};

#[test]
fn emergency_codes_are_printed_once_and_listed_without_what_they_are() {
    let desk = Desk::new();
    assert_eq!(desk.says(&["break-glass", "list"]), "no emergency code was made\n");
    let printed = desk.says(&["break-glass", "new", "--count", "3"]);
    let codes: Vec<(&str, &str)> = printed.lines().filter_map(|line| line.split_once("  ")).collect();
    assert_eq!(codes.len(), 3, "{printed}");
    let one: Value = serde_json::from_str(&desk.says(&["break-glass", "new", "--json"])).unwrap();
    assert!(one["code"].as_str().is_some_and(|code| code.len() == 19), "{one}");
    desk.says(&["break-glass", "revoke", codes[0].1]);
    let listed = desk.says(&["break-glass", "list"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert_eq!(listed.matches("revoked ").count(), 1, "{listed}");
    for (code, id) in &codes {
        assert!(code.len() == 19 && !listed.contains(code) && listed.contains(id), "{listed}");
    }
    assert_eq!(on(&desk.scratch, &desk.data, &["break-glass", "new", "--count", "101"]).code, Some(2));
    let unknown = desk.refuses(&["break-glass", "revoke", "00000000-0000-4000-8000-00000000dead"]);
    says(&unknown, &["there is no emergency code with this id", "[not_done]"]);
}
