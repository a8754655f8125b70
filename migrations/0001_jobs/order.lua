
-- Who is served next.

local function backlog_key(root, class, tenant, priority)
  return root .. ':backlog:' .. class .. ':' .. tenant .. ':' .. priority
end

local function levels_key(root, class, tenant) return root .. ':levels:' .. class .. ':' .. tenant end

-- A tenant that comes back goes on where it was, but never before those who waited meanwhile.
local function enter(at, class, tenant)
  local own = tonumber(redis.call('HGET', at.root .. ':passes:' .. class, tenant) or 0)
  local pass = math.max(own, shard_of(at)['pass:' .. class] or 0)
  redis.call('ZADD', at.root .. ':ring:' .. class, 'NX', pass, tenant)
end

local function leave(at, class, tenant, pass)
  redis.call('HSET', at.root .. ':passes:' .. class, tenant, pass)
  redis.call('ZREM', at.root .. ':ring:' .. class, tenant)
end

-- Puts a tenant back that was left out while it was paused or at its limit.
local function reenter(at, tenant)
  for _, class in ipairs(CLASSES) do
    if redis.call('EXISTS', levels_key(at.root, class, tenant)) == 1 then enter(at, class, tenant) end
  end
end

local function may_run(at, tenant)
  local limits = limits_of(at, tenant)
  return not limits.paused
    and not (limits.max_running and counted(at, 'running', tenant) >= limits.max_running)
end

-- Whether a worker may be given a tenant's jobs now.
local function may_be_given(at, tenant, offer) return not offer.without[tenant] and may_run(at, tenant) end

local function has_idle_worker(at)
  return redis.call('ZCOUNT', at.root .. ':idle', at.time - IDLE_MS, '+inf') > 0
end

-- Wakes an idle worker for each job. Where none is idle, interactive work wakes busy ones, which may have
-- room for one more.
local function wake(at, jobs, class)
  local urgent = class == 'interactive' and not has_idle_worker(at)
  local list = at.root .. (urgent and ':urgent' or ':wake')
  local waiting = redis.call('LLEN', list)
  for _ = waiting + 1, math.min(WAKE_TOKENS, waiting + jobs) do redis.call('LPUSH', list, '1') end
end

-- Behind the others of its priority, or before them if it comes back.
local function into_backlog(at, id, record, returned)
  local class, tenant, priority = record.class, record.tenant, record.priority
  local key = backlog_key(at.root, class, tenant, priority)
  if redis.call(returned and 'LPUSH' or 'RPUSH', key, id) == 1 then
    redis.call('ZADD', levels_key(at.root, class, tenant), -priority, priority)
    -- Whoever has a backlog is in the ring already, or kept out of it.
    enter(at, class, tenant)
  end
end

local function into_delayed(at, id, record)
  local next_due = 'due:' .. record.class
  redis.call('ZADD', at.root .. ':delayed:' .. record.class, record.due, id)
  local shard = shard_of(at)
  shard[next_due] = math.min(shard[next_due] or record.due, record.due)
end

local function into_sized(at, id, record)
  redis.call('ZADD', at.root .. ':sized:' .. record.class, record.need, id)
  shard_of(at)['sized:' .. record.class] = true
end

-- Takes a waiting job out of its place; from a list it only leaves a ghost.
local function withdraw(at, id, record)
  if record.due and redis.call('ZREM', at.root .. ':delayed:' .. record.class, id) == 1 then return end
  if record.need and redis.call('ZREM', at.root .. ':sized:' .. record.class, id) == 1 then return end
  if loras.pick_up(at.root, id, record) or suspects.pick_up(at.root, id, record) then return end
  count_ghost(at, record.class, 1)
end

-- The next time that ends the job by itself, or nil.
local function deadline(record)
  local start_by = not record.started and record.start_by or nil
  if start_by and record.finish_by then return math.min(start_by, record.finish_by) end
  return start_by or record.finish_by
end

local function set_deadline(at, id, record)
  if not record.start_by and not record.finish_by then return end
  local ends = deadline(record)
  if ends then
    redis.call('ZADD', at.root .. ':deadlines', ends, id)
  else
    redis.call('ZREM', at.root .. ':deadlines', id)
  end
end

-- Ends a job that neither waits nor runs any more.
local function finish(at, id, record, from, state, retention, data)
  record.state, record.finished, record.expires = state, at.time, at.time + retention
  if not record.started then record.aborted = true end
  emit(at, id, record, state, data)
  notify(at, id, record)
  redis.call('SET', job_key(at.root, id), pack(record), 'PXAT', record.expires)
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
  if tenant then add(at.counts, 'queued:' .. class .. ':' .. tenant, -1) end
end

-- Whether a waiting job that came up can be worked on; one that cannot is dealt with here.
local function fit(at, id, record, retention)
  if redis.call('HEXISTS', at.root .. ':leases', id) == 1 then
    bury(at, 'waits and runs', id, pack(record))
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
  local delayed, next_due = at.root .. ':delayed:' .. class, 'due:' .. class
  local shard = shard_of(at)
  if (shard[next_due] or math.huge) > at.time then return 0 end
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
  shard[next_due] = tonumber(redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2])
  return #due
