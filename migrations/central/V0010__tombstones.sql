-- What it takes to forget dead rows once nobody needs to be told of their death.

-- Dead rows, to be found without reading the living.
create index row_versions_dead_by_tenant_and_txid on sync.row_versions (tenant_id, txid)
  where gone is not null and last_row is not null;

-- An edge that was silent for longer than the retention: it no longer holds back the collection of dead rows, and when it
-- returns it compares itself with the centre. Null again after that.
alter table sync.edges add column stale_at timestamptz;

-- As before, and a stale edge is called that.
create or replace view sync.edge_status as
  select
    edge.name,
    tenant.slug as tenant,
    site.name as site,
    case when edge.status = 'enrolled' and edge.stale_at is not null then 'stale' else edge.status end as status,
    edge.last_seen_at,
    edge.pending,
    edge.lag_seconds,
    edge.conflicts_open,
    edge.quarantined,
    edge.app_version
  from sync.edges as edge
  left join public.tenants as tenant on tenant.id = edge.tenant_id
  left join public.sites as site on site.id = edge.site_id;
