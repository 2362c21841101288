//! Attacks on a deployment: by an edge that was taken over, by somebody on the site's network, by a person who may do less than
//! they try, by whoever has a box or a backup in their hands. Each test is named for what is tried and what becomes of it;
//! `docs/security.md` says what each wall is worth.

mod core_files;
mod edges;
mod encrypted_backups;
mod page_tls;
mod people;
mod private_files;
mod roles;
mod scripts;
mod secrets;
mod walls;
mod web;
