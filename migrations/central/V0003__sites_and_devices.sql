-- Where things are, and what stands there.
--
-- Keys (tenant_id, id) beside the primary keys exist for the composite foreign keys: a reference names the tenant too, so
-- that a row can never point into another tenant, whoever writes it. They begin with the tenant, as row-level security
-- will filter by it. They cannot be deferrable, because PostgreSQL wants the target of a foreign key not to be.

-- A place of a tenant. One edge node stands at a site.
create table sites (
  id uuid constraint sites_are_identified_by_id primary key default gen_random_uuid(),
  tenant_id uuid not null constraint sites_tenant_exists references tenants (id) on delete cascade deferrable,
  name text not null,
  address text,
  latitude double precision,
  longitude double precision,
  -- The IANA name by which local times at the site are shown.
  timezone text not null default 'UTC',
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint sites_are_keys_for_their_tenant unique (tenant_id, id),
  -- A comparison with NaN is false on one side, because PostgreSQL sorts NaN above every number.
  constraint sites_latitude_is_on_earth check (latitude between -90 and 90),
  constraint sites_longitude_is_on_earth check (longitude between -180 and 180),
  constraint sites_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create index sites_by_name on sites (tenant_id, lower(name));

-- Refuses a time zone that this server does not know. It is a trigger and no check constraint because the answer may
-- change: the list of zones comes with the operating system. A check over it would be a promise PostgreSQL cannot keep,
-- and would fail the restore of a dump on a machine with older zone files; a trigger looks at new values only.
--
-- `at time zone` is asked first and costs a lookup. It also takes abbreviations and POSIX rules ('FOO3', 'Foo/Bar3'),
-- which browsers do not know, so a name that is not plainly Area/Place must stand in the list of zones. Reading that
-- list takes 30 ms, which only names such as Japan and Etc/GMT+3 pay. Aliases that depend on the machine are no names.
--
-- The error carries a constraint's name, so that it is recognised like one.
create function refuse_unknown_timezone() returns trigger
language plpgsql as $$
begin
  perform now() at time zone new.timezone;
  if new.timezone ~ '^[A-Z][A-Za-z]+(/[A-Z][A-Za-z_-]+)+$'
    or exists (
      select from pg_catalog.pg_timezone_names as zone
      where zone.name = new.timezone and zone.name !~ '^(posix/|right/|posixrules$|localtime$|Factory$)'
    )
  then
    return new;
  end if;
  raise invalid_parameter_value;
exception
  when invalid_parameter_value then
    raise exception using
      errcode = 'check_violation',
      message = format('new row for relation "%s" has the unknown time zone "%s"', tg_table_name, new.timezone),
      hint = 'use an IANA name, for example Europe/Berlin',
      schema = tg_table_schema, table = tg_table_name, column = 'timezone',
      constraint = 'sites_timezone_is_known';
end
$$;

create trigger sites_timezone_is_known_on_insert before insert on sites
  for each row when (new.timezone <> 'UTC') execute function refuse_unknown_timezone();
create trigger sites_timezone_is_known_on_update before update of timezone on sites
  for each row when (new.timezone <> 'UTC' and new.timezone is distinct from old.timezone)
  execute function refuse_unknown_timezone();

create trigger sites_move_updated_at before update on sites
  for each row execute function move_updated_at();

-- Who works where. It decides whose sign-in data a site holds.
create table user_site_assignments (
  id uuid constraint user_site_assignments_are_identified_by_id primary key default gen_random_uuid(),
  user_id uuid not null
    constraint user_site_assignments_user_exists references users (id) on delete cascade deferrable,
  site_id uuid not null,
  tenant_id uuid not null
    constraint user_site_assignments_tenant_exists references tenants (id) on delete cascade deferrable,
  assigned_by uuid
    constraint user_site_assignments_assigner_exists references users (id) on delete set null deferrable,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint user_is_assigned_once_to_a_site unique (user_id, site_id),
  constraint user_site_assignments_site_is_of_the_tenant
    foreign key (tenant_id, site_id) references sites (tenant_id, id) on delete cascade deferrable,
  constraint user_site_assignments_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create index user_site_assignments_by_site on user_site_assignments (tenant_id, site_id);
create index user_site_assignments_by_assigner on user_site_assignments (assigned_by) where assigned_by is not null;

create trigger user_site_assignments_move_updated_at before update on user_site_assignments
  for each row execute function move_updated_at();

-- A piece of equipment at a site.
create table devices (
  id uuid constraint devices_are_identified_by_id primary key default gen_random_uuid(),
  -- May be left out: it is the site's.
  tenant_id uuid not null constraint devices_tenant_exists references tenants (id) on delete cascade deferrable,
  site_id uuid not null,
  name text not null,
  type device_type not null,
  serial_number text,
  status device_status not null default 'offline',
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint devices_are_keys_for_their_tenant unique (tenant_id, id),
  -- Deferrable, so that two devices can swap serial numbers and a deleted device's number can be given again within one
  -- batch of a site. The price: an INSERT into devices names the key of its ON CONFLICT, as in `on conflict (id)`.
  constraint devices_serial_number_is_unique_in_the_tenant unique (tenant_id, serial_number) deferrable,
  constraint devices_site_is_of_the_tenant
    foreign key (tenant_id, site_id) references sites (tenant_id, id) on delete cascade deferrable,
  constraint devices_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create index devices_by_site on devices (tenant_id, site_id);
create index devices_by_status on devices (tenant_id, status);
create index devices_by_type on devices (tenant_id, type);

-- Fills in the tenant that was left out. On UPDATE too, for the writer who moves a device to the site of another tenant and
-- clears tenant_id to say so. It never overrules a tenant: `set site_id = <site of another tenant>` alone is refused by
-- devices_site_is_of_the_tenant, because a mistyped id must not hand a device to another customer.
create function fill_device_tenant() returns trigger
language plpgsql as $$
begin
  if coalesce(current_setting('sync.applying', true), '') = 'on' then
    return new;
  end if;
  select site.tenant_id into new.tenant_id from public.sites as site where site.id = new.site_id;
  -- Otherwise the writer would read that tenant_id must not be null, which is not what is wrong.
  if new.tenant_id is null and new.site_id is not null then
    raise exception using
      errcode = 'foreign_key_violation',
      message = format('device "%s" names the site "%s", which does not exist', new.id, new.site_id),
      schema = tg_table_schema, table = tg_table_name, column = 'site_id',
      constraint = 'devices_site_is_of_the_tenant';
  end if;
  return new;
end
$$;

create trigger devices_fill_tenant before insert or update on devices
  for each row when (new.tenant_id is null) execute function fill_device_tenant();
create trigger devices_move_updated_at before update on devices
  for each row execute function move_updated_at();
