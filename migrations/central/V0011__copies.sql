-- Two copies of one edge are two histories: what one of them has seen, the other need not have.

-- The cursor that this replica id has acknowledged. The one in sync.edges is the last that any copy did, for people to read.
alter table sync.fences
  add column cursor_acknowledged text,
  -- When somebody last used this id.
  add column last_seen_at timestamptz not null default now(),
  -- Since when it is no longer waited for. Whoever returns under it is compared with the centre first; null again after that.
  add column stale_at timestamptz;

update sync.fences as fence
set cursor_acknowledged = edge.cursor_acknowledged, stale_at = edge.stale_at
from sync.edges as edge
where edge.id = fence.edge_id;

-- Which database of the server it is: a dump that is restored beside or in the place of the old one gets another.
alter table sync.hub add column database_oid bigint;
