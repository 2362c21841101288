-- The rows whose version or standing has changed here, in the order of the commits, whoever changed them: what live
-- listeners are told, and where they go on after a break. Written by triggers on `sync_rows` and `sync_conflicts`, cut by
-- the edge. The last entry is never cut, so that an id is never used twice.
create table sync_changes (
  id integer not null primary key,
  tbl integer not null,
  row_id text not null
) strict;

-- What was answered to requests that carried an `Idempotency-Key`, written in the transaction that did what was asked for. A
-- repeat within 24 hours gets the same answer and does nothing. `request` is a hash of method, path and body.
create table sync_answers (
  user_id text not null,
  key text not null,
  request text not null,
  status integer not null,
  version text,
  body text not null,
  at text not null,
  primary key (user_id, key)
) strict, without rowid;
create index sync_answers_by_age on sync_answers (at);
