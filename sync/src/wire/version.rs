//! The text form of versions: what is stored beside each row on both sides and sent between them.
//!
//! `vv` and `gone` are `{"7":42}`; a dot is `[replica, seq, hlc]` or `[replica, seq, hlc, "person"]`; `dots` is
//! `{"*":dot, "title":dot, "-":dot}` with `*` for the default and `-` for the delete.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

use crate::merge::clock::{Dot, Hlc};
use crate::merge::ids::{PersonId, ReplicaId};
use crate::merge::vector::Vector;
use crate::merge::version::Dots;

const DEFAULT: &str = "*";
pub(super) const DELETED: &str = "-";

/// A version text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a version record is unreadable: {0}")]
pub struct VersionError(String);

/// A vector in its text form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VectorText(pub Vector);

/// Dots in their text form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotsText(pub Dots);

/// One dot in its text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DotText(pub Dot);

/// Reads a vector.
pub fn parse_vector(text: &str) -> Result<Vector, VersionError> {
    serde_json::from_str::<VectorText>(text).map(|vector| vector.0).map_err(|error| VersionError(error.to_string()))
}

/// Reads dots.
pub fn parse_dots(text: &str) -> Result<Dots, VersionError> {
    serde_json::from_str::<DotsText>(text).map(|dots| dots.0).map_err(|error| VersionError(error.to_string()))
}

/// Writes a vector.
pub fn vector_text(vector: &Vector) -> String {
    let entries: Vec<String> = vector.iter().map(|(replica, seq)| format!("\"{replica}\":{seq}")).collect();
    format!("{{{}}}", entries.join(","))
}

/// Writes dots.
pub fn dots_text(dots: &Dots) -> String {
    let named = dots.named.iter().map(|(register, dot)| (register.as_str(), dot));
    let all = dots.default.iter().map(|dot| (DEFAULT, dot)).chain(dots.deleted.iter().map(|dot| (DELETED, dot)));
    let entries: Vec<String> = all
        .chain(named)
        .map(|(register, dot)| format!("{}:{}", super::canonical::json_string(register), dot_text(dot)))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn dot_text(dot: &Dot) -> String {
    let Dot { replica, seq, hlc, by } = dot;
    match by {
        Some(person) => format!("[{replica},{seq},{},\"{person}\"]", hlc.0),
        None => format!("[{replica},{seq},{}]", hlc.0),
    }
}

impl Serialize for VectorText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(replica, seq)| (replica.0, seq)))
    }
}

impl<'de> Deserialize<'de> for VectorText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::<u32, u64>::deserialize(deserializer)?;
        let bounded = |(replica, seq): (u32, u64)| match i64::try_from(seq) {
            Ok(_) => Ok((ReplicaId(replica), seq)),
            Err(_) => Err(serde::de::Error::custom("a seq beyond 63 bits")),
        };
        entries.into_iter().map(bounded).collect::<Result<Vector, _>>().map(Self)
    }
}

impl Serialize for DotText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Dot { replica, seq, hlc, by } = self.0;
        match by {
            Some(person) => (replica.0, seq, hlc.0, person.0).serialize(serializer),
            None => (replica.0, seq, hlc.0).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DotText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Person(u32, u64, u64, Uuid),
            Program(u32, u64, u64),
        }
        let (replica, seq, hlc, by) = match Form::deserialize(deserializer)? {
            Form::Person(replica, seq, hlc, by) => (replica, seq, hlc, Some(PersonId(by))),
            Form::Program(replica, seq, hlc) => (replica, seq, hlc, None),
        };
        if i64::try_from(seq).is_err() || i64::try_from(hlc).is_err() {
            return Err(serde::de::Error::custom("a dot beyond 63 bits"));
        }
        Ok(Self(Dot { replica: ReplicaId(replica), seq, hlc: Hlc(hlc), by }))
    }
}

impl Serialize for DotsText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let default = self.0.default.iter().map(|dot| (DEFAULT, DotText(*dot)));
        let deleted = self.0.deleted.iter().map(|dot| (DELETED, DotText(*dot)));
        let named = self.0.named.iter().map(|(register, dot)| (register.as_str(), DotText(*dot)));
        serializer.collect_map(default.chain(deleted).chain(named))
    }
}

impl<'de> Deserialize<'de> for DotsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = BTreeMap::<String, DotText>::deserialize(deserializer)?;
        let default = entries.remove(DEFAULT).map(|dot| dot.0);
        let deleted = entries.remove(DELETED).map(|dot| dot.0);
        let named = entries.into_iter().map(|(register, dot)| (register, dot.0)).collect();
        Ok(Self(Dots { default, named, deleted }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_survive_a_round_trip() {
        let text = r#"{"*":[1,2,3],"-":[4,5,6],"metadata.a\"b":[7,8,9,"00000000-0000-0000-0000-00000000000a"]}"#;
        let dots = parse_dots(text).unwrap();
        assert_eq!(dots_text(&dots), text);
        assert_eq!(serde_json::to_string(&DotsText(dots)).unwrap(), text);
    }

    #[test]
    fn numbers_beyond_a_signed_column_are_refused() {
        assert!(parse_vector(r#"{"1":9223372036854775808}"#).is_err());
        assert!(parse_dots(r#"{"*":[1,1,9223372036854775808]}"#).is_err());
        assert!(parse_vector(r#"{"4294967296":1}"#).is_err());
    }
}
