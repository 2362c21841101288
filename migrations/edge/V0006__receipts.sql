-- When the hub was first known to have a row as it is here, in Unix milliseconds by the hub's clock: so that "at HQ since" can be
-- said of a row and is not made up. Written with `base`, by the answer to a push and by a page that brought the row. It says
-- nothing while `base` is set, and is null for rows that were acknowledged before this column was.
alter table sync_rows add column hub_had_ms integer;

-- What was done to one row, for its history.
create index audit_logs_of_resource on audit_logs (resource_id, created_at) where resource_id is not null;
