-- What this edge remembers of restores and copies.

-- The ids that this edge had before. What was written under them is its own.
create table sync_former (
  replica integer not null primary key
) strict;

-- `incarnation` is the centre's, as this edge last agreed with it; null before the first session. `reconcile` is 1 from the
-- moment that this edge got a new id until it has been compared with the centre.
alter table sync_self add column incarnation text;
alter table sync_self add column reconcile integer not null default 0 check (reconcile in (0, 1));
