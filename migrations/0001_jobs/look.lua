
-- What others may see.

-- What others see of one job, as it is now. `heard` is kept from job to job of a call.
local describe
do
  local VIEW = {
    'state', 'tenant', 'spec', 'submitted', 'version', 'event', 'attempt', 'fence', 'step', 'of', 'started',
    'due', 'start_by', 'finish_by', 'batch', 'retry_of', 'retried_by', 'need', 'checkpoint', 'error',
    'output', 'aborted', 'finished', 'expires', 'worker', 'best', 'lacking',
  }

  -- What live workers say of themselves, read once for all jobs that a call describes.
  local function fleet_of(root, heard)
    if heard.fleet then return heard.fleet end
    heard.fleet = {}
    for _, text in ipairs(redis.call('HVALS', root .. ':workers')) do
      local ok, says = pcall(cjson.decode, text)
      if ok and type(says) == 'table' then table.insert(heard.fleet, says) end
    end
    return heard.fleet
  end

  -- The most that any live worker has free.
  local function best_capacity(fleet)
    local best = 0
    for _, says in ipairs(fleet) do best = math.max(best, tonumber(says.capacity) or 0) end
    return best
  end

  -- What keeps a waiting job from every live worker: too little room, or LoRAs that none has.
  local function note_blocked(root, record, heard)
    if record.need then
      record.best = best_capacity(fleet_of(root, heard))
      if record.best >= record.need then record.best = nil end
    end
    if #loras.of(record) > 0 then record.lacking = loras.missing_everywhere(record, fleet_of(root, heard)) end
  end

  function describe(root, id, record, lease, heard)
    if lease then
      record.state, record.worker = 'running', lease.worker
      for _, name in ipairs({ 'version', 'event', 'attempt', 'fence', 'step', 'of', 'started' }) do
        record[name] = lease[name]
      end
      record.checkpoint = checkpoint_of(root, id, record)
    elseif record.state == 'queued' then
      note_blocked(root, record, heard)
    end
    local values = {}
    for i, name in ipairs(VIEW) do values[i] = record[name] or false end
    return values
  end
end

-- ARGS: id
local function view(keys, args)
  local root, id = keys[1], args[1]
  local record, fault = read(root, id)
  if fault == 'no record' then return false end
  if not record then invalid(fault) end
  return describe(root, id, record, lease_of(root, id), {})
end

-- Jobs that one call of `list` looks at.
local LIST_LOOKS = 200

