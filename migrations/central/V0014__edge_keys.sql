-- Who an edge is, it proves with a key pair that it made itself; what it shows with each request, is a credential with an end.

alter table sync.edges
  -- Ed25519; null for an edge that was enrolled before there were keys, whose credential has no end.
  add column public_key bytea,
  add constraint edges_public_key_is_ed25519 check (octet_length(public_key) = 32);

-- The credentials that are good. A copy of a box gets one of its own, so an edge may have several.
create table sync.edge_credentials (
  edge_id uuid not null
    constraint edge_credentials_edge_exists references sync.edges (id) on delete cascade deferrable,
  -- SHA-256 of the credential, which is 256 random bits and needs no slow hash.
  hash bytea not null,
  issued_at timestamptz not null default now(),
  expires_at timestamptz,
  -- The credential that ends when this one is used: until then nobody knows whether the edge has heard of this one.
  replaces bytea,
  constraint edge_credentials_are_identified_by_hash primary key (edge_id, hash)
);

insert into sync.edge_credentials (edge_id, hash) select id, credential_hash from sync.edges;
alter table sync.edges drop column credential_hash;
