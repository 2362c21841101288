//! `hub db`: create, migrate, seed.

use serde_json::json;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::{Failure, connect, print_json, print_line};
use crate::catalog::TABLES;
use crate::hub::clock;
use crate::hub::error::causes;
use crate::pg::schema::{self, Applied, Pending};
use crate::pg::{StoreError, capture, connection, versions};

/// The oldest PostgreSQL whose `on delete set null (column)` the schema needs.
pub const SERVER_VERSION_MIN: i32 = 150_000;

/// Creates the configured database; one that is there is left as it is. For production, a server that lets us in without
/// a password is refused.
pub async fn create(database: &Config, production: bool) -> Result<(), Failure> {
    let name = database.get_dbname().unwrap_or("waystation").to_owned();
    let mut server = database.clone();
    let client = connect(server.dbname("postgres")).await?;
    if production && database.get_password().is_none() {
        let address = connection::address(database);
        return Err(Failure::Input(format!(
            "PostgreSQL at {address} let us in without a password, which production must not; set one and use DB_PASSWORD"
        )));
    }
    if connection::database_exists(&client, &name).await? {
        print_line(&format!("database {name} exists; nothing was changed"))?;
    } else {
        connection::create_database(&client, &name).await.map_err(|error| match error {
            StoreError::Forbidden(_) => Failure::Input(format!(
                "role {} may not create database {name}; give it the right with `alter role ... createdb`, or create the \
                 database as an administrator",
                user(database)
            )),
            error => error.into(),
        })?;
        print_line(&format!("created database {name}; now run `hub db migrate up`"))?;
    }
    Ok(())
}

/// Applies what is pending, installs the capture triggers, and gives versions to rows that were written without them.
pub async fn migrate(database: &Config, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    if connection::server_version(&client).await? < SERVER_VERSION_MIN {
        let address = connection::address(database);
        return Err(Failure::Input(format!("PostgreSQL at {address} is older than 15; upgrade the server")));
    }
    let explain = |error: StoreError| match error {
        StoreError::Migrating(_) | StoreError::Forbidden(_) if is_forbidden(&error) => {
            let name = database.get_dbname().unwrap_or_default();
            let user = user(database);
            Failure::Input(format!(
                "role {user} lacks a right in database {name}: {}; migrate as the database's owner",
                causes(&error)
            ))
        }
        error => error.into(),
    };
    let applied = schema::migrate(&mut client).await.map_err(explain)?;
    let adopted = install(&mut client).await.map_err(explain)?;
    if json {
        let applied: Vec<_> = applied.iter().map(applied_json).collect();
        return print_json(&json!({"applied": applied, "capture": capture::fingerprint(), "adopted": adopted}));
    }
    for migration in &applied {
        print_line(&format!("applied V{:04}__{}", migration.version, migration.name))?;
    }
    if applied.is_empty() {
        print_line("the schema is up to date")?;
    }
    print_line("capture triggers are installed")
}

/// Installs capture in one transaction with the adoption of rows that it has missed: nothing is written in between.
///
/// # Errors
/// Those of [`capture::install`].
pub async fn install(client: &mut Client) -> Result<u64, StoreError> {
    let tx = client.transaction().await?;
    capture::install(&tx).await?;
    let mut adopted = 0;
    for table in TABLES {
        adopted += versions::adopt(&tx, table, clock::unix_ms()).await?;
    }
    tx.commit().await?;
    Ok(adopted)
}

/// Lists what ran and what is pending.
pub async fn status(database: &Config, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let status = schema::status(&client).await?;
    let installed = capture::installed_fingerprint(&client).await?;
    let current = installed.as_deref() == Some(capture::fingerprint().as_str());
    if json {
        let applied: Vec<_> = status.applied.iter().map(applied_json).collect();
        let pending: Vec<_> = status.pending.iter().map(pending_json).collect();
        return print_json(&json!({"applied": applied, "pending": pending, "capture_current": current}));
    }
    for migration in &status.applied {
        let when = migration.applied_on.format("%Y-%m-%d %H:%M:%S");
        print_line(&format!("applied  V{:04}__{}  {when}", migration.version, migration.name))?;
    }
    for migration in &status.pending {
        print_line(&format!("pending  V{:04}__{}", migration.version, migration.name))?;
    }
    print_line(if current {
        "capture triggers are current"
    } else {
        "capture triggers are not current; run `hub db migrate up`"
    })
}

/// Compares what ran with this program's files.
pub async fn validate(database: &Config, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let differences: Vec<String> = schema::validate(&client).await?.iter().map(ToString::to_string).collect();
    if json {
        print_json(&json!({"differences": differences}))?;
    } else if differences.is_empty() {
        print_line("what ran is what this program has")?;
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Failure::Found(format!("migrations differ: {}", differences.join("; "))))
    }
}

/// Inserts the sample data that is missing.
pub async fn seed(database: &Config, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    let seeded = super::seed::seed(&mut client, clock::now()).await?;
    if json {
        return print_json(&json!({
            "tenants": seeded.tenants, "users": seeded.users, "user_tenant_associations": seeded.associations,
            "sites": seeded.sites, "user_site_assignments": seeded.assignments, "devices": seeded.devices,
            "tasks": seeded.tasks, "audit_logs": seeded.audit_logs, "tenant_invitations": seeded.invitations,
        }));
    }
    print_line(&format!(
        "inserted {} tenants, {} users, {} sites, {} devices, {} tasks",
        seeded.tenants, seeded.users, seeded.sites, seeded.devices, seeded.tasks
    ))
}

fn user(database: &Config) -> &str {
    database.get_user().unwrap_or("of this session")
}

/// Whether PostgreSQL refused for want of a right, however deep the error stands.
fn is_forbidden(error: &StoreError) -> bool {
    let mut sources = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    sources.any(|error| {
        let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
        code == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
    })
}

fn applied_json(migration: &Applied) -> serde_json::Value {
    json!({"version": migration.version, "name": migration.name, "applied_on": migration.applied_on.to_rfc3339(),
        "checksum": format!("{:016x}", migration.checksum)})
}

fn pending_json(migration: &Pending) -> serde_json::Value {
    json!({"version": migration.version, "name": migration.name, "checksum": format!("{:016x}", migration.checksum)})
}
