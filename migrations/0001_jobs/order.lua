
-- Who is served next.

local function backlog_key(root, class, tenant, priority)
  return root .. ':backlog:' .. class .. ':' .. tenant .. ':' .. priority
end

local function levels_key(root, class, tenant) return root .. ':levels:' .. class .. ':' .. tenant end

-- A tenant that comes back goes on where it was, but never before those who waited meanwhile.
local function enter(at, class, name)
  local pass = math.max(tenant_of(at, name)['pass:' .. class] or 0, at.shard['pass:' .. class] or 0)
  redis.call('ZADD', at.root .. ':ring:' .. class, 'NX', pass, name)
end

local function leave(at, class, name, pass)
  local tenant = tenant_of(at, name)
  tenant['pass:' .. class], tenant.changed = pass, true
  redis.call('ZREM', at.root .. ':ring:' .. class, name)
end

-- Puts a tenant back that was left out while it was paused or at its limit.
local function reenter(at, name)
  for _, class in ipairs(CLASSES) do
    if redis.call('EXISTS', levels_key(at.root, class, name)) == 1 then enter(at, class, name) end
  end
end

local function may_run(tenant)
  return not tenant.paused and not (tenant.max_running and (tenant.running or 0) >= tenant.max_running)
end

local function wake(root, jobs)
  local waiting = redis.call('LLEN', root .. ':wake')
  for _ = waiting + 1, math.min(WAKE_TOKENS, waiting + jobs) do redis.call('LPUSH', root .. ':wake', 1) end
end

-- Behind the others of its priority, or before them if it comes back.
local function into_backlog(at, id, record, returned)
  local class, name, priority = record.class, record.tenant, record.priority or 0
  local key = backlog_key(at.root, class, name, priority)
  if redis.call(returned and 'LPUSH' or 'RPUSH', key, id) == 1 then
    redis.call('ZADD', levels_key(at.root, class, name), -priority, priority)
  end
  enter(at, class, name)
end

-- Takes a waiting job out of its place; from a list it only leaves a ghost.
local function withdraw(at, id, record)
  if record.due and redis.call('ZREM', at.root .. ':delayed:' .. record.class, id) == 1 then return end
  if record.need and redis.call('ZREM', at.root .. ':sized:' .. record.class, id) == 1 then return end
  add(at.shard, 'ghosts:' .. record.class, 1)
end

-- The next time that ends the job by itself, or nil.
local function deadline(record)
  local start_by = not record.started and record.start_by or nil
  if start_by and record.finish_by then return math.min(start_by, record.finish_by) end
  return start_by or record.finish_by
end

local function set_deadline(at, id, record)
  local ends = deadline(record)
  if ends then
    redis.call('ZADD', at.root .. ':deadlines', ends, id)
  elseif record.start_by then
    redis.call('ZREM', at.root .. ':deadlines', id)
  end
end

-- Ends a job that neither waits nor runs any more.
local function finish(at, id, record, from, state, retention, data)
  record.state, record.finished, record.expires = state, at.time, at.time + retention
  if not record.started then record.aborted = true end
  emit(at, id, record, state, data)
  redis.call('SET', job_key(at.root, id), RECORD.pack(record), 'PXAT', record.expires)
  if record.start_by or record.finish_by then redis.call('ZREM', at.root .. ':deadlines', id) end
  count(at, record, from, state)
end

local function expire(at, id, record, from, retention)
  local missed = (not record.started and record.start_by and record.start_by <= at.time) and 'start_by' or 'finish_by'
  finish(at, id, record, from, 'expired', retention, '{"missed":"' .. missed .. '"}')
end

-- A job whose record is gone or broken goes aside alone.
local function lose(at, class, id, fault, tenant)
  bury(at, fault, id, redis.call('GET', job_key(at.root, id)) or '')
  add(at.shard, 'queued:' .. class, -1)
  if tenant then
    add(tenant, 'queued', -1)
    tenant.changed = true
  end
end

-- Whether a waiting job that came up can be worked on; one that cannot is dealt with here.
local function fit(at, id, record, retention)
  if redis.call('HEXISTS', at.root .. ':leases', id) == 1 then
    bury(at, 'waits and runs', id, RECORD.pack(record))
    return false
  end
  local ends = deadline(record)
  if ends and ends <= at.time then
    expire(at, id, record, 'queued', retention)
    return false
  end
  local batch = record.batch and batch_of(at, record.batch)
  if batch and batch.stopped then
    finish(at, id, record, 'queued', 'canceled', retention)
    return false
  end
  if batch and batch.paused then
    local parked = at.root .. ':parked:' .. record.class .. ':' .. record.batch
    redis.call('RPUSH', parked, id)
    redis.call('SADD', at.root .. ':parked', parked)
    return false
  end
  return true
end

-- Delayed jobs whose time has come join their backlogs.
local function promote(at, class, most)
  local delayed = at.root .. ':delayed:' .. class
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', at.time, 'LIMIT', 0, most)
  for _, id in ipairs(due) do
    redis.call('ZREM', delayed, id)
    local record, fault = read(at.root, id)
    if record then
      into_backlog(at, id, record, (record.attempt or 0) > 0)
    else
      lose(at, class, id, fault)
    end
  end
  return #due
end

-- A job that was too big for another worker and fits `capacity`. It has had its turn already.
local function take_sized(at, class, capacity, retention)
  local sized = at.root .. ':sized:' .. class
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', sized, '-inf', capacity, 'LIMIT', 0, 10)) do
    local record, fault = read(at.root, id)
    if not record then
      redis.call('ZREM', sized, id)
      lose(at, class, id, fault)
    elseif may_run(tenant_of(at, record.tenant)) then
      redis.call('ZREM', sized, id)
      if fit(at, id, record, retention) then return id, record end
    end
  end
end

-- The oldest job at a tenant's highest priority, out of its list; or nil and whether there may be more.
local function pop(at, class, name, tenant, retention)
  local levels = levels_key(at.root, class, name)
  local priority = redis.call('ZRANGE', levels, 0, 0)[1]
  if not priority then return nil, false end
  local id = redis.call('LPOP', backlog_key(at.root, class, name, priority))
  if not id then
    redis.call('ZREM', levels, priority)
    return nil, true
  end
  local record, fault = read(at.root, id)
  local ghosts = 'ghosts:' .. class
  if record and record.state == 'queued' then
    if fit(at, id, record, retention) then return id, record end
  elseif record or (fault == 'no record' and at.shard[ghosts]) then
    add(at.shard, ghosts, -1)
  else
    lose(at, class, id, fault, tenant)
  end
  return nil, true
end

-- The best waiting job of a class, out of its backlog; or nil and whether it is worth looking again.
local function take(at, class, capacity, retention)
  promote(at, class, 10)
  local id, record = take_sized(at, class, capacity, retention)
  if id then return id, record end
  local ring = at.root .. ':ring:' .. class
  for _ = 1, LOOKS do
    local head = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    local name, pass = head[1], tonumber(head[2])
    if not name then return nil, false end
    local tenant = tenant_of(at, name)
    local more = may_run(tenant)
    if more then id, more = pop(at, class, name, tenant, retention) end
    if id then
      at.shard['pass:' .. class] = pass
      redis.call('ZADD', ring, pass + STRIDE / (tenant.weight or 1), name)
      return id, more
    end
    if not more then leave(at, class, name, pass) end
  end
  return nil, true
end
