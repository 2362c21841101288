//! `hub dump`: a tenant's rows as its edges hold them, one a line.

use std::io::Write as _;

use tokio_postgres::Config;

use super::{Failure, connect};
use crate::catalog;
use crate::pg::{dump, edges};

/// Prints the dump. Rows that have no canonical form are told on standard error and left out.
pub async fn print(database: &Config, slug: &str, table: Option<&str>) -> Result<(), Failure> {
    let table = table.map(named).transpose()?;
    let mut client = connect(database).await?;
    let unknown = || Failure::Input(format!("there is no tenant {slug}; see `select slug from tenants`"));
    let tenant = edges::tenant(&client, slug).await?.ok_or_else(unknown)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failed = None;
    let unreadable = dump::dump(&mut client, tenant, table, |line| {
        if failed.is_none() {
            failed = writeln!(out, "{line}").err();
        }
    })
    .await?;
    match failed.or_else(|| out.flush().err()) {
        Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    for row in unreadable {
        eprintln!("hub: left out {row}");
    }
    Ok(())
}

fn named(name: &str) -> Result<&'static catalog::Table, Failure> {
    let dumped = |table: &&catalog::Table| table.dumped;
    catalog::by_name(name).filter(dumped).ok_or_else(|| {
        let names: Vec<&str> = catalog::TABLES.iter().filter(dumped).map(|table| table.name).collect();
        Failure::Input(format!("there is no table {name} to dump; choose one of {}", names.join(", ")))
    })
}
