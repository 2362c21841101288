-- What replication knows about the rows of the mirror. Vectors and dots are JSON text because the capture triggers run in
-- any `sqlite3` program: `vv` and `gone` are {"replica": seq}, a dot is [replica, seq, hlc] or [replica, seq, hlc, "person"].

-- This replica. One row.
--
-- | column | meaning | written by |
-- |---|---|---|
-- | replica | the id that the hub gave; 0 until then | enrolment, a new incarnation |
-- | seq | the last seq used; the next write of a row takes the next one, without gaps | capture |
-- | tenant_id, site_id, edge_id, edge_name, hub_url | who and where this edge is; null until enrolled | enrolment |
-- | applying | 1 while our own code writes rows with their versions; capture then does nothing. Set and cleared inside of one transaction, never committed as 1 | apply |
-- | actor | the person on whose behalf the transaction writes; never committed | the edge |
-- | token_count, token | the fence token: how many pushes were acknowledged, and the hub's random word for the last | exchange |
-- | cursor | how far the centre's changes have been read, sealed by the hub | exchange |
-- | hydrating | 1 from the start of a window that takes several transactions to its end | exchange |
-- | clock_offset_ms | the hub's clock less ours | exchange |
-- | last_exchange_at, last_error | for people | exchange |
-- | directory_size | how many replicas we know by name, so that the hub sends the others | exchange |
-- | schema_fingerprint | which capture triggers are installed | migration |
-- | stamp_hlc, stamp_dot | the last stamp, as number and as JSON: scratch of one trigger | capture |
-- | moved_id, moved_at | the row whose `updated_at` capture has just moved, so that the move is not taken for a write | capture |
create table sync_self (
  one integer not null primary key default 1 check (one = 1),
  replica integer not null default 0 check (replica between 0 and 4294967295),
  seq integer not null default 0 check (seq >= 0),
  tenant_id text,
  site_id text,
  edge_id text,
  edge_name text,
  hub_url text,
  applying integer not null default 0 check (applying in (0, 1)),
  actor text check (actor glob '????????-????-????-????-????????????' and actor not glob '*[^-0-9a-f]*'),
  token_count integer not null default 0,
  token text,
  cursor text,
  hydrating integer not null default 0 check (hydrating in (0, 1)),
  clock_offset_ms integer,
  last_exchange_at text,
  last_error text,
  directory_size integer not null default 0,
  schema_fingerprint text,
  stamp_hlc integer not null default 0,
  stamp_dot text,
  moved_id text,
  moved_at text
) strict;
insert into sync_self default values;

-- The version of every row that this edge holds or has seen die. Written by capture and by apply, in the transaction
-- that writes the row.
--
-- `tbl` is the table's number in the catalog. `gone` is null until the row's first delete. `hlc` is the highest stamp on
-- the row. `base` is the `vv` that the hub last had of it, set by the first write here since ('{}' for a row made here);
-- null means that nothing waits to be sent. `refused` says why the hub refused it; the next write here clears it.
create table sync_rows (
  tbl integer not null,
  row_id text not null,
  vv text not null,
  dots text not null,
  gone text,
  hlc integer not null,
  base text,
  refused text,
  primary key (tbl, row_id)
) strict, without rowid;
create index sync_rows_pending on sync_rows (tbl, row_id) where base is not null;

-- The last values of the rows that are dead here, because an edit made elsewhere may revive one. They have columns of
-- their own and no checks: whatever was in the row fits, and a number never passes through text.
create table sync_last_sites (
  id text not null primary key,
  tenant_id text,
  name text,
  address text,
  latitude real,
  longitude real,
  timezone text,
  metadata text,
  created_at text,
  updated_at text
) strict, without rowid;
create table sync_last_devices (
  id text not null primary key,
  tenant_id text,
  site_id text,
  name text,
  type text,
  serial_number text,
  status text,
  metadata text,
  created_at text,
  updated_at text
) strict, without rowid;
create table sync_last_tasks (
  id text not null primary key,
  tenant_id text,
  user_id text,
  site_id text,
  device_id text,
  title text,
  description text,
  status text,
  priority text,
  due_date text,
  completed_at text,
  metadata text,
  created_at text,
  updated_at text
) strict, without rowid;

-- The row that the statement under way may be about to replace. SQLite deletes it without a word when it meets REPLACE, so
-- BEFORE triggers keep it here and AFTER triggers look whether it was. One row for each table, `id` null when there
-- is no candidate; what a failed statement leaves behind is overwritten by the next. The columns after `updated_at` keep the
-- version from before the delete trigger ran, for clients with recursive_triggers on, where it does.
create table sync_candidate_sites (
  one integer not null primary key default 1 check (one = 1),
  id text,
  tenant_id text,
  name text,
  address text,
  latitude real,
  longitude real,
  timezone text,
  metadata text,
  created_at text,
  updated_at text,
  deleted_seq integer,
  vv text,
  dots text,
  gone text,
  hlc integer,
  base text,
  refused text
) strict;
insert into sync_candidate_sites default values;
create table sync_candidate_devices (
  one integer not null primary key default 1 check (one = 1),
  id text,
  tenant_id text,
  site_id text,
  name text,
  type text,
  serial_number text,
  status text,
  metadata text,
  created_at text,
  updated_at text,
  deleted_seq integer,
  vv text,
  dots text,
  gone text,
  hlc integer,
  base text,
  refused text
) strict;
insert into sync_candidate_devices default values;
create table sync_candidate_tasks (
  one integer not null primary key default 1 check (one = 1),
  id text,
  tenant_id text,
  user_id text,
  site_id text,
  device_id text,
  title text,
  description text,
  status text,
  priority text,
  due_date text,
  completed_at text,
  metadata text,
  created_at text,
  updated_at text,
  deleted_seq integer,
  vv text,
  dots text,
  gone text,
  hlc integer,
  base text,
  refused text
) strict;
insert into sync_candidate_tasks default values;
