-- What it takes to forget dead rows once nobody needs to be told of their death.

-- Dead rows, to be found without reading the living.
create index row_versions_dead_by_tenant_and_txid on sync.row_versions (tenant_id, txid)
  where gone is not null and last_row is not null;

-- An edge that was silent for longer than the retention: it no longer holds back the collection of dead rows, and when it
-- returns it compares itself with the centre. Null again after that.
alter table sync.edges add column stale_at timestamptz;
