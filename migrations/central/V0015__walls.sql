-- The second wall between tenants. The hub takes the tenant from the edge's credential and names it in every statement; should
-- a statement ever forget it, row level security keeps the hub's role within that tenant all the same.
--
-- Other roles see and write what they did before: the wall is for waystation_hub, and for whoever is a member of it and owns
-- nothing. It is not forced upon owners, who would lose COPY FROM and pg_dump by it and whom the capture functions work as; no
-- hub works as an owner.

-- Whose rows the hub is at. Null is every tenant's, for what the hub does by itself; a hub that has not said whose touches none.
create function sync.tenant() returns uuid
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  said text := current_setting('waystation.tenant', true);
begin
  if coalesce(said, '') = '' then
    raise exception using
      errcode = 'insufficient_privilege',
      message = 'the hub touches no row of a tenant before it has said whose';
  end if;
  return nullif(said, '*')::uuid;
end
$$;

-- What is behind the wall, and what is within reach there.
create view sync.walls as
  select listed.relation::regclass as relation, listed.within
  from (values
    ('public.tenants', 'id = (select sync.tenant())'),
    ('public.users', 'exists (select from sync.user_scopes as scope
       where scope.tenant_id = (select sync.tenant()) and scope.user_id = users.id)'),
    ('public.user_tenant_associations', 'tenant_id = (select sync.tenant())'),
    ('public.sites', 'tenant_id = (select sync.tenant())'),
    ('public.user_site_assignments', 'tenant_id = (select sync.tenant())'),
    ('public.devices', 'tenant_id = (select sync.tenant())'),
    ('public.tasks', 'tenant_id = (select sync.tenant())'),
    ('public.audit_logs', 'tenant_id = (select sync.tenant())'),
    ('public.tenant_invitations', 'tenant_id = (select sync.tenant())'),
    -- Users are versioned once, under the nil uuid.
    ('sync.row_versions', 'tenant_id in ((select sync.tenant()), ''00000000-0000-0000-0000-000000000000'')'),
    ('sync.scope_changes', 'tenant_id = (select sync.tenant())'),
    ('sync.conflicts', 'tenant_id = (select sync.tenant())'),
    ('sync.quarantine', 'tenant_id = (select sync.tenant())'),
    ('sync.recovered', 'tenant_id = (select sync.tenant())'),
    ('sync.credentials', 'tenant_id = (select sync.tenant())')
  ) as listed (relation, within);

do $$
declare
  walled record;
begin
  for walled in select * from sync.walls loop
    execute format('alter table %s enable row level security', walled.relation);
    execute format('create policy everybody on %s using (true) with check (true)', walled.relation);
    -- Asked once for a statement, not for each row.
    execute format(
      'create policy hub_keeps_to_its_tenant on %s as restrictive to waystation_hub using ((select sync.tenant()) is null or %s)',
      walled.relation, walled.within
    );
  end loop;
end
$$;

-- Tables behind the wall where somebody's policy would hide rows from the hub, or where ours is not as it was made.
create view sync.broken_walls as
  select
    format('%I.%I', schema_.nspname, relation.relname) as relation,
    case
      when not relation.relrowsecurity or own.hub is null then 'the second wall between tenants is down'
      when own.everybody is null then 'rows are hidden from everybody but the owner'
      else format('the policy %I hides rows from the hub', stranger.polname)
    end as problem,
    relation.relrowsecurity and own.hub is not null as hides
  from sync.walls as wall
  join pg_catalog.pg_class as relation on relation.oid = wall.relation
  join pg_catalog.pg_namespace as schema_ on schema_.oid = relation.relnamespace
  cross join lateral (
    select
      max(policy.polname::text) filter (where policy.polname = 'hub_keeps_to_its_tenant' and not policy.polpermissive) as hub,
      max(policy.polname::text) filter (where policy.polname = 'everybody' and policy.polpermissive) as everybody
    from pg_catalog.pg_policy as policy where policy.polrelid = relation.oid
  ) as own
  left join lateral (
    select policy.polname
    from pg_catalog.pg_policy as policy
    where policy.polrelid = relation.oid and not policy.polpermissive and policy.polname <> 'hub_keeps_to_its_tenant'
      and exists (
        select from unnest(policy.polroles) as role_
        where role_ = 0 or pg_has_role('waystation_hub', role_, 'usage')
      )
    order by policy.polname limit 1
  ) as stranger on true
  where not relation.relrowsecurity or own.hub is null or own.everybody is null or stranger.polname is not null;

-- Says whose rows the hub is at from now on, on this connection: a tenant's, '*' for all, '' for none. A row that is hidden by
-- somebody else's policy would be taken for a deleted one, so where there is such a policy nothing is touched at all.
create function sync.enter(reach text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  found_ record;
begin
  -- Every use of a connection asks this, so what is wrong, if anything, is looked for only then.
  select
    count(*) filter (where policy.polpermissive and policy.polname = 'everybody') as own,
    count(*) filter (where not policy.polpermissive and policy.polname <> 'hub_keeps_to_its_tenant') as strange,
    (select count(*) from sync.walls) as walls
  into found_
  from pg_catalog.pg_policy as policy
  where policy.polrelid in (select wall.relation from sync.walls as wall);
  if found_.own < found_.walls or found_.strange > 0 then
    select wall.relation, wall.problem into found_ from sync.broken_walls as wall where wall.hides limit 1;
    if found then
      raise exception using
        errcode = 'insufficient_privilege',
        message = format('%s: %s', found_.relation, found_.problem);
    end if;
  end if;
  perform set_config('waystation.tenant', reach, false);
end
$$;

-- Who is in a tenant's scope is read with the rights of who asks, so the wall is around this too.
alter view sync.user_scopes set (security_invoker = true);
