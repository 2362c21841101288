-- The edges, what they could not deliver, what they disagreed about, and what the hub may touch.

-- One box at one site. It is kept when its site or tenant is deleted: until it is revoked it must still be told what to
-- delete, and its unsent writes must still find someone who lists them.
create table sync.edges (
  id uuid constraint edges_are_identified_by_id primary key default gen_random_uuid(),
  name text not null,
  tenant_id uuid not null,
  site_id uuid not null,
  -- Its present number; it changes when the box was restored or cloned. Deferred, so that the two rows of an enrolment
  -- can be written in either order.
  replica_id integer not null
    constraint edges_replica_exists references sync.replicas (id) deferrable initially deferred,
  -- SHA-256 of the credential, which is 256 random bits and needs no slow hash.
  credential_hash bytea not null,
  status text not null default 'enrolled',
  -- The fence: rotated with each acknowledged push, the last two kept. See the rules of fence tokens.
  token_count bigint not null default 0,
  token bytea,
  token_before bytea,
  -- The last push and its answer, so that a push whose answer was lost gets the same answer again.
  last_batch uuid,
  last_batch_hash bytea,
  last_answer bytea,
  -- The highest seq this replica ever reported: a lower one later means that the box was rewound.
  high_seq bigint not null default 0,
  -- The snapshot up to which the edge has applied and said so, as pg_snapshot prints it; null before the first.
  cursor_acknowledged text,
  -- As the edge last reported; null until it does.
  last_seen_at timestamptz,
  pending bigint not null default 0,
  lag_seconds double precision,
  conflicts_open bigint not null default 0,
  quarantined bigint not null default 0,
  app_version text,
  schema_version integer,
  clock_offset_ms bigint,
  enrolled_at timestamptz not null default now(),
  revoked_at timestamptz,
  constraint edges_name_is_unique unique (name),
  constraint edges_replica_is_of_one_edge unique (replica_id),
  constraint edges_credential_is_unique unique (credential_hash),
  constraint edges_status_is_known check (status in ('enrolled', 'revoked')),
  constraint edges_revoked_at_tells_when check ((status = 'revoked') = (revoked_at is not null))
)
-- Every exchange updates its edge's row and no indexed column; room on the page keeps these updates off the indexes.
with (fillfactor = 70);

create index edges_by_tenant on sync.edges (tenant_id, site_id);

-- One-time codes for new boxes. Only the hash is kept. A code is used once, within its time.
create table sync.enrollments (
  code_hash bytea constraint enrollments_are_identified_by_code primary key,
  tenant_id uuid not null,
  site_id uuid not null,
  -- The name the edge will have.
  name text not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  created_at timestamptz not null default now(),
  constraint enrollments_site_is_of_the_tenant
    foreign key (tenant_id, site_id) references public.sites (tenant_id, id) on delete cascade deferrable
);

-- Writes of sites that the centre could not take, each with the reason. Closed entries stay, as an answer to "what became of
-- my edit".
create table sync.quarantine (
  id uuid constraint quarantine_is_identified_by_id primary key default gen_random_uuid(),
  tenant_id uuid not null,
  -- Null, as the replica, for a row of the centre that has no form in which it could be sent to an edge.
  edge_id uuid constraint quarantine_edge_exists references sync.edges (id) deferrable,
  replica_id integer,
  table_id smallint not null,
  row_id uuid not null,
  -- The write's number at its replica: the entry dies when the row's version covers it.
  seq bigint not null,
  -- What programs recognise, and what people read.
  code text not null,
  reason text not null,
  payload jsonb not null,
  status text not null default 'open',
  created_at timestamptz not null default now(),
  settled_at timestamptz,
  constraint quarantine_status_is_known check (status in ('open', 'released', 'discarded', 'superseded')),
  constraint quarantine_settled_at_tells_when check ((status = 'open') = (settled_at is null))
);

