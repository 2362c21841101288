-- Writes that an edge sent under a new name, because it took another replica id while they waited, are known by their old name
-- too. A copy of the same backup asks by that.
alter table sync.accepted
  -- The name under which the write was sent; null when it is the one that it always had.
  add column now_replica_id integer,
  add column now_seq bigint,
  add constraint accepted_new_names_are_whole check ((now_replica_id is null) = (now_seq is null)),
  -- The old name of one life's write may be that of another life's write, with another stamp or of another row.
  drop constraint accepted_are_identified_by_write,
  add constraint accepted_are_identified_by_write primary key (replica_id, seq, hlc, row_id);
