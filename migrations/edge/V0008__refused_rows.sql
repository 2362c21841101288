-- What the hub has of each row that is listed as refused, on either way. The row itself stays as it was written here; what
-- is compared with other replicas, such as a dump, shows this instead. A line goes with the last entry about its row.
--
-- `vv` is the hub's vector, '{}' when it has none. `fields` are the values by column and JSON key, as the protocol has them;
-- null when the hub has no such row, or a dead one.
create table sync_hub_rows (
  tbl integer not null,
  row_id text not null,
  vv text not null,
  fields text,
  primary key (tbl, row_id)
) strict, without rowid;

-- The rows that stand in the way of a refused one, as JSON [[tbl, row_id], ...]: when one of them changes it is tried again.
alter table sync_quarantine add column blockers text;

-- Rows that were refused before this table was, and that the hub never had.
insert into sync_hub_rows (tbl, row_id, vv)
select r.tbl, r.row_id, '{}' from sync_rows as r
where r.base = '{}' and exists (
  select 1 from sync_quarantine as q where q.tbl = r.tbl and q.row_id = r.row_id and q.status = 'open'
);
