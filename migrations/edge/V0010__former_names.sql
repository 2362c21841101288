-- The names that writes had which wait under new ones since this edge took another replica id. They are sent with the row, so
-- that a copy of the same backup, which still has the old names, is told that the centre has these writes.
--
-- `tbl` and `row_id` name the row, as in `sync_rows`. `replica`, `seq` and `hlc` are the old name with its stamp; `now_seq` is the
-- number that the write has under the present replica id.
create table sync_former_names (
  tbl integer not null,
  row_id text not null,
  replica integer not null,
  seq integer not null,
  hlc integer not null,
  now_seq integer not null,
  primary key (tbl, row_id, replica, seq)
) strict, without rowid;
