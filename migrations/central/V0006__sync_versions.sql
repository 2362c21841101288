-- The state of replication: who wrote which version of which row. It belongs to the role that migrates. Applications
-- need no right here: the capture triggers, which the program generates from its catalog and installs after migrating,
-- run with the rights of their owner.
--
-- No table of versions refers to `public` by foreign key. Versions outlive their rows (a deleted row's version is what tells
-- the sites to delete it), and a foreign key would lock tenants and sites against applications on every write.

create schema sync;

comment on schema sync is 'replication state of Waystation; other programs may read its views edge_status, open_conflicts, quarantined_rows and feed_lag';

-- Numbers for replicas. 32 bits; a number is never used for a second incarnation of any database.
create sequence sync.replica_ids as integer;

-- The centre's own writes are numbered here, under the lock of the row that is written. Without a cache, because numbers
-- handed out in advance to a session would not rise on a row that two sessions write in turn. Gaps are allowed.
create sequence sync.seq as bigint cache 1;

-- Who writes: a number, and where it stands. Rows are never deleted, so that a person can still read who won years ago.
create table sync.replicas (
  id integer constraint replicas_are_identified_by_id primary key,
  -- Null for the centre, as are the two below.
  tenant_id uuid,
  -- An edge that was restored or cloned gets a new number; all its numbers carry the same edge.
  edge_id uuid,
  name text not null,
  site_id uuid,
  constraint replicas_id_is_positive check (id > 0)
);

create index replicas_by_tenant on sync.replicas (tenant_id);

-- What this hub is. One row, written once by this migration, changed when the centre was restored from a backup.
create table sync.hub (
  -- Which incarnation of the central database this is: edges that knew another one reconcile.
  hub_id uuid not null,
  -- The centre's number: all plain-SQL writers here count as one replica.
  replica integer not null constraint hub_replica_exists references sync.replicas (id),
  -- Cursors are sealed with it before they leave, since they would tell one tenant how much the others write.
  seal_key bytea not null,
  created_at timestamptz not null default now(),
  constraint hub_seal_key_has_32_bytes check (octet_length(seal_key) = 32)
);

create unique index hub_is_one_row on sync.hub ((true));

with centre as (
  insert into sync.replicas (id, name) values (nextval('sync.replica_ids'), 'centre') returning id
)
insert into sync.hub (hub_id, replica, seal_key)
select
  gen_random_uuid(),
  centre.id,
  -- 488 random bits of the server's strong generator, hashed to 32 bytes; pgcrypto is an extension, and we ask for none.
  sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
  )
from centre;

-- The version of every replicated row, alive or dead. Keyed by tenant first. Users belong to several tenants and are
-- versioned once, under the nil uuid.
create table sync.row_versions (
  tenant_id uuid not null,
  -- The table's fixed number; sync.table_name() tells which.
  table_id smallint not null,
  row_id uuid not null,
  -- pg_current_xact_id() of the last writer: what a cursor, which is a snapshot, is compared with.
  txid bigint not null,
  -- The highest hybrid clock on the row, so that the next write can exceed it.
  hlc bigint not null,
  -- {replica: highest seq seen}. The row is alive if one of these exceeds its entry in gone.
  vv jsonb not null,
  -- {register: [replica, seq, hlc, person?]}; "*" stands for the registers that are not named.
  dots jsonb not null,
  -- What the deleter had seen; null when the row was never deleted.
  gone jsonb,
  -- The replica whose push made exactly this state, which therefore need not be told; null after any other writer.
  echo_of integer,
  -- The row as it was when it died, null while it lives.
  last_row jsonb,
  constraint row_versions_are_identified_by_row primary key (tenant_id, table_id, row_id)
);

-- A window of the feed is the versions of one tenant from a transaction on; the poll looks at all tenants at once.
create index row_versions_by_tenant_and_txid on sync.row_versions (tenant_id, txid);
create index row_versions_by_txid on sync.row_versions (txid);

-- Every write of a replicated row updates a row here, so the default of a fifth dead rows is too patient.
alter table sync.row_versions set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- "Look again whether this user is in that tenant's scope": written with every change of a reference to a user, only added
-- to, and collected with the tombstones. Saying it twice is harmless, so there is no key to pay for.
create table sync.scope_changes (
  tenant_id uuid not null,
  user_id uuid not null,
  txid bigint not null
);

create index scope_changes_by_tenant_and_txid on sync.scope_changes (tenant_id, txid);
create index scope_changes_by_txid on sync.scope_changes (txid);

-- Which users a tenant's edges hold: members of any status, and everyone to whom a row of the tenant refers.
create view sync.user_scopes as
  select tenant_id, user_id from public.user_tenant_associations
  union
  select tenant_id, user_id from public.user_site_assignments
  union
  select tenant_id, assigned_by from public.user_site_assignments where assigned_by is not null
  union
  select tenant_id, user_id from public.tasks where user_id is not null;

-- The rows that our apply is about to write in this transaction, each with its expected final contents (null: deleted). The
-- capture triggers skip exactly these: whatever else moves is a write of the centre. Removed before the commit, so the table
-- is always empty to others, and losing it in a crash loses nothing.
create unlogged table sync.announced (
  txid bigint not null,
  table_id smallint not null,
  row_id uuid not null,
  final jsonb,
  constraint announced_rows_are_identified_by_row primary key (txid, table_id, row_id)
);

-- The names of the catalog's tables by their fixed numbers, for the views that people read.
create function sync.table_name(table_id smallint) returns text
language sql immutable strict parallel safe as $$
  select (array[
    'tenants', 'users', 'user_tenant_associations', 'sites', 'user_site_assignments', 'credentials', 'devices', 'tasks'
  ])[table_id]
$$;
