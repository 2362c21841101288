-- What is refused on which way, and what may not be forgotten while somebody still has to decide.

-- 'up' is a site's write that the centre did not take; 'down' a row of the centre that has no form in which it could be sent
-- (no edge), or that its edge could not store. One row of one edge may be refused on both.
alter table sync.quarantine add column way text not null default 'up'
  constraint quarantine_way_is_known check (way in ('up', 'down'));
update sync.quarantine set way = 'down' where edge_id is null;

drop index sync.quarantine_has_one_open_entry_for_a_row;
create unique index quarantine_has_one_open_entry_for_a_row_and_way
  on sync.quarantine (edge_id, way, table_id, row_id) nulls not distinct where status = 'open';

create or replace view sync.quarantined_rows as
  select
    entry.id,
    tenant.slug as tenant,
    edge.name as edge,
    sync.table_name(entry.table_id) as table_name,
    entry.row_id,
    entry.code,
    entry.reason,
    entry.payload,
    entry.created_at,
    entry.way
  from sync.quarantine as entry
  left join sync.edges as edge on edge.id = entry.edge_id
  left join public.tenants as tenant on tenant.id = entry.tenant_id
  where entry.status = 'open';

-- A refused edit of a deleted row is merged with the row's tombstone when it is released or discarded; without it the row
-- would look like one that never was. So a version stays as long as an open entry speaks of its row, whoever collects.
create function sync.keep_versions_of_refused_rows() returns trigger
language plpgsql as $$
begin
  if exists (
    select from sync.quarantine as entry
    where entry.tenant_id = old.tenant_id and entry.table_id = old.table_id and entry.row_id = old.row_id
      and entry.status = 'open'
  ) then
    return null;
  end if;
  return old;
end
$$;

create trigger row_versions_of_refused_rows_stay before delete on sync.row_versions
  for each row execute function sync.keep_versions_of_refused_rows();
