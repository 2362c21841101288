-- A replica id that was silent for too long is compared with the centre when it shows itself again. Two copies of a box may go
-- by that id: the comparison with the one says nothing of the other, who shows an older checkpoint than this.

alter table sync.fences
  add column compared_count bigint not null default 0;

comment on column sync.fences.compared_count is
  'The checkpoint with which it was compared after a long silence; whoever shows an older one was not there.';
