#!lua name=uso_1
--[[
Layout 1: the life of a job.

One call is one atomic change of state. Redis does not roll back, so every function checks all it
needs before its first write. KEYS[1] is the root of a shard, for example `{uso:0}`; every other name
is derived from it and shares its hash tag, hence its cluster slot:

  <root>:shard                 hash: fence, turn, seen_ms, outage_ms, run_id
  <root>:job:<id>              the packed record of one job
  <root>:backlog:<class>:<t>   sorted set: jobs of tenant <t> that wait, by priority, then age
  <root>:tenants:<class>       sorted set: tenants with a backlog; the lowest turn is served next
  <root>:ready:<class>         stream with one group, "workers": jobs that are claimed
  <root>:workers               sorted set: consumers by the time they were last heard of
  <root>:wake                  list: one token for each worker that should look for work
  <root>:events                stream: what happened, capped
  <root>:dead                  stream: entries that could not be understood, with their raw bytes
  <root>:reaper                the process that reaps, with an expiry

A claim takes the best job of the backlog and delivers it through the ready stream in the same call,
so the stream never holds more than is being worked on, and order is decided as late as possible.
A lease is a pending entry of that stream: its age is the entry's idle time.
]]

local GROUP = 'workers'
local EVENTS_KEPT = 100000
local WAKE_TOKENS = 64
-- Scores order by priority first: a step of priority outweighs any time in milliseconds.
local PRIORITY_STEP = 2 ^ 42

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function refuse(code, text)
  return redis.error_reply('USO' .. code .. ' ' .. text)
end

local function number(text, name)
  local value = tonumber(text)
  if not value then error({ err = 'USOINVALID ' .. name .. ' is not a number' }) end
  return value
end

local function job_key(root, id) return root .. ':job:' .. id end

-- The record and nil, or nil and what is wrong with it.
local function read(root, id)
  local packed = redis.call('GET', job_key(root, id))
  if not packed then return nil, 'no record' end
  local ok, record = pcall(cmsgpack.unpack, packed)
  if not ok or type(record) ~= 'table' or not record.state then return nil, 'broken record' end
  return record
end

-- Appends an event, then stores the record with the event's id and the next version.
local function write(root, record, name, ...)
  record.version = record.version + 1
  record.event = redis.call('XADD', root .. ':events', 'MAXLEN', '~', EVENTS_KEPT, '*',
    'job', record.id, 'name', name, 'version', record.version, 'attempt', record.attempt, ...)
  redis.call('SET', job_key(root, record.id), cmsgpack.pack(record), 'KEEPTTL')
end

local function wake(root)
  if redis.call('LLEN', root .. ':wake') < WAKE_TOKENS then
    redis.call('LPUSH', root .. ':wake', 1)
  end
end

local function into_backlog(root, record)
  local tenants = root .. ':tenants:' .. record.class
  redis.call('ZADD', root .. ':backlog:' .. record.class .. ':' .. record.tenant,
    record.submitted_ms - record.priority * PRIORITY_STEP, record.id)
  -- A tenant that comes back queues behind the turn being served, not before it.
  local turn = tonumber(redis.call('HGET', root .. ':shard', 'turn') or 0)
  redis.call('ZADD', tenants, 'NX', turn, record.tenant)
  wake(root)
end

-- The next job of a class, taken out of its backlog, or nil.
local function from_backlog(root, class)
  local tenants = root .. ':tenants:' .. class
  while true do
    local tenant = redis.call('ZRANGE', tenants, 0, 0)[1]
    if not tenant then return nil end
    local backlog = root .. ':backlog:' .. class .. ':' .. tenant
    local id = redis.call('ZPOPMIN', backlog)[1]
    if id then
      redis.call('ZADD', tenants, redis.call('HINCRBY', root .. ':shard', 'turn', 1), tenant)
    end
    if redis.call('EXISTS', backlog) == 0 then redis.call('ZREM', tenants, tenant) end
    if id then return id end
  end
end

local function settle_entry(root, record)
  redis.call('XACK', root .. ':ready:' .. record.class, GROUP, record.entry)
  redis.call('XDEL', root .. ':ready:' .. record.class, record.entry)
  record.entry = nil
end

local function bury(root, class, entry, fields, reason)
  redis.call('XADD', root .. ':dead', '*', 'reason', reason, 'class', class, 'entry', entry,
    'raw', cmsgpack.pack(fields))
  redis.call('XACK', root .. ':ready:' .. class, GROUP, entry)
  redis.call('XDEL', root .. ':ready:' .. class, entry)
end

-- Notices when the shard was out of reach: nobody could renew, so nobody is to blame.
local function hear(root, time, lease_ms)
  local shard = root .. ':shard'
  local seen = tonumber(redis.call('HGET', shard, 'seen_ms'))
  if seen and time - seen > lease_ms / 3 then redis.call('HSET', shard, 'outage_ms', time) end
  redis.call('HSET', shard, 'seen_ms', time)
end

-- Whether the caller still holds the job. A fail-over may set fences back; the token tells.
local function holds(record, fence, token)
  return record and record.state == 'running' and record.fence == fence and record.token == token
