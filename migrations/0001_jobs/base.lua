#!lua name=uso_1
--[[
Layout 1: the life of a job.

One call is one atomic change of state. Redis does not roll back, so every function checks all it
needs before its first write. KEYS[1] is the root of a shard, for example `{uso:0}`; every other name
is derived from it and shares its hash tag, hence its cluster slot. <id> is the sixteen bytes of a
job's UUID, <t> a tenant, <class> `interactive` or `bulk`, <b> the sixteen bytes of a batch's UUID.

  <root>:shard                     packed SHARD: counters, the fence, what is paused
  <root>:j:<id>                    packed RECORD of one job, written when it waits and when it has ended
  <root>:leases                    hash: <id> to a packed LEASE; a job with a lease is running
  <root>:ready:<class>             stream with the group "workers": one pending entry a lease
  <root>:backlog:<class>:<t>:<p>   list: jobs of <t> that wait at priority <p>, the oldest first
  <root>:levels:<class>:<t>        sorted set: priorities at which <t> has a backlog
  <root>:ring:<class>              sorted set: tenants with a backlog; the lowest pass is served next
  <root>:t:<t>                     packed TENANT: counters, limits, weight
  <root>:tenants                   set: all tenants ever seen
  <root>:delayed:<class>           sorted set: jobs that wait for a time, by that time
  <root>:sized:<class>             sorted set: jobs too big for a worker that had them, by their need
  <root>:deadlines                 sorted set: jobs with start_by or finish_by, by the next of the two
  <root>:key:<t>:<key>             packed id, digest and time of a submission with an idempotency key
  <root>:b:<b>                     packed BATCH: counters, whether paused or canceled
  <root>:members:<b>               list: all jobs of a batch, in the order of submission
  <root>:parked:<class>:<b>        list: jobs of a paused batch that came up for work
  <root>:parked                    set: the names of the lists of parked jobs
  <root>:sweeps                    list: batches of which something is being done to every job
  <root>:workers, <root>:seen      hash and sorted set: what workers say of themselves, and when
  <root>:wake                      list: one token for each worker that should look for work
  <root>:events                    stream: what happened, capped
  <root>:dead                      stream: what went aside, with its raw bytes, capped
  <root>:reaper                    the process that reaps, with an expiry

A claim takes the best job of the backlog and delivers it through the ready stream in the same call,
so the stream never holds more than is being worked on, and order is decided as late as possible. The
age of a lease is the idle time of its entry.

A waiting job lies in exactly one place: a backlog, a delayed or sized set, or a parked list. A job
that ends while it waits in a list leaves its id there, because finding it would cost a walk: such
ghosts are counted, and dropped when they come up.
]]

local GROUP = 'workers'
local CLASSES = { 'interactive', 'bulk' }
local EVENTS_KEPT = 20000
local DEAD_KEPT = 10000
local WAKE_TOKENS = 64
local KEY_LIFE_MS = 24 * 3600 * 1000
-- Most waiting jobs that one claim looks at: bounds the time of a call over a backlog of ghosts.
local LOOKS = 200
-- Jobs of a batch that one call changes.
local SWEEP = 100
-- How far a tenant of weight 1 moves with each claim; others move in proportion.
local STRIDE = 1000

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function invalid(text) error({ err = 'USOINVALID ' .. text }) end

local function number(text, name)
  local value = tonumber(text)
  if not value then invalid(name .. ' is not a number') end
  return value
end

-- A number, or nil for an empty text.
local function optional(text, name)
  if text == '' then return nil end
  return number(text, name)
end

local function present(text)
  if text == '' then return nil end
  return text
end

-- Tables of named values as arrays in a fixed order: a quarter of the size. New names go to the end.
local function codec(names)
  local function pack(values)
    local packed = {}
    for i, name in ipairs(names) do packed[i] = values[name] or false end
    return cmsgpack.pack(packed)
  end
  local function unpack(text)
    local ok, packed = pcall(cmsgpack.unpack, text)
    if not ok or type(packed) ~= 'table' then return nil end
    local values = {}
    for i, name in ipairs(names) do values[name] = packed[i] or nil end
    return values
  end
  return { pack = pack, unpack = unpack }
end

