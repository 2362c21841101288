-- Work to be done. A task belongs to a tenant; a person, a site and a device may be named, and when one of these goes, the
-- task stays and forgets it. Site and device must be of the task's own tenant (composite keys). The assignee need not be
-- a member: people leave, and their finished work keeps their name.
create table tasks (
  id uuid constraint tasks_are_identified_by_id primary key default gen_random_uuid(),
  tenant_id uuid not null constraint tasks_tenant_exists references tenants (id) on delete cascade deferrable,
  user_id uuid constraint tasks_assignee_exists references users (id) on delete set null deferrable,
  site_id uuid,
  device_id uuid,
  title text not null,
  description text,
  status task_status not null default 'open',
  priority task_priority not null default 'medium',
  due_date timestamptz,
  -- When the work was finished. Kept by whoever sets the status: the two win and lose together in a merge, and a
  -- trigger that filled it in would be one more writer.
  completed_at timestamptz,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Only the reference is cleared; without the column list tenant_id would be nulled with it, and refused.
  constraint tasks_site_is_of_the_tenant
    foreign key (tenant_id, site_id) references sites (tenant_id, id) on delete set null (site_id) deferrable,
  constraint tasks_device_is_of_the_tenant
    foreign key (tenant_id, device_id) references devices (tenant_id, id) on delete set null (device_id) deferrable,
  constraint tasks_metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create index tasks_by_status on tasks (tenant_id, status, due_date);
create index tasks_by_priority on tasks (tenant_id, priority, due_date);
create index tasks_by_due_date on tasks (tenant_id, due_date);
create index tasks_by_site on tasks (tenant_id, site_id) where site_id is not null;
create index tasks_by_device on tasks (tenant_id, device_id) where device_id is not null;
-- The assignee first: the query is "my tasks", and the foreign key from users must find a person's tasks in all tenants.
create index tasks_by_assignee on tasks (user_id, tenant_id, status) where user_id is not null;

create trigger tasks_move_updated_at before update on tasks
  for each row execute function move_updated_at();
