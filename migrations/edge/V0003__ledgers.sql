-- What this edge keeps beside the rows: what lost, what was refused, who is who, what is on its way, and who is signed in.

-- Writes that lost without having been seen by the winner. The id and the loser follow from the losing dot alone, so every
-- replica that meets a conflict writes the same row. `winner` and `loser` are {"dot": dot, "value": value}. `status` only
-- rises: open, dismissed, restored. `pending` is 1 until the hub has the row as it is here.
create table sync_conflicts (
  id text not null primary key,
  tbl integer not null,
  row_id text not null,
  kind text not null check (kind in ('edit_edit', 'edit_delete')),
  register text,
  status text not null default 'open' check (status in ('open', 'dismissed', 'restored')),
  winner text not null,
  loser text not null,
  pending integer not null default 1 check (pending in (0, 1))
) strict, without rowid;
create index sync_conflicts_of_row on sync_conflicts (tbl, row_id);
create index sync_conflicts_open on sync_conflicts (id) where status = 'open';
create index sync_conflicts_pending on sync_conflicts (id) where pending = 1;

-- Rows that could not be stored, at the hub (ours) or here (the hub's), each with the reason. They stop nothing else.
-- `payload` is the row as it was refused, in the form of the protocol.
create table sync_quarantine (
  id text not null primary key,
  tbl integer not null,
  row_id text not null,
  code text not null,
  reason text not null,
  payload text not null,
  created_at text not null,
  status text not null default 'open'
) strict, without rowid;
create index sync_quarantine_of_row on sync_quarantine (tbl, row_id);

-- The directory: which edge and site a replica id stands for, so that people read names.
create table sync_replicas (
  id integer not null primary key,
  name text not null,
  site_id text,
  edge_id text
) strict;

-- The push that has no answer yet; at most one row. Committed before the first byte is sent, so that after a crash the same
-- batch is sent again under the same id. `hash` binds the id to the content, `high_seq` is the last write in it.
create table sync_inflight (
  one integer not null primary key default 1 check (one = 1),
  batch text not null,
  hash text not null,
  high_seq integer not null,
  body blob not null
) strict;

-- Who did what at this site. It only grows, and travels up; the centre keeps the whole. Column for column the centre's table;
-- references have no foreign keys, because a record outlives what it speaks of.
create table audit_logs (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  tenant_id text,
  user_id text,
  action text not null,
  resource_type text not null,
  resource_id text,
  details text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint audit_log_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint audit_log_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint audit_log_user_id_is_a_lowercase_uuid check (
    user_id glob '????????-????-????-????-????????????' and user_id not glob '*[^-0-9a-f]*'
    and length(replace(user_id, '-', '')) = 32
  ),
  constraint audit_log_action_is_known check (
    action in (
      'create', 'read', 'update', 'delete', 'login', 'logout', 'login_failed', 'invite', 'accept', 'assign',
      'unassign', 'sync', 'conflict', 'restore', 'enroll', 'revoke', 'export'
    )
  ),
  constraint audit_log_resource_id_is_a_lowercase_uuid check (
    resource_id glob '????????-????-????-????-????????????' and resource_id not glob '*[^-0-9a-f]*'
    and length(replace(resource_id, '-', '')) = 32
  ),
  constraint audit_log_details_is_an_object check (
    case when json_valid(details) then json_type(details) = 'object' else false end
  ),
  constraint audit_log_details_has_no_nul check (instr(replace(details, '\\', ''), '\u0000') = 0),
  constraint audit_log_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  )
) strict, without rowid;
create index audit_logs_by_time on audit_logs (created_at);

-- The audit records that the hub does not have yet. Filled by a capture trigger.
create table sync_audit_outbox (
  id text not null primary key
) strict, without rowid;

-- Who is signed in at this box. Only a hash of the token is kept. Times are UTC text; `csrf` is the word that a form must
-- send back. Rows are removed at sign-out and when they have expired.
create table sync_sessions (
  token_hash blob not null primary key,
  user_id text not null,
  created_at text not null,
  last_seen_at text not null,
  expires_at text not null,
  csrf text
) strict, without rowid;
create index sync_sessions_of_user on sync_sessions (user_id);

-- Failed sign-ins by e-mail, known here or not, so that a lockout survives a restart. A wait is counted in time spent running
-- (`wait_ms`) as well as until a moment (`locked_until`): a clock that jumps ahead ends nothing early.
create table sync_lockouts (
  email text not null primary key,
  failures integer not null default 0,
  last_failed_at text,
  locked_until text,
  wait_ms integer not null default 0
) strict, without rowid;
