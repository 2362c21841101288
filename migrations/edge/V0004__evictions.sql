-- Rows that have left this edge's scope while they held writes that the hub does not have. A row is removed when its last
-- such write is acknowledged or refused, in that transaction, and its line here with it. A row that comes back into scope
-- loses its line.
create table sync_evictions (
  tbl integer not null,
  row_id text not null,
  primary key (tbl, row_id)
) strict, without rowid;