-- A later refused edit of the row replaces the earlier one: the newest holds all unacknowledged columns.
create unique index quarantine_has_one_open_entry_for_a_row
  on sync.quarantine (edge_id, table_id, row_id) nulls not distinct where status = 'open';
create index quarantine_by_row on sync.quarantine (tenant_id, table_id, row_id) where status = 'open';

-- Writes that lost against one they did not know. The id is computed from the losing write, so every replica that meets the
-- conflict writes the same row; the tenant stands first in the key, so that no site can occupy another tenant's id.
create table sync.conflicts (
  tenant_id uuid not null,
  id uuid not null,
  table_id smallint not null,
  row_id uuid not null,
  kind text not null,
  -- Which register was contested; '-' when it is the whole row.
  register text not null,
  -- The only thing that changes, and only forward: open, dismissed, restored.
  status text not null default 'open',
  winner jsonb,
  loser jsonb not null,
  -- As in row_versions: conflicts travel with the feed.
  txid bigint not null,
  constraint conflicts_are_identified_by_id primary key (tenant_id, id),
  constraint conflicts_kind_is_known check (kind in ('edit_edit', 'edit_delete')),
  constraint conflicts_status_is_known check (status in ('open', 'dismissed', 'restored'))
);

create index conflicts_by_tenant_and_txid on sync.conflicts (tenant_id, txid);
create index conflicts_by_txid on sync.conflicts (txid);
create index conflicts_by_row on sync.conflicts (tenant_id, table_id, row_id);

-- Sign-in secrets of people at sites, verifiers only. It is replicated like the tables of `public`, to the one site it is for,
-- but stands here because applications have no business with it. It goes with its person and with its site.
create table sync.credentials (
  id uuid constraint credentials_are_identified_by_id primary key default gen_random_uuid(),
  tenant_id uuid not null
    constraint credentials_tenant_exists references public.tenants (id) on delete cascade deferrable,
  user_id uuid not null constraint credentials_user_exists references public.users (id) on delete cascade deferrable,
  site_id uuid not null,
  -- An argon2id PHC string.
  verifier text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint user_has_one_credential_at_a_site unique (user_id, site_id),
  constraint credentials_site_is_of_the_tenant
    foreign key (tenant_id, site_id) references public.sites (tenant_id, id) on delete cascade deferrable,
  constraint credentials_verifier_is_argon2id check (verifier like '$argon2id$%')
);

create index credentials_by_site on sync.credentials (tenant_id, site_id);

create trigger credentials_move_updated_at before update on sync.credentials
  for each row execute function public.move_updated_at();

-- How each edge is doing, as it last told.
create view sync.edge_status as
  select
    edge.name,
    tenant.slug as tenant,
    site.name as site,
    edge.status,
    edge.last_seen_at,
    edge.pending,
    edge.lag_seconds,
    edge.conflicts_open,
    edge.quarantined,
    edge.app_version
  from sync.edges as edge
  left join public.tenants as tenant on tenant.id = edge.tenant_id
  left join public.sites as site on site.id = edge.site_id;

create view sync.open_conflicts as
  select
    conflict.id,
    tenant.slug as tenant,
    sync.table_name(conflict.table_id) as table_name,
    conflict.row_id,
    conflict.kind,
    conflict.register,
    conflict.winner,
    conflict.loser
  from sync.conflicts as conflict
  left join public.tenants as tenant on tenant.id = conflict.tenant_id
  where conflict.status = 'open';

create view sync.quarantined_rows as
  select
    entry.id,
    tenant.slug as tenant,
    edge.name as edge,
    sync.table_name(entry.table_id) as table_name,
    entry.row_id,
    entry.code,
    entry.reason,
    entry.payload,
    entry.created_at
  from sync.quarantine as entry
  left join sync.edges as edge on edge.id = entry.edge_id
  left join public.tenants as tenant on tenant.id = entry.tenant_id
  where entry.status = 'open';