end

-- Whether this very settlement was made before and only its answer was lost.
local function settled(record, fence, token)
  return record and record.settled == fence .. ':' .. token
end

local function finish(root, record, state, retention_ms, ...)
  settle_entry(root, record)
  local time = now()
  record.state, record.finished_ms, record.expires_ms = state, time, time + retention_ms
  record.settled, record.token, record.owner = record.fence .. ':' .. record.token, nil, nil
  write(root, record, state, ...)
  redis.call('PEXPIREAT', job_key(root, record.id), record.expires_ms)
end

local function requeue(root, record, reason)
  settle_entry(root, record)
  record.state, record.step = 'queued', 0
  record.settled, record.token, record.owner = record.fence .. ':' .. record.token, nil, nil
  write(root, record, 'requeued', 'reason', reason)
  into_backlog(root, record)
end

-- ARGS: id, tenant, class, priority, spec
local function submit(keys, args)
  local root, id, tenant, class, spec = keys[1], args[1], args[2], args[3], args[5]
  local priority = number(args[4], 'priority')
  if class ~= 'interactive' and class ~= 'bulk' then return refuse('INVALID', 'unknown class') end
  if tenant == '' or not spec then return refuse('INVALID', 'tenant and spec must be given') end
  -- The caller draws the id, so a repeated call after a lost answer finds its own job.
  if redis.call('EXISTS', job_key(root, id)) == 1 then return 0 end
  local record = {
    id = id, tenant = tenant, class = class, priority = priority, spec = spec, state = 'queued',
    version = 0, attempt = 0, fence = 0, step = 0, of = 0, submitted_ms = now(),
  }
  write(root, record, 'queued')
  into_backlog(root, record)
  return 1
end

-- One job of `class` for the consumer, or nil.
local function deliver(root, class, consumer, token, time)
  local ready = root .. ':ready:' .. class
  if redis.call('EXISTS', ready) == 0 then
    redis.call('XGROUP', 'CREATE', ready, GROUP, '0', 'MKSTREAM')
  end
  while true do
    local id = from_backlog(root, class)
    if id then redis.call('XADD', ready, '*', 'job', id) end
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', ready, '>')
    if not reply then return nil end
    local entry, fields = reply[1][2][1][1], reply[1][2][1][2]
    local record, fault
    if fields[1] == 'job' then record, fault = read(root, fields[2]) end
    if record and record.state == 'queued' then
      record.state, record.entry, record.owner, record.token = 'running', entry, consumer, token
      record.attempt = record.attempt + 1
      record.fence = redis.call('HINCRBY', root .. ':shard', 'fence', 1)
      record.claimed_ms = time
      record.started_ms = record.started_ms or time
      record.settled = nil
      write(root, record, 'started')
      return record
    end
    bury(root, class, entry, fields, fault or (record and 'is ' .. record.state) or 'not a job')
  end
end

-- ARGS: consumer, token, lease_ms, class...
local function claim(keys, args)
  local root, consumer, token = keys[1], args[1], args[2]
  local lease_ms = number(args[3], 'lease_ms')
  local time = now()
  hear(root, time, lease_ms)
  redis.call('ZADD', root .. ':workers', time, consumer)
  for i = 4, #args do
    local record = deliver(root, args[i], consumer, token, time)
    if record then return cjson.encode(record) end
  end
  return false
end

-- ARGS: id, fence, token, lease_ms
local function renew(keys, args)
  local root, fence, lease_ms = keys[1], number(args[2], 'fence'), number(args[4], 'lease_ms')
  local record = read(root, args[1])
  if not holds(record, fence, args[3]) then return 0 end
  local time = now()
  hear(root, time, lease_ms)
  redis.call('ZADD', root .. ':workers', time, record.owner)
  redis.call('XCLAIM', root .. ':ready:' .. record.class, GROUP, record.owner, 0, record.entry, 'JUSTID')
  return 1
end

-- ARGS: id, fence, token, step, of
local function progress(keys, args)
  local root, fence = keys[1], number(args[2], 'fence')
  local step, of = number(args[4], 'step'), number(args[5], 'of')
  local record = read(root, args[1])
  if not holds(record, fence, args[3]) then return 0 end
  record.step, record.of = step, of
  write(root, record, 'progress', 'step', step, 'of', of)
  return 1
end

-- ARGS: id, fence, token, retention_ms, output
local function complete(keys, args)
  local root, fence, token = keys[1], number(args[2], 'fence'), args[3]
  local retention_ms = number(args[4], 'retention_ms')
  local record = read(root, args[1])
  if settled(record, fence, token) then return 1 end
  if not holds(record, fence, token) then return 0 end
  record.output, record.step = args[5], record.of
  finish(root, record, 'succeeded', retention_ms)
  return 1
end

