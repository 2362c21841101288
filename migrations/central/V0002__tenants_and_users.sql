-- Who there is: tenants, people, and which person belongs to which tenant.
--
-- Conventions of every table in this schema:
-- * Foreign keys are deferrable, initially immediate. A plain client meets them at once; a batch that comes from a site
--   may hold a child before its parent and defers them.
-- * Constraint names read as rules, because they are what a refused writer gets to see, and what our code recognises.
-- * A unique key is deferrable only where two edits of sites can swap it (see devices). A deferrable key cannot serve
--   `on conflict (...)`, which other applications use on the keys of this file.
-- * Nothing here needs to know that the rows are replicated; see schema `sync`.

-- Moves updated_at when a row changed and its writer did not move it. Three exact rules:
-- * It moves only if another column changed. An UPDATE that changes nothing stays one.
-- * A writer that sets updated_at is obeyed. "Set" is seen by value: an ORM that writes back a whole row with the old
--   updated_at did not mean to hold it still.
-- * It stays out of the way when replication applies a row (sync.applying, local to the transaction): there
--   updated_at is a value like any other and came with the row. The setting reads '' once it has been used in a
--   session, and null before.
-- now() is the start of the transaction, as for the defaults: rows of one transaction agree.
create function move_updated_at() returns trigger
language plpgsql as $$
begin
  if new.updated_at is not distinct from old.updated_at
    and new is distinct from old
    and coalesce(current_setting('sync.applying', true), '') <> 'on'
  then
    new.updated_at := now();
  end if;
  return new;
end
$$;

-- A customer. The tenant is the boundary that nothing crosses: every row below belongs to exactly one, and an edge sees
-- one.
create table tenants (
  id uuid constraint tenants_are_identified_by_id primary key default gen_random_uuid(),
  name text not null,
  -- The name in URLs and on command lines.
  slug text not null,
  type tenant_type not null default 'standard',
  status tenant_status not null default 'active',
  keycloak_group_id text,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint tenants_slug_is_unique unique (slug),
  constraint tenants_slug_is_a_dns_label check (slug ~ '^[a-z0-9-]{1,63}$'),
  constraint tenants_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

-- A person or a service account. Users stand outside the tenants; user_tenant_associations puts them in.
create table users (
  id uuid constraint users_are_identified_by_id primary key default gen_random_uuid(),
  -- The subject in Keycloak, null for people who only sign in at a site. Never leaves the centre.
  keycloak_id text,
  email text not null,
  first_name text,
  last_name text,
  user_type user_type not null default 'regular_user',
  -- Never leaves the centre: a user may belong to several tenants, and this is nobody's in particular.
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint users_keycloak_id_is_unique unique (keycloak_id),
  constraint users_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

-- One person, one address, in whatever case it is typed. A unique index on an expression cannot be deferred. That is
-- no loss here: users only travel down, so no batch from a site ever swaps two addresses. An exclusion constraint could
-- be deferred, but would take `on conflict (lower(email))` and the familiar SQLSTATE 23505 from other applications.
create unique index users_email_is_unique on users (lower(email));

-- Membership. One row for each pair, so a change of role is an update that history can show.
create table user_tenant_associations (
  id uuid constraint user_tenant_associations_are_identified_by_id primary key default gen_random_uuid(),
  user_id uuid not null
    constraint user_tenant_associations_user_exists references users (id) on delete cascade deferrable,
  tenant_id uuid not null
    constraint user_tenant_associations_tenant_exists references tenants (id) on delete cascade deferrable,
  role member_role not null default 'member',
  status member_status not null default 'active',
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint user_is_associated_once_with_a_tenant unique (user_id, tenant_id),
  constraint user_tenant_associations_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create index user_tenant_associations_by_tenant on user_tenant_associations (tenant_id, status);

create trigger tenants_move_updated_at before update on tenants
  for each row execute function move_updated_at();
create trigger users_move_updated_at before update on users
  for each row execute function move_updated_at();
create trigger user_tenant_associations_move_updated_at before update on user_tenant_associations
  for each row execute function move_updated_at();
