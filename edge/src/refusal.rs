//! Why the edge does not do what a person asked for.
//!
//! API and pages alike turn a refusal into words; nothing here knows HTTP.

use sync::sqlite::error::StoreError;
use sync::sqlite::records::Record;
use thiserror::Error;

/// Why the edge does not do what a person asked for. Nothing was changed.
#[derive(Debug, Error)]
pub enum Refusal {
    /// There is no such thing in this tenant.
    #[error("there is no {0} with this id")]
    NotFound(&'static str),
    /// The person's role or sites do not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// A value cannot be taken.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field; below another one with a slash between them.
        field: String,
        /// What kind of mistake it is.
        mistake: Mistake,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// Another device of the tenant has the serial number.
    #[error("serial_number: {serial_number:?} is the number of {holder:?} already")]
    SerialNumberTaken {
        /// The number.
        serial_number: String,
        /// The other device's name.
        holder: String,
    },
    /// The row is not as the person last saw it.
    #[error("the {what} was changed since you read it: look at the current one and decide again")]
    Changed {
        /// What kind of row.
        what: &'static str,
        /// The row as it is now.
        current: Box<Record>,
    },
    /// One of several operations was refused, and so none was done.
    #[error("operation {index}: {refusal}")]
    InBatch {
        /// Which one, counted from 0.
        index: usize,
        /// Why.
        refusal: Box<Self>,
    },
    /// The key of a request that may be repeated was used for another request.
    #[error("this Idempotency-Key was used for another request in the last 24 hours: use a new key for a new request")]
    KeyReused,
    /// The conflict was restored before.
    #[error("this conflict was restored already")]
    AlreadyRestored,
    /// The conflict is about something that this edge no longer holds.
    #[error("nothing is left of the row at this edge, so there is nothing to restore")]
    NothingLeft,
    /// This edge stands at the site.
    #[error("this edge stands at the site: delete it at the centre, after the edge has been revoked")]
    OwnSite,
    /// The edge belongs to no tenant yet.
    #[error("this edge is not enrolled yet: run `edge enroll` on it")]
    NotEnrolled,
    /// The person may no longer sign in.
    #[error("your membership has ended")]
    MembershipEnded,
    /// The disk has no room but for what waits to be sent.
    #[error("the disk of this edge is full: nothing was changed, tell its operator")]
    DiskFull,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What kind of mistake a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// There is no such field.
    Unknown,
    /// The field is not for clients to write.
    ReadOnly,
    /// The field is needed.
    Missing,
    /// The value is of another type.
    Type,
    /// The value is not one of those allowed.
    Label(Vec<&'static str>),
    /// The value is of the right type, and still wrong.
    Value,
    /// The value names something that does not exist in this tenant.
    Reference,
}

impl Refusal {
    /// A value that cannot be taken.
    pub fn invalid(field: impl Into<String>, mistake: Mistake, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), mistake, reason: reason.into() }
    }

    /// The same refusal of a value that stands in an object below a field.
    pub fn below(self, parent: &str) -> Self {
        match self {
            Self::Invalid { field, mistake, reason } => {
                Self::Invalid { field: format!("{parent}/{field}"), mistake, reason }
            }
            other => other,
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