end

-- Whether a waiting job that came up can be worked on by the worker that makes this offer; one that cannot is dealt
-- with here.
function loras.fit(at, id, record, offer, retention)
  if not fit(at, id, record, retention) then return false end
  local missing = loras.missing(record, offer.has)
  if missing then
    loras.lay_aside(at, id, record, missing)
    return false
  end
  local apart = suspects.is_one(record) and not offer.alone
  if apart then suspects.lay_aside(at, id, record) end
  return not apart
end

-- A job that was too big for another worker and fits this one. It has had its turn already.
local function take_sized(at, class, offer, retention)
  local sized, any = at.root .. ':sized:' .. class, 'sized:' .. class
  local shard = shard_of(at)
  if not shard[any] then return nil end
  if redis.call('EXISTS', sized) == 0 then shard[any] = nil end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', sized, '-inf', offer.capacity, 'LIMIT', 0, 10)) do
    local record, fault = read(at.root, id)
    if not record then
      redis.call('ZREM', sized, id)
      lose(at, class, id, fault)
    elseif may_be_given(at, record.tenant, offer) then
      redis.call('ZREM', sized, id)
      if loras.fit(at, id, record, offer, retention) then return id, record end
    end
  end
end

-- A suspect, for a worker that holds nothing else. It has had its turn already.
function suspects.take(at, class, offer, retention)
  if not offer.alone then return nil end
  for _, id in ipairs(suspects.first(at, class, 10)) do
    local record, fault = read(at.root, id)
    if not record then
      redis.call('ZREM', suspects.key(at.root, class), id)
      lose(at, class, id, fault)
    elseif may_be_given(at, record.tenant, offer) then
      suspects.pick_up(at.root, id, record)
      if record.need and record.need > offer.capacity then
        into_sized(at, id, record)
      elseif loras.fit(at, id, record, offer, retention) then
        return id, record
      end
    end
  end
end

-- A job that was laid aside for one of this worker's LoRAs. It has had its turn already.
function loras.take(at, class, offer, retention)
  for _, name in ipairs(loras.wanted(at, class, offer.loras)) do
    local key = loras.key(at.root, class, name)
    for _, id in ipairs(redis.call('ZRANGE', key, 0, 9)) do
      local record, fault = read(at.root, id)
      if not record then
        redis.call('ZREM', key, id)
        lose(at, class, id, fault)
      elseif may_be_given(at, record.tenant, offer) then
        redis.call('ZREM', key, id)
        if record.need and record.need > offer.capacity then
          into_sized(at, id, record)
        elseif loras.fit(at, id, record, offer, retention) then
          return id, record
        end
      end
    end
  end
end

-- The oldest job at a tenant's highest priority, out of its list; or nil and whether there may be more.
local function pop(at, class, tenant, offer, retention)
  local levels = levels_key(at.root, class, tenant)
  local priority = redis.call('ZRANGE', levels, 0, 0)[1]
  if not priority then return nil, false end
  local id = redis.call('LPOP', backlog_key(at.root, class, tenant, priority))
  if not id then
    redis.call('ZREM', levels, priority)
    return nil, true
  end
  local record, fault = read(at.root, id)
  if record and record.state == 'queued' then
    if loras.fit(at, id, record, offer, retention) then return id, record end
    -- The worker that is awake now may be the only one that cannot take it.
    if loras.holds(at.root, id, record) then wake(at, 1, class) end
  elseif record or (fault == 'no record' and redis.call('HEXISTS', at.root .. ':counts', 'ghosts:' .. class) == 1) then
    count_ghost(at, class, -1)
  else
    lose(at, class, id, fault, tenant)
  end
  return nil, true
end

-- The best waiting job of a class, out of its backlog; or nil and whether it is worth looking again.
local function take(at, class, offer, retention)
  promote(at, class, 10)
  local id, record = suspects.take(at, class, offer, retention)
  if not id then id, record = take_sized(at, class, offer, retention) end
  if not id then id, record = loras.take(at, class, offer, retention) end
  if id then return id, record end
  local ring, passed_over = at.root .. ':ring:' .. class, {}
  for _ = 1, LOOKS do
    local head = redis.call('ZRANGE', ring, #passed_over, #passed_over, 'WITHSCORES')
    local tenant, pass = head[1], tonumber(head[2])
    if not tenant then return nil, false end
    if offer.without[tenant] then
      table.insert(passed_over, tenant)
    else
      local more = may_run(at, tenant)
      if more then id, more = pop(at, class, tenant, offer, retention) end
      if id then
        shard_of(at)['pass:' .. class] = pass
        redis.call('ZADD', ring, pass + STRIDE / (limits_of(at, tenant).weight or 1), tenant)
        -- Whoever was passed over saves up no turns meanwhile.
        for _, other in ipairs(passed_over) do redis.call('ZADD', ring, 'GT', pass, other) end
        return id, more
      end
      if not more then leave(at, class, tenant, pass) end
    end
  end
  return nil, true
end
