//! What the tests of this module begin with.

use rusqlite::Connection;
use uuid::Uuid;

use super::self_state;
use crate::merge::ids::{ReplicaId, RowId};
use crate::wire::message::{Enrolled, Fence};

/// The one task there is.
pub(super) const TASK: RowId = RowId(Uuid::from_u128(4));

/// An edge that has written one task, which waits.
pub(super) fn edge_with_a_task(replica: ReplicaId, title: &str) -> Connection {
    let (mut connection, _) = super::open_in_memory().unwrap().into_parts();
    let tenant = Uuid::from_u128(1);
    let identity = Enrolled {
        edge: Uuid::from_u128(2),
        name: "hq-1".to_owned(),
        replica: replica.0,
        credential: String::new(),
        tenant,
        site: Uuid::from_u128(3),
        fence: Fence::default(),
        former: Vec::new(),
    };
    let tx = connection.transaction().unwrap();
    self_state::enrolled(&tx, &identity, "http://hub").unwrap();
    tx.commit().unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    let insert = "insert into tasks (id, tenant_id, title) values (?1, ?2, ?3)";
    connection.execute(insert, [TASK.0.to_string(), tenant.to_string(), title.to_owned()]).unwrap();
    connection
}
