-- The mirror of one tenant: the tables that other programs on the box may read, and of which they may write sites,
-- devices and tasks. Columns, order and defaults are those of the centre, so that one statement means the same there and here.
--
-- * Uuids are lower-case text, timestamps UTC text with six decimals, JSON text: two equal values are equal bytes.
-- * A check binds whoever writes here. What the centre sends is applied without checks: an edge that stays offline for
--   months must be able to hold a label that it has never heard of.
-- * There is no unique key but the primary key: two rows may trade an e-mail or a serial number inside of one window,
--   and an incoming row must never fail. The centre is where they are unique.
-- * The tables are strict, so a wrong type is refused where it is written. They have no rowid, so the id is the only
--   name of a row: a second one would let a REPLACE or a blob handle change a row past the capture triggers.
-- * Foreign keys bind clients that turn them on; pulled rows are applied with them off.

-- The tenant of this edge; one row. Kept at the centre.
create table tenants (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  name text not null,
  slug text not null,
  type text not null default 'standard',
  status text not null default 'active',
  keycloak_group_id text,
  metadata text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint tenant_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint tenant_type_is_known check (type in ('enterprise', 'standard', 'starter', 'trial')),
  constraint tenant_status_is_known check (status in ('active', 'suspended', 'archived', 'pending')),
  constraint tenant_metadata_is_an_object check (
    case when json_valid(metadata) then json_type(metadata) = 'object' else false end
  ),
  constraint tenant_metadata_has_no_nul check (instr(replace(metadata, '\\', ''), '\u0000') = 0),
  constraint tenant_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint tenant_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;

-- Everyone who is a member of the tenant or whom one of its rows refers to. Kept at the centre.
create table users (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  email text not null,
  first_name text,
  last_name text,
  user_type text not null default 'regular_user',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint user_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint user_user_type_is_known check (
    user_type in (
      'system_admin', 'tenant_admin', 'regular_user', 'service_account', 'guest_user'
    )
  ),
  constraint user_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint user_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;

-- Who belongs to the tenant, and as what. Kept at the centre.
create table user_tenant_associations (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  user_id text not null references users (id) on delete cascade,
  tenant_id text not null references tenants (id) on delete cascade,
  role text not null default 'member',
  status text not null default 'active',
  metadata text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint membership_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint membership_user_id_is_a_lowercase_uuid check (
    user_id glob '????????-????-????-????-????????????' and user_id not glob '*[^-0-9a-f]*'
    and length(replace(user_id, '-', '')) = 32
  ),
  constraint membership_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint membership_role_is_known check (role in ('owner', 'admin', 'member', 'viewer')),
  constraint membership_status_is_known check (status in ('active', 'invited', 'suspended')),
  constraint membership_metadata_is_an_object check (
    case when json_valid(metadata) then json_type(metadata) = 'object' else false end
  ),
  constraint membership_metadata_has_no_nul check (instr(replace(metadata, '\\', ''), '\u0000') = 0),
  constraint membership_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint membership_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;

-- The tenant's sites. A client may leave out `tenant_id`: a box has one tenant, and a trigger fills it in.
create table sites (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  tenant_id text references tenants (id) on delete cascade,
  name text not null,
  address text,
  latitude real,
  longitude real,
  timezone text not null default 'UTC',
  metadata text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint site_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint site_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint site_metadata_is_an_object check (
    case when json_valid(metadata) then json_type(metadata) = 'object' else false end
  ),
  constraint site_metadata_has_no_nul check (instr(replace(metadata, '\\', ''), '\u0000') = 0),
  constraint site_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint site_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  ),
  constraint site_latitude_is_on_earth check (latitude between -90 and 90),
  constraint site_longitude_is_on_earth check (longitude between -180 and 180)
) strict, without rowid;

-- Who works where. Kept at the centre.
-- 
-- `site_id` has no foreign key: deleting a site here would take its assignments along, which is not this edge's to
-- decide. If the site survives a concurrent edit at the centre, they were never gone there, and nobody would send them again.
create table user_site_assignments (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  user_id text not null references users (id) on delete cascade,
  site_id text not null,
  tenant_id text not null references tenants (id) on delete cascade,
  assigned_by text references users (id) on delete set null,
  metadata text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint assignment_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint assignment_user_id_is_a_lowercase_uuid check (
    user_id glob '????????-????-????-????-????????????' and user_id not glob '*[^-0-9a-f]*'
    and length(replace(user_id, '-', '')) = 32
  ),
  constraint assignment_site_id_is_a_lowercase_uuid check (
    site_id glob '????????-????-????-????-????????????' and site_id not glob '*[^-0-9a-f]*'
    and length(replace(site_id, '-', '')) = 32
  ),
  constraint assignment_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint assignment_assigned_by_is_a_lowercase_uuid check (
    assigned_by glob '????????-????-????-????-????????????' and assigned_by not glob '*[^-0-9a-f]*'
    and length(replace(assigned_by, '-', '')) = 32
  ),
  constraint assignment_metadata_is_an_object check (
    case when json_valid(metadata) then json_type(metadata) = 'object' else false end
  ),
  constraint assignment_metadata_has_no_nul check (instr(replace(metadata, '\\', ''), '\u0000') = 0),
  constraint assignment_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint assignment_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;

-- What proves that a person is who they say, offline: an argon2id verifier for each user of this edge's site. Kept at the
-- centre, never dumped. `site_id` has no foreign key for the reason given above.
create table sync_credentials (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  tenant_id text not null references tenants (id) on delete cascade,
  user_id text not null references users (id) on delete cascade,
  site_id text not null,
  verifier text not null,
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint credential_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint credential_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint credential_user_id_is_a_lowercase_uuid check (
    user_id glob '????????-????-????-????-????????????' and user_id not glob '*[^-0-9a-f]*'
    and length(replace(user_id, '-', '')) = 32
  ),
  constraint credential_site_id_is_a_lowercase_uuid check (
    site_id glob '????????-????-????-????-????????????' and site_id not glob '*[^-0-9a-f]*'
    and length(replace(site_id, '-', '')) = 32
  ),
  constraint credential_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint credential_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;

-- The tenant's devices. `tenant_id` may be left out, as for sites.
create table devices (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  tenant_id text references tenants (id) on delete cascade,
  site_id text not null references sites (id) on delete cascade,
  name text not null,
  type text not null,
  serial_number text,
  status text not null default 'offline',
  metadata text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint device_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint device_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint device_site_id_is_a_lowercase_uuid check (
    site_id glob '????????-????-????-????-????????????' and site_id not glob '*[^-0-9a-f]*'
    and length(replace(site_id, '-', '')) = 32
  ),
  constraint device_type_is_known check (
    type in (
      'sensor', 'controller', 'gateway', 'camera', 'actuator', 'meter', 'beacon', 'router', 'server',
      'workstation'
    )
  ),
  constraint device_status_is_known check (status in ('online', 'offline', 'maintenance', 'error', 'decommissioned')),
  constraint device_metadata_is_an_object check (
    case when json_valid(metadata) then json_type(metadata) = 'object' else false end
  ),
  constraint device_metadata_has_no_nul check (instr(replace(metadata, '\\', ''), '\u0000') = 0),
  constraint device_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint device_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;
create index devices_by_site on devices (site_id, status);
create index devices_by_serial_number on devices (serial_number) where serial_number is not null;

-- The tenant's tasks. `tenant_id` may be left out, as for sites.
create table tasks (
  id text not null primary key default (
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
    || substr('89ab', (random() & 3) + 1, 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
  ),
  tenant_id text references tenants (id) on delete cascade,
  user_id text references users (id) on delete set null,
  site_id text references sites (id) on delete set null,
  device_id text references devices (id) on delete set null,
  title text not null,
  description text,
  status text not null default 'open',
  priority text not null default 'medium',
  due_date text,
  completed_at text,
  metadata text not null default '{}',
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'),
  constraint task_id_is_a_lowercase_uuid check (
    id glob '????????-????-????-????-????????????' and id not glob '*[^-0-9a-f]*'
    and length(replace(id, '-', '')) = 32
  ),
  constraint task_tenant_id_is_a_lowercase_uuid check (
    tenant_id glob '????????-????-????-????-????????????' and tenant_id not glob '*[^-0-9a-f]*'
    and length(replace(tenant_id, '-', '')) = 32
  ),
  constraint task_user_id_is_a_lowercase_uuid check (
    user_id glob '????????-????-????-????-????????????' and user_id not glob '*[^-0-9a-f]*'
    and length(replace(user_id, '-', '')) = 32
  ),
  constraint task_site_id_is_a_lowercase_uuid check (
    site_id glob '????????-????-????-????-????????????' and site_id not glob '*[^-0-9a-f]*'
    and length(replace(site_id, '-', '')) = 32
  ),
  constraint task_device_id_is_a_lowercase_uuid check (
    device_id glob '????????-????-????-????-????????????' and device_id not glob '*[^-0-9a-f]*'
    and length(replace(device_id, '-', '')) = 32
  ),
  constraint task_status_is_known check (status in ('open', 'in_progress', 'blocked', 'done', 'cancelled')),
  constraint task_priority_is_known check (priority in ('low', 'medium', 'high', 'urgent')),
  constraint task_due_date_is_utc_with_six_decimals check (
    due_date glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(due_date, '+0 days') is substr(due_date, 1, 10)
  ),
  constraint task_completed_at_is_utc_with_six_decimals check (
    completed_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(completed_at, '+0 days') is substr(completed_at, 1, 10)
  ),
  constraint task_metadata_is_an_object check (
    case when json_valid(metadata) then json_type(metadata) = 'object' else false end
  ),
  constraint task_metadata_has_no_nul check (instr(replace(metadata, '\\', ''), '\u0000') = 0),
  constraint task_created_at_is_utc_with_six_decimals check (
    created_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(created_at, '+0 days') is substr(created_at, 1, 10)
  ),
  constraint task_updated_at_is_utc_with_six_decimals check (
    updated_at glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
    and date(updated_at, '+0 days') is substr(updated_at, 1, 10)
  )
) strict, without rowid;
create index tasks_by_status on tasks (status, priority);
create index tasks_by_due_date on tasks (due_date) where due_date is not null;
create index tasks_by_assignee on tasks (user_id, status) where user_id is not null;
create index tasks_by_site on tasks (site_id, status) where site_id is not null;
create index tasks_by_device on tasks (device_id) where device_id is not null;
