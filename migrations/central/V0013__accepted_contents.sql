-- A box whose clock is behind stamps one above what the row had, and so does its copy: one name and stamp may be two writes. What
-- a write said is kept with it, so that it is known from another after the row has moved on.
alter table sync.accepted
  -- Register to a hash of its value; null for writes from before.
  add column contents jsonb,
  add constraint accepted_contents_are_an_object check (jsonb_typeof(contents) = 'object');