-- Times are milliseconds since 1970. `due` is when a delayed job may run, `need` what a worker must
-- have free for it, `settled` the last settlement taken.
local RECORD = codec({
  'state', 'tenant', 'class', 'priority', 'spec', 'submitted', 'version', 'event', 'attempt', 'crashes',
  'fence', 'started', 'due', 'start_by', 'finish_by', 'batch', 'retry_of', 'retried_by', 'need',
  'checkpoint', 'settled', 'error', 'output', 'aborted', 'finished', 'expires', 'step', 'of',
})
local LEASE = codec({
  'fence', 'token', 'worker', 'entry', 'class', 'tenant', 'batch', 'attempt', 'claimed', 'started',
  'finish_by', 'version', 'event', 'step', 'of', 'checkpoint',
})
local SHARD = codec({
  'fence', 'seen', 'outage', 'run_id', 'streak', 'pruned', 'queued:interactive', 'queued:bulk',
  'running:interactive', 'running:bulk', 'ghosts:interactive', 'ghosts:bulk', 'pass:interactive',
  'pass:bulk', 'paused:interactive', 'paused:bulk', 'opens', 'closes', 'fill',
})
local TENANT = codec({
  'queued', 'running', 'weight', 'max_queued', 'max_running', 'rate', 'burst', 'tokens', 'filled',
  'paused', 'pass:interactive', 'pass:bulk',
})
local BATCH = codec({
  'tenant', 'created', 'total', 'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired',
  'paused', 'stopped',
})

-- One call's work: the packed values it has read, written back once by `commit`.
local function begin(root)
  local text = redis.call('GET', root .. ':shard')
  return {
    root = root, time = now(), shard = text and SHARD.unpack(text) or {}, shard_text = text,
    tenants = {}, batches = {},
  }
end

local function tenant_of(at, name)
  local tenant = at.tenants[name]
  if not tenant then
    local text = redis.call('GET', at.root .. ':t:' .. name)
    tenant = text and TENANT.unpack(text) or { fresh = true }
    at.tenants[name] = tenant
  end
  return tenant
end

local function batch_of(at, id)
  local batch = at.batches[id]
  if batch == nil then
    local text = redis.call('GET', at.root .. ':b:' .. id)
    batch = text and BATCH.unpack(text) or false
    at.batches[id] = batch
  end
  return batch
end

local function commit(at, retention)
  for name, tenant in pairs(at.tenants) do
    if tenant.changed then
      redis.call('SET', at.root .. ':t:' .. name, TENANT.pack(tenant))
      if tenant.fresh then redis.call('SADD', at.root .. ':tenants', name) end
    end
  end
  for id, batch in pairs(at.batches) do
    if batch and batch.changed then
      local key, members = at.root .. ':b:' .. id, at.root .. ':members:' .. id
      redis.call('SET', key, BATCH.pack(batch))
      if (batch.queued or 0) + (batch.running or 0) > 0 then
        redis.call('PERSIST', members)
      else
        redis.call('PEXPIRE', key, retention or KEY_LIFE_MS)
        redis.call('PEXPIRE', members, retention or KEY_LIFE_MS)
      end
    end
  end
  local text = SHARD.pack(at.shard)
  if text ~= at.shard_text then redis.call('SET', at.root .. ':shard', text) end
end

local function add(values, name, by)
  local sum = (values[name] or 0) + by
  values[name] = sum ~= 0 and sum or nil
end

-- Counts a job out of one state and into another; nil stands for outside the queue.
local function count(at, record, from, to)
  local tenant = tenant_of(at, record.tenant)
  tenant.changed = true
  for state, by in pairs({ [from or 0] = -1, [to or 1] = 1 }) do
    if state == 'queued' or state == 'running' then
      add(at.shard, state .. ':' .. record.class, by)
      add(tenant, state, by)
    end
  end
  local batch = record.batch and batch_of(at, record.batch)
  if batch then
    if from then add(batch, from, -1) end
    if to then add(batch, to, 1) end
    batch.changed = true
  end
end

-- Notices when the shard was out of reach: nobody could renew, so nobody is to blame.
local function hear(at, lease_ms)
  local shard = at.shard
  local silence = at.time - (shard.seen or at.time)
  if silence > lease_ms / 3 then shard.outage = at.time end
  if not shard.seen or silence > lease_ms / 20 then shard.seen = at.time end
end

local function job_key(root, id) return root .. ':j:' .. id end

-- The record, or nil and what is wrong with it.
local function read(root, id)
  local text = redis.call('GET', job_key(root, id))
  if not text then return nil, 'no record' end
  local record = RECORD.unpack(text)
  if not record or not record.state or not record.spec then return nil, 'broken record' end
  return record
end

-- Appends an event about a job; `job` is its record or its lease.
local function emit(at, id, job, name, data)
  job.version = (job.version or 0) + 1
  job.event = redis.call('XADD', at.root .. ':events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'j', id,
    'n', name, 'v', job.version, 'a', job.attempt or 0, 't', job.tenant, 'b', job.batch or '', 'd', data or '')
end

local function bury(at, reason, id, raw)
  redis.call('XADD', at.root .. ':dead', 'MAXLEN', '~', DEAD_KEPT, '*', 'reason', reason, 'j', id or '', 'raw', raw)
end
