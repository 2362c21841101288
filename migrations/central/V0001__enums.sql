-- The closed sets of values. They are enum types rather than checks on text, so that every client, of any language,
-- can list them from the catalog, and so that a value is added by one ALTER TYPE without rewriting a table.
-- Values are ordered as people rank them: `order by priority desc` puts the urgent tasks first.

create type user_type as enum ('system_admin', 'tenant_admin', 'regular_user', 'service_account', 'guest_user');

create type tenant_type as enum ('enterprise', 'standard', 'starter', 'trial');
create type tenant_status as enum ('active', 'suspended', 'archived', 'pending');

-- What a person may do in a tenant, strongest first.
create type member_role as enum ('owner', 'admin', 'member', 'viewer');
create type member_status as enum ('active', 'invited', 'suspended');

create type device_type as enum (
  'sensor', 'controller', 'gateway', 'camera', 'actuator', 'meter', 'beacon', 'router', 'server', 'workstation'
);
create type device_status as enum ('online', 'offline', 'maintenance', 'error', 'decommissioned');

create type task_status as enum ('open', 'in_progress', 'blocked', 'done', 'cancelled');
create type task_priority as enum ('low', 'medium', 'high', 'urgent');

create type audit_action as enum (
  'create', 'read', 'update', 'delete', 'login', 'logout', 'login_failed', 'invite', 'accept', 'assign', 'unassign',
  'sync', 'conflict', 'restore', 'enroll', 'revoke', 'export'
);

-- What an audit record is about: every table that people see, in the singular, and the things of replication that
-- people act on.
create type resource_type as enum (
  'user', 'tenant', 'user_tenant_association', 'site', 'user_site_assignment', 'device', 'task', 'audit_log',
  'tenant_invitation', 'edge', 'credential', 'session', 'conflict', 'quarantine'
);