-- ARGS: id, fence, token, retention_ms, failure, retryable, attempts
local function fail(keys, args)
  local root, fence, token = keys[1], number(args[2], 'fence'), args[3]
  local retention_ms, attempts = number(args[4], 'retention_ms'), number(args[7], 'attempts')
  local record = read(root, args[1])
  if settled(record, fence, token) then return 1 end
  if not holds(record, fence, token) then return 0 end
  record.error = args[5]
  if args[6] == '1' and record.attempt < attempts then
    requeue(root, record, 'retry')
  else
    finish(root, record, 'failed', retention_ms)
  end
  return 1
end

-- ARGS: id, fence, token
local function release(keys, args)
  local root, fence, token = keys[1], number(args[2], 'fence'), args[3]
  local record = read(root, args[1])
  if settled(record, fence, token) then return 1 end
  if not holds(record, fence, token) then return 0 end
  record.attempt = record.attempt - 1
  requeue(root, record, 'released')
  return 1
end

-- Redis itself was replaced or restarted: nobody could renew in between.
local function notice_restart(root, time)
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local shard = root .. ':shard'
  local known = redis.call('HGET', shard, 'run_id')
  if known ~= run_id then
    redis.call('HSET', shard, 'run_id', run_id)
    if known then redis.call('HSET', shard, 'outage_ms', time) end
  end
end

local function expire_lease(root, class, entry, blameless, attempts, retention_ms)
  local fields = (redis.call('XRANGE', root .. ':ready:' .. class, entry, entry)[1] or {})[2] or {}
  local record, fault
  if fields[1] == 'job' then record, fault = read(root, fields[2]) end
  if not record or record.state ~= 'running' or record.entry ~= entry then
    bury(root, class, entry, fields, fault or 'not a running job')
    return 'buried'
  end
  if blameless then record.attempt = record.attempt - 1 end
  if record.attempt >= attempts then
    record.error = cjson.encode({
      code = 'lease_lost', retryable = false,
      message = 'the worker was lost in ' .. record.attempt .. ' attempts',
    })
    finish(root, record, 'failed', retention_ms)
    return 'failed'
  end
  requeue(root, record, 'lease_lost')
  return 'requeued'
end

-- ARGS: owner, term_ms, lease_ms, attempts, retention_ms
local function reap(keys, args)
  local root, owner = keys[1], args[1]
  local term_ms, lease_ms = number(args[2], 'term_ms'), number(args[3], 'lease_ms')
  local attempts, retention_ms = number(args[4], 'attempts'), number(args[5], 'retention_ms')
  local holder = redis.call('GET', root .. ':reaper')
  if holder and holder ~= owner then return false end
  redis.call('SET', root .. ':reaper', owner, 'PX', term_ms)
  local time = now()
  notice_restart(root, time)
  hear(root, time, lease_ms)
  local outage = tonumber(redis.call('HGET', root .. ':shard', 'outage_ms') or 0)
  local counts = { requeued = 0, failed = 0, buried = 0 }
  if time - outage >= lease_ms then
    for _, class in ipairs({ 'interactive', 'bulk' }) do
      local ready = root .. ':ready:' .. class
      local late = {}
      if redis.call('EXISTS', ready) == 1 then
        late = redis.call('XPENDING', ready, GROUP, 'IDLE', lease_ms, '-', '+', 100)
      end
      for _, pending in ipairs(late) do
        local renewed_ms = time - pending[3]
        local outcome = expire_lease(root, class, pending[1], renewed_ms <= outage, attempts, retention_ms)
        counts[outcome] = counts[outcome] + 1
      end
    end
  end
  return { counts.requeued, counts.failed, counts.buried }
end

-- ARGS: id
local function view(keys, args)
  local record, fault = read(keys[1], args[1])
  if fault == 'no record' then return false end
  if fault then return refuse('BROKEN', args[1] .. ': ' .. fault) end
  record.token, record.owner, record.settled, record.entry = nil, nil, nil, nil
  return cjson.encode(record)
end

-- Queued and running jobs of each class: { queued, running, queued, running }, interactive first.
local function depth(keys)
  local root, counts = keys[1], {}
  for _, class in ipairs({ 'interactive', 'bulk' }) do
    local queued = 0
    for _, tenant in ipairs(redis.call('ZRANGE', root .. ':tenants:' .. class, 0, -1)) do
      queued = queued + redis.call('ZCARD', root .. ':backlog:' .. class .. ':' .. tenant)
    end
    local ready, running = root .. ':ready:' .. class, 0
    if redis.call('EXISTS', ready) == 1 then running = redis.call('XPENDING', ready, GROUP)[1] end
    table.insert(counts, queued)
    table.insert(counts, running)
  end
  return counts
end

-- Only new work may be refused when memory is full; whatever ends work must run, or nothing frees it.
redis.register_function('uso_1_submit', submit)
redis.register_function({ function_name = 'uso_1_claim', callback = claim, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_renew', callback = renew, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_progress', callback = progress, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_complete', callback = complete, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_fail', callback = fail, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_release', callback = release, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_reap', callback = reap, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'uso_1_view', callback = view, flags = { 'no-writes' } })
redis.register_function({ function_name = 'uso_1_depth', callback = depth, flags = { 'no-writes' } })
