//! Connections: a pool for serving, single ones for the command line.

use deadpool_postgres::{BuildError, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use std::time::Duration;
use thiserror::Error;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, GenericClient, NoTls};

use super::error::StoreError;
use super::reach::Connections;

/// The role as which every hub works.
pub const HUB_ROLE: &str = "waystation_hub";

/// How long a new connection may take, in seconds.
const CONNECT_S_MAX: u64 = 5;
/// How long a request waits for a free connection, in seconds.
const WAIT_S_MAX: u64 = 5;

/// Why there is no connection, each with the next step.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error(
        "no PostgreSQL server answers at {0}; start it, or set DATABASE_URL (or DB_HOST and DB_PORT) to where it runs"
    )]
    NoServer(String, #[source] tokio_postgres::Error),
    /// The password is wrong or missing.
    #[error("PostgreSQL at {0} refuses the password of {1}; set it in DATABASE_URL or DB_PASSWORD")]
    Password(String, String, #[source] tokio_postgres::Error),
    /// The role does not exist, or may not log in here.
    #[error("PostgreSQL at {0} does not let {1} in; check the role and pg_hba.conf, or set DB_USER to another role")]
    Role(String, String, #[source] tokio_postgres::Error),
    /// The database does not exist.
    #[error("PostgreSQL at {0} has no database {1}; run `hub db create`, or set DB_NAME to an existing one")]
    NoDatabase(String, String, #[source] tokio_postgres::Error),
    /// Something else.
    #[error("PostgreSQL at {0} does not take a connection: {1}")]
    Other(String, String, #[source] tokio_postgres::Error),
}

/// A single connection, driven by a task of the caller's runtime.
pub async fn connect(config: &Config) -> Result<Client, ConnectError> {
    let mut config = config.clone();
    config.connect_timeout(Duration::from_secs(CONNECT_S_MAX)).application_name("waystation hub");
    match config.connect(NoTls).await {
        Ok((client, connection)) => {
            // Its end is seen by the next statement, which then fails.
            tokio::spawn(async move { drop(connection.await) });
            // Its commands are for the rows of every tenant, also as a role that the wall is for.
            let entered = client.batch_execute("set waystation.tenant = '*'").await;
            entered.map(|()| client).map_err(|error| explain(&config, error))
        }
        Err(error) => Err(explain(&config, error)),
    }
}

/// A pool of connections that work as [`HUB_ROLE`].
pub fn pool(config: &Config, size: usize) -> Result<Connections, BuildError> {
    let mut config = config.clone();
    config.connect_timeout(Duration::from_secs(CONNECT_S_MAX)).application_name("waystation hub");
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let hook = Hook::async_fn(|client, _| Box::pin(async move { prepare(client).await.map_err(HookError::Backend) }));
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(Duration::from_secs(WAIT_S_MAX)))
        .create_timeout(Some(Duration::from_secs(CONNECT_S_MAX)))
        .post_create(hook)
        .build()?;
    Ok(Connections::new(pool))
}

/// What every connection of a hub is set to. A hub that is stopped in the middle of a transaction lets go of its locks.
async fn prepare(client: &Client) -> Result<(), tokio_postgres::Error> {
    let statement = format!(
        "set role {HUB_ROLE};
         set idle_in_transaction_session_timeout = '10s';
         set statement_timeout = '60s';
         set timezone = 'UTC'"
    );
    client.batch_execute(&statement).await
}

/// Whether the database answers.
pub async fn ping(client: &impl GenericClient) -> Result<(), StoreError> {
    client.query_one("select 1", &[]).await?;
    Ok(())
}

/// Creates an empty database; the connection is to another one of the same server.
pub async fn create_database(client: &Client, name: &str) -> Result<(), StoreError> {
    client
        .batch_execute(&format!("create database \"{}\" encoding 'UTF8' template template0", name.replace('"', "\"\"")))
        .await?;
    Ok(())
}

/// Whether a database of this name exists.
pub async fn database_exists(client: &Client, name: &str) -> Result<bool, StoreError> {
    let statement = "select exists (select from pg_catalog.pg_database where datname = $1)";
    Ok(client.query_one(statement, &[&name]).await?.get(0))
}

/// Whether the connection's role may become [`HUB_ROLE`]; `None` when that role does not exist.
pub async fn may_become_hub(client: &Client) -> Result<Option<bool>, StoreError> {
    let statement = "select pg_has_role(session_user, oid, 'member') from pg_catalog.pg_roles where rolname = $1";
    Ok(client.query_opt(statement, &[&HUB_ROLE]).await?.map(|row| row.get(0)))
}

/// The server's version as a number, 150018 for 15.18.
pub async fn server_version(client: &Client) -> Result<i32, StoreError> {
    Ok(client.query_one("select current_setting('server_version_num')::integer", &[]).await?.get(0))
}

/// Where a configuration leads, for messages: `host:port`.
pub fn address(config: &Config) -> String {
    let host = config.get_hosts().first().map_or_else(
        || "localhost".to_owned(),
        |host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        },
    );
    format!("{host}:{}", config.get_ports().first().copied().unwrap_or(5432))
}

fn explain(config: &Config, error: tokio_postgres::Error) -> ConnectError {
    let (address, user) = (address(config), config.get_user().unwrap_or_default().to_owned());
    let Some(code) = error.code().cloned() else {
        // The driver asks for a password only when the server wants one and there is none.
        return match config.get_password() {
            None if std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("password")) => {
                ConnectError::Password(address, user, error)
            }
            _ => ConnectError::NoServer(address, error),
        };
    };
    match code {
        code if code == SqlState::INVALID_PASSWORD => ConnectError::Password(address, user, error),
        code if code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => ConnectError::Role(address, user, error),
        code if code == SqlState::INVALID_CATALOG_NAME => {
            ConnectError::NoDatabase(address, config.get_dbname().unwrap_or(&user).to_owned(), error)
        }
        code if code == SqlState::INSUFFICIENT_PRIVILEGE => ConnectError::Role(address, user, error),
        _ => {
            let message = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
            ConnectError::Other(address, message, error)
        }
    }
}
