-- What happened, and who is about to join.

-- The record of what people and programs did. It is only ever added to. There are no foreign keys: a record outlives what it
-- speaks of, clearing the reference would rewrite it, and a record that comes from a site may name a row that never
-- reached the centre.
create table audit_logs (
  id uuid constraint audit_logs_are_identified_by_id primary key default gen_random_uuid(),
  -- Null for what belongs to no tenant, such as a failed sign-in with an unknown address.
  tenant_id uuid,
  user_id uuid,
  action audit_action not null,
  resource_type resource_type not null,
  resource_id uuid,
  details jsonb not null default '{}',
  created_at timestamptz not null default now(),
  constraint audit_logs_details_is_an_object check (jsonb_typeof(details) = 'object')
);

create index audit_logs_by_time on audit_logs (tenant_id, created_at desc);
create index audit_logs_by_user on audit_logs (user_id, created_at desc) where user_id is not null;
create index audit_logs_by_resource on audit_logs (resource_type, resource_id) where resource_id is not null;

-- Refuses every change of a record, to the table's owner and superusers too: a missing grant stops neither them nor an
-- application that connects as the owner, as small installations do. The one way out is for retention, and takes both
-- the owner's rights and a deliberate step: `set local sync.retention = 'on'` before a DELETE of what is old enough.
create function refuse_change_of_audit_logs() returns trigger
language plpgsql as $$
begin
  if tg_op = 'DELETE'
    and coalesce(current_setting('sync.retention', true), '') = 'on'
    and (select pg_has_role(table_.relowner, 'usage') from pg_catalog.pg_class as table_ where table_.oid = tg_relid)
  then
    return null;
  end if;
  raise exception using
    errcode = 'insufficient_privilege',
    message = format('audit_logs is append-only: %s is refused', lower(tg_op)),
    hint = 'write a new record that corrects the old one',
    schema = tg_table_schema, table = tg_table_name,
    constraint = 'audit_logs_are_append_only';
end
$$;

create trigger audit_logs_are_append_only before update or delete or truncate on audit_logs
  for each statement execute function refuse_change_of_audit_logs();

revoke update, delete, truncate on audit_logs from public;

-- An invitation to join a tenant. It never leaves the centre: its token is a secret.
create table tenant_invitations (
  id uuid constraint tenant_invitations_are_identified_by_id primary key default gen_random_uuid(),
  email text not null,
  tenant_id uuid not null
    constraint tenant_invitations_tenant_exists references tenants (id) on delete cascade deferrable,
  role member_role not null default 'member',
  token text not null,
  expires_at timestamptz not null,
  invited_by uuid constraint tenant_invitations_inviter_exists references users (id) on delete set null deferrable,
  -- Null while the invitation is open.
  accepted_at timestamptz,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint tenant_invitations_token_is_unique unique (token),
  constraint tenant_invitations_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create index tenant_invitations_by_email on tenant_invitations (tenant_id, lower(email));
create index tenant_invitations_by_inviter on tenant_invitations (invited_by) where invited_by is not null;

create trigger tenant_invitations_move_updated_at before update on tenant_invitations
  for each row execute function move_updated_at();