-- The next jobs on the shortest way to those that are wanted: a batch's members, the jobs with a lease, or
-- all records. Gives the cursor to go on with, '0' at the end.
local function next_jobs(root, cursor, state, batch)
  local ids = {}
  if batch ~= '' then
    local first = number(cursor, 'cursor')
    ids = redis.call('LRANGE', root .. ':members:' .. batch, first, first + LIST_LOOKS - 1)
    return #ids < LIST_LOOKS and '0' or tostring(first + LIST_LOOKS), ids
  elseif state == 'running' then
    local reply = redis.call('HSCAN', root .. ':leases', cursor, 'COUNT', LIST_LOOKS)
    for i = 1, #reply[2], 2 do table.insert(ids, reply[2][i]) end
    return reply[1], ids
  end
  local prefix = job_key(root, '')
  local reply = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', LIST_LOOKS)
  for _, key in ipairs(reply[2]) do table.insert(ids, string.sub(key, #prefix + 1)) end
  return reply[1], ids
end

-- ARGS: cursor, state, tenant, class, batch; an empty one asks for nothing
-- Gives the next cursor, then what `view` gives of each job met that is asked for, its id in front; of a job
-- with a broken record, whatever is asked for, its id alone.
local function list(keys, args)
  local root, state, tenant, class, batch = keys[1], args[2], args[3], args[4], args[5]
  if not batch then invalid('arguments are missing') end
  local cursor, ids = next_jobs(root, args[1], state, batch)
  local answer, heard = { cursor }, {}
  for _, id in ipairs(ids) do
    local record, fault = read(root, id)
    local lease = record and lease_of(root, id)
    if fault == 'broken record' then
      table.insert(answer, { id })
    elseif record and (state == '' or state == (lease and 'running' or record.state))
      and (tenant == '' or tenant == record.tenant) and (class == '' or class == record.class)
      and (batch == '' or batch == record.batch) then
      table.insert(answer, { id, unpack(describe(root, id, record, lease, heard)) })
    end
  end
  return answer
end

-- Gives all counters as names and numbers; then for each class, interactive first: delayed jobs, jobs too
-- big for the worker that had them, whether paused; then dead letters, and sweeps under way.
local function depth(keys)
  local root, at = keys[1], begin(keys[1])
  local answer = { redis.call('HGETALL', root .. ':counts') }
  for _, class in ipairs(CLASSES) do
    table.insert(answer, redis.call('ZCARD', root .. ':delayed:' .. class))
    table.insert(answer, redis.call('ZCARD', root .. ':sized:' .. class))
    table.insert(answer, shard_of(at)['paused:' .. class] and 1 or 0)
  end
  table.insert(answer, redis.call('XLEN', root .. ':dead'))
  table.insert(answer, redis.call('LLEN', root .. ':sweeps'))
  return answer
end

-- All counters, then for each tenant with limits: name, weight, max_queued, max_running, rate, burst, paused,
-- max_stored.
local function tenants(keys)
  local at = begin(keys[1])
  local answer = { redis.call('HGETALL', at.root .. ':counts') }
  for _, name in ipairs(redis.call('SMEMBERS', at.root .. ':tenants')) do
    local limits = limits_of(at, name)
    table.insert(answer, {
      name, tostring(limits.weight or 1), limits.max_queued or false, limits.max_running or false,
      limits.rate and tostring(limits.rate) or false, limits.burst and tostring(limits.burst) or false,
      limits.paused and 1 or 0, limits.max_stored or false,
    })
  end
  return answer
end

-- ARGS: tenant, ids
-- Gives those of the ids whose jobs are the tenant's.
local function owned(keys, args)
  local answer = {}
  for i = 2, #args do
    local record = read(keys[1], args[i])
    if record and record.tenant == args[1] then table.insert(answer, args[i]) end
  end
  return answer
end

-- ARGS: tenant
-- How fast the tenant may submit: rate, size of its bucket, tokens in it; nothing if there is no limit.
local function allowance(keys, args)
  local at = begin(keys[1])
  local limits = limits_of(at, args[1])
  if not limits.rate then return false end
  local tokens, full = tokens_of(at, args[1], limits)
  return { tostring(limits.rate), tostring(full), tostring(tokens) }
end

-- ARGS: batch
local function batch_view(keys, args)
  local at = begin(keys[1])
  local batch = batch_of(at, args[1])
  if not batch then return false end
  local values = {}
  for _, name in ipairs({ 'total', 'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired' }) do
    table.insert(values, batch[name] or 0)
  end
  local expires = redis.call('PEXPIRETIME', at.root .. ':b:' .. args[1])
  return {
    batch.tenant, batch.created, values, batch.paused and 1 or 0, batch.stopped and 1 or 0, batch.metadata or false,
    expires > 0 and expires or false,
  }
end

local function window_view(keys)
  local shard = shard_of(begin(keys[1]))
  local window = redis.call('GET', keys[1] .. ':window')
  if not window then return false end
  return { window, shard.opens, shard.closes }
end

-- ARGS: silence_ms
-- For each worker that has not been silent for longer: its name, when it was last heard of, what it said.
local function workers(keys, args)
  local root, silence, answer = keys[1], number(args[1], 'silence_ms'), {}
  local seen = redis.call('ZRANGEBYSCORE', root .. ':seen', now() - silence, '+inf', 'WITHSCORES')
  for i = 1, #seen, 2 do
    table.insert(answer, { seen[i], tonumber(seen[i + 1]), redis.call('HGET', root .. ':workers', seen[i]) })
  end
  return answer
end
