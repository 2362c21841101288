-- What it takes to notice that an edge or the centre was restored or copied, and to heal it.

-- The fence of each replica id. It belonged to the edge; but a box that was copied is one edge with two replica ids, and
-- each copy has a history of its own. A former id keeps its fence: the box that was believed dead may still turn up.
create table sync.fences (
  replica_id integer
    constraint fences_are_identified_by_replica primary key
    constraint fences_replica_exists references sync.replicas (id) deferrable initially deferred,
  edge_id uuid not null constraint fences_edge_exists references sync.edges (id) deferrable initially deferred,
  -- Rotated with each acknowledged push, the last two kept; null until the edge was told of a new incarnation.
  token_count bigint not null default 0,
  token bytea,
  token_before bytea,
  -- The last push and its answer, so that a push whose answer was lost gets the same answer again.
  last_batch uuid,
  last_batch_hash bytea,
  last_answer bytea,
  -- The highest seq that this replica ever reported: a lower one later means that the box was rewound.
  high_seq bigint not null default 0,
  -- The checkpoint: how many cursors were issued, the last one's random word, and the centre's seq up to which every write
  -- was finished then. An edge that presents a later one knows a future that this database has lost.
  cursor_count bigint not null default 0,
  cursor_nonce uuid,
  cursor_seq bigint not null default 0
)
-- Every exchange updates its row and no indexed column.
with (fillfactor = 70);

create index fences_by_edge on sync.fences (edge_id);

insert into sync.fences
  (replica_id, edge_id, token_count, token, token_before, last_batch, last_batch_hash, last_answer, high_seq)
select replica_id, id, token_count, token, token_before, last_batch, last_batch_hash, last_answer, high_seq
from sync.edges;

alter table sync.edges
  drop column token_count,
  drop column token,
  drop column token_before,
  drop column last_batch,
  drop column last_batch_hash,
  drop column last_answer,
  drop column high_seq,
  -- When somebody asked that the edge be compared with the centre, and what it last found.
  add column verify_asked_at timestamptz,
  add column verified_at timestamptz,
  add column verified jsonb;

-- Which server this database was last seen on. Another one means a restore or a failover.
alter table sync.hub
  add column system_identifier text,
  add column timeline text,
  -- Every transaction that drew a seq up to this has ended.
  add column settled_seq bigint not null default 0,
  -- A seq that was drawn before `candidate_xmax` began; it settles when no earlier transaction is left.
  add column candidate_seq bigint not null default 0,
  add column candidate_xmax bigint not null default 0,
  add column candidate_at timestamptz not null default '-infinity';

-- The rewinds of the centre, in their order. A seq of the former centre's above `above_seq` may name two writes: one that was
-- lost and one made since. Here the latter were renamed to the present id; edges rename theirs to the lost one.
create table sync.incarnations (
  number integer generated always as identity constraint incarnations_are_identified_by_number primary key,
  -- What sync.hub.hub_id was before and became.
  former_id uuid not null,
  id uuid not null constraint incarnations_id_is_unique unique,
  former_replica integer not null,
  above_seq bigint not null,
  lost_replica integer not null,
  replica integer not null,
  -- Incarnations of the lost future, of which this database knows only by edges: they count as the former one.
  lost_ids uuid[] not null default '{}',
  reason text not null,
  began_at timestamptz not null default now()
);

-- Which writes of edges were accepted, exactly: a restored edge asks before it writes them again under a new id. Bounded: the
-- last 100,000 numbers of each replica.
create table sync.accepted (
  replica_id integer not null,
  seq bigint not null,
  hlc bigint not null,
  -- Copies that write at the same moment may use one number and one stamp, for different rows.
  row_id uuid not null,
  constraint accepted_are_identified_by_write primary key (replica_id, seq)
);

-- Rows that only edges still hold, because the centre lost them. Somebody accepts or discards each.
create table sync.recovered (
  id uuid not null,
  tenant_id uuid not null,
  edge_id uuid not null,
  table_id smallint not null,
  row_id uuid not null,
  -- The row as the edge holds it, in the form of the protocol.
  payload jsonb not null,
  status text not null default 'open',
  created_at timestamptz not null default now(),
  settled_at timestamptz,
  -- The id follows from the contents: several edges that hold the same are one entry.
  constraint recovered_are_identified_by_contents primary key (tenant_id, id),
  constraint recovered_status_is_known check (status in ('open', 'accepted', 'discarded', 'superseded')),
  constraint recovered_settled_at_tells_when check ((status = 'open') = (settled_at is null))
);

create index recovered_by_row on sync.recovered (tenant_id, table_id, row_id) where status = 'open';

-- A new incarnation steps over the numbers that may have been given in the lost future.
grant update on sequence sync.replica_ids to waystation_hub;
