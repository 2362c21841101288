-- Sessions that can be told apart and ended one by one, and emergency codes that begin one.
--
-- `id` names a session to people; it is random, and neither the token nor its hash follows from it. `code_id` is the emergency
-- code that began it; then `user_id` is the nil uuid, because it is nobody's.
alter table sync_sessions add column id text;
alter table sync_sessions add column code_id text;
update sync_sessions set id = lower(
  hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2)
  || '-' || hex(randomblob(6))
);
create unique index sync_sessions_by_id on sync_sessions (id);

-- Codes that the operator of the box printed, each good for one session of whoever has it. Only a hash of each is kept: it has
-- 80 random bits, so a fast one is enough. `used_at` is set in the transaction that begins the session. Times are labels, by the
-- box's clock. Left out of backups: a code that was used must not be good again after a restore.
create table sync_emergency_codes (
  id text not null primary key,
  code_hash blob not null,
  created_at text not null,
  used_at text,
  revoked_at text,
  constraint an_emergency_code_is_made_once unique (code_hash)
) strict, without rowid;
