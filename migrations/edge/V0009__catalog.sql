-- The version of the catalog under which the mirror's rows were stored: which columns whoever stored them knew. A program that
-- knows more asks the centre for a comparison, which finds what the rows lack under the versions that they have.
alter table sync_self add column catalog_version integer not null default 1 check (catalog_version >= 0);