-- What the centre has that an edge has not acknowledged: the versions of its tenant that its snapshot did not see, and since
-- when the oldest of them waits (the first 48 bits of a hybrid clock are milliseconds). Users are counted once for
-- each tenant whose scope they are in.
create view sync.feed_lag as
  select
    edge.name,
    tenant.slug as tenant,
    edge.last_seen_at,
    edge.cursor_acknowledged,
    waiting.rows_waiting,
    to_timestamp(waiting.oldest_ms / 1000.0) as waiting_since
  from sync.edges as edge
  left join public.tenants as tenant on tenant.id = edge.tenant_id
  -- A cursor that is no snapshot counts as none: a view for operators must not fail on one bad row.
  cross join lateral (
    select case
      when edge.cursor_acknowledged ~ '^[0-9]+:[0-9]+:([0-9]+(,[0-9]+)*)?$' then edge.cursor_acknowledged::pg_snapshot
    end as snapshot
  ) as seen
  cross join lateral (
    select count(*) as rows_waiting, min(version.hlc >> 16) as oldest_ms
    from (
      select own.txid, own.hlc from sync.row_versions as own where own.tenant_id = edge.tenant_id
      union all
      select person.txid, person.hlc
      from sync.user_scopes as scope
      join sync.row_versions as person
        on person.tenant_id = '00000000-0000-0000-0000-000000000000' and person.table_id = 2
        and person.row_id = scope.user_id
      where scope.tenant_id = edge.tenant_id
    ) as version
    where seen.snapshot is null or not pg_visible_in_snapshot(version.txid::text::xid8, seen.snapshot)
  ) as waiting
  where edge.status = 'enrolled';

-- The role as which every hub works: neither an owner nor a superuser, so that a hole in the hub is no hole in the
-- schema, and row-level security will bind it. Roles belong to the whole cluster: another database may have made it
-- already, or be making it at this moment. A hub that logs in as somebody else becomes it by SET ROLE, and for that
-- whoever migrates is made a member.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'waystation_hub') then
    create role waystation_hub nologin;
  end if;
exception
  when duplicate_object or unique_violation then
    null;
  when insufficient_privilege then
    raise exception using
      errcode = 'insufficient_privilege',
      message = format('role %I may not create the role waystation_hub', current_user),
      hint = 'let an administrator run: create role waystation_hub nologin';
end
$$;

do $$
begin
  -- Asked of everybody but superusers, who need none: from PostgreSQL 16 on, making a role gives its maker a membership
  -- that does not reach as far as SET ROLE.
  if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    execute format('grant waystation_hub to %I', current_user);
  end if;
exception
  when insufficient_privilege then
    -- A hub that logs in as waystation_hub does not need the membership.
    raise notice 'role % may not become waystation_hub; let hubs log in as waystation_hub', current_user;
end
$$;

grant usage on schema public, sync to waystation_hub;

grant select, insert, update, delete on
  tenants, users, user_tenant_associations, sites, user_site_assignments, devices, tasks, tenant_invitations
  to waystation_hub;
grant select, insert on audit_logs to waystation_hub;
-- The hub looks which migrations have run before it serves.
grant select on refinery_schema_history to waystation_hub;

grant select, insert, update, delete on all tables in schema sync to waystation_hub;
grant usage, select on all sequences in schema sync to waystation_hub;
-- The hub's identity is changed by recovery, and replicas are never forgotten.
revoke insert, delete on sync.hub from waystation_hub;
revoke delete on sync.replicas from waystation_hub;

-- What later migrations of this role create needs no grant of its own.
alter default privileges in schema public grant select, insert, update, delete on tables to waystation_hub;
alter default privileges in schema public grant usage, select on sequences to waystation_hub;
alter default privileges in schema sync grant select, insert, update, delete on tables to waystation_hub;
alter default privileges in schema sync grant usage, select on sequences to waystation_hub;

-- For other programs. These two hold no data of tenants' rows and are open to every role of the database; the other two
-- show values that lost or were refused, and are granted by the owner to whom they concern.
grant usage on schema sync to public;
grant select on sync.edge_status, sync.feed_lag to public;
