//! The protocol: messages, and the border where foreign data becomes our types or is refused.
//!
//! Nothing here does input or output. `canonical` gives every value its one spelling, `base64url` bytes theirs; `version` is the text form of
//! versions, stored and sent; `message` lists the messages; `convert` turns rows from fields into registers and back,
//! `conflict` does so for conflicts; `renewal` gets an edge a new credential, `pages` a certificate; `stream` is bodies as bytes, `frames` whole bodies out of lines; `problem` is
//! errors as programs read them; `one_time_code` is what people type.

pub mod base64url;
pub mod canonical;
pub mod codes;
pub mod conflict;
pub mod convert;
pub mod digest;
pub mod frames;
pub mod message;
pub mod one_time_code;
pub mod pages;
pub mod problem;
pub mod recovery;
pub mod refusals;
pub mod renewal;
pub mod stream;
pub mod version;
