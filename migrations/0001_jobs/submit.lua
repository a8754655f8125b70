
-- Work into the queue.

-- Arguments of a job that asks for nothing special, and of one that does.
local PLAIN, SPECIAL = 4, 13

-- A job as it is asked for: its id and key, and the record it will have.
local function job_args(args, first, width, tenant, time)
  local id, class, spec = args[first], args[first + 1], args[first + 3]
  if class ~= 'interactive' and class ~= 'bulk' then invalid('unknown class') end
  if #id ~= 16 then invalid('id is not 16 bytes') end
  local record = {
    state = 'queued', tenant = tenant, class = class, priority = number(args[first + 2], 'priority'),
    spec = spec, submitted = time,
  }
  if width == PLAIN then return { id = id, record = record } end
  local due = optional(args[first + 6], 'not_before')
  record.due = due and due > time and due or nil
  record.start_by = optional(args[first + 7], 'start_by')
  record.finish_by = optional(args[first + 8], 'finish_by')
  record.batch, record.retry_of = present(args[first + 9]), present(args[first + 10])
  record.webhook = present(args[first + 11])
  if record.webhook and #args[first + 12] ~= 32 then invalid('not a secret') end
  return {
    id = id, record = record, key = present(args[first + 4]), digest = args[first + 5], secret = args[first + 12],
  }
end

-- The id that a job with this idempotency key has, or nil; the second value tells of another body. A job's digest
-- is that of its spec, followed by that of the request as it came where whoever submits tells it. Either is enough:
-- defaults may have changed since, and the same may have been asked for in other words.
local function known(at, tenant, job)
  if redis.call('EXISTS', job_key(at.root, job.id)) == 1 then return job.id end
  local text = job.key and redis.call('GET', at.root .. ':key:' .. tenant .. ':' .. job.key)
  if not text then return nil end
  local earlier = cmsgpack.unpack(text)
  if earlier[3] + KEY_LIFE_MS <= at.time then return nil end
  local asked = string.sub(job.digest, 33)
  local same = earlier[2] == string.sub(job.digest, 1, 32) or (asked ~= '' and earlier[4] == asked)
  return earlier[1], not same
end

-- What is in a tenant's bucket now, and what it holds at most.
local function tokens_of(at, tenant, limits)
  local full = limits.burst or limits.rate
  local text = redis.call('GET', at.root .. ':bucket:' .. tenant)
  local bucket = text and unpacked(text) or { tokens = full, filled = at.time }
  return math.min(full, bucket.tokens + math.max(0, at.time - bucket.filled) / 1000 * limits.rate), full
end

-- Takes a token for each job out of the tenant's bucket; gives how long until there are enough, 0 if
-- there are.
local function take_tokens(at, tenant, limits, jobs)
  local tokens, full = tokens_of(at, tenant, limits)
  -- More than ever fits is let through on a full bucket, which then owes the rest.
  local short = math.min(jobs, full) - tokens
  if short > 0 then return math.ceil(short / limits.rate * 1000) end
  redis.call('SET', at.root .. ':bucket:' .. tenant, pack({ tokens = tokens - jobs, filled = at.time }))
  return 0
end

-- Puts one job into the queue; everything has been checked.
local function accept(at, id, record)
  emit(at, id, record, 'queued')
  redis.call('SET', job_key(at.root, id), pack(record))
  if record.batch then redis.call('RPUSH', at.root .. ':members:' .. record.batch, id) end
  set_deadline(at, id, record)
  if record.due then
    into_delayed(at, id, record)
  else
    into_backlog(at, id, record)
  end
  count(at, record, nil, 'queued')
  at.fresh[record.tenant] = at.fresh[record.tenant] or {}
  table.insert(at.fresh[record.tenant], id)
end

local function remember_key(at, tenant, job)
  local key = at.root .. ':key:' .. tenant .. ':' .. job.key
  local spec, asked = string.sub(job.digest, 1, 32), present(string.sub(job.digest, 33))
  redis.call('SET', key, pack({ job.id, spec, at.time, asked }), 'PX', KEY_LIFE_MS)
end

-- Accepts all jobs that `args` tell from `first` on, or none: tenant, 4 or 13, then so many for each job: id,
-- class, priority, spec; key, digest, not_before, start_by, finish_by, batch, retry_of, webhook (shape and
-- address), secret of the endpoint `default` in case it is not there, of which what is not given is empty. Gives `accepted`, then for each job 1 or the id of the earlier job that it repeats; or what
-- refuses all of them. The second value is how many are new: if any, there is something to commit.
local function take_in(at, args, first)
  local name, width, jobs_from = args[first], tonumber(args[first + 1]), first + 2
  local left = #args - jobs_from + 1
  if name == '' or (width ~= PLAIN and width ~= SPECIAL) or left < width or left % width ~= 0 then
    invalid('arguments are missing')
  end
  local fresh, answer, keyed = {}, { 'accepted' }, {}
  for start = jobs_from, #args, width do
    local job = job_args(args, start, width, name, at.time)
    local index = #answer - 1
    local earlier, other = known(at, name, job)
    if not earlier and job.key and keyed[job.key] then
      earlier, other = keyed[job.key].id, keyed[job.key].digest ~= job.digest
    end
    if other then return { 'key_reused', index, earlier }, 0 end
    local batch = job.record.batch and batch_of(at, job.record.batch)
    if batch and batch.tenant ~= name then return { 'no_such_batch', index }, 0 end
    if batch and batch.stopped and not earlier then return { 'batch_canceled', index }, 0 end
    if job.key then keyed[job.key] = job end
    if not earlier then table.insert(fresh, job) end
    table.insert(answer, earlier or 1)
  end
  if #fresh == 0 then return answer, 0 end
  local limits = limits_of(at, name)
  local queued = limits.max_queued and counted(at, 'queued', name)
  if queued and queued + #fresh > limits.max_queued then
    return { 'too_many_queued', queued, limits.max_queued }, 0
  end
  local wait = limits.rate and take_tokens(at, name, limits, #fresh) or 0
  if wait > 0 then return { 'too_fast', wait, tostring(limits.rate) }, 0 end
  local jobs = {}
  for _, job in ipairs(fresh) do
    add(jobs, job.record.class, 1)
    local id = job.record.batch
    if id then
      at.batches[id] = batch_of(at, id) or { tenant = name, created = at.time }
      add(at.batches[id], 'total', 1)
    end
    if job.record.webhook then keep_default_hook(at.root, name, job.secret) end
    accept(at, job.id, job.record)
    if job.key then remember_key(at, name, job) end
  end
  for class, count in pairs(jobs) do wake(at, count, class) end
  return answer, #fresh
end

-- ARGS: as `take_in` reads them; gives what it gives.
local function submit(keys, args)
  local at = begin(keys[1])
  local answer, fresh = take_in(at, args, 1)
  if fresh > 0 then commit(at) end
  return answer
end

-- ARGS: batch, key, digest, metadata, then as for `submit`; the jobs are the batch's. The batch is accepted as a
-- whole, or repeats an earlier one with the same key: then gives `repeated` and that one's id.
local function submit_batch(keys, args)
  local at, id, key, digest = begin(keys[1]), args[1], present(args[2]), args[3]
  local tenant = args[5]
  if not tenant or #id ~= 16 then invalid('arguments are missing') end
  local known_as = key and at.root .. ':batch_key:' .. tenant .. ':' .. key
  local text = known_as and redis.call('GET', known_as)
  local earlier = text and cmsgpack.unpack(text)
  if earlier and earlier[3] + KEY_LIFE_MS > at.time then
    return { earlier[2] == digest and 'repeated' or 'batch_key_reused', earlier[1] }
  end
  local answer, fresh = take_in(at, args, 5)
  if fresh == 0 then return answer end
  batch_of(at, id).metadata = present(args[4])
  if known_as then redis.call('SET', known_as, pack({ id, digest, at.time }), 'PX', KEY_LIFE_MS) end
  commit(at)
  return answer
end

do
  -- For how long a file counts as stored: a rule of the bucket deletes what is older.
  local STORED_MS = 8 * 24 * 3600 * 1000
  -- Files whose time is over that one call forgets.
  local FORGETS = 200

  local function stored_keys(root, tenant)
    return root .. ':stored:' .. tenant, root .. ':stored_at:' .. tenant, root .. ':stored_bytes:' .. tenant
  end

  local function forget(root, tenant, id)
    local sizes, times, sum = stored_keys(root, tenant)
    local bytes = redis.call('HGET', sizes, id)
    if not bytes then return 0 end
    redis.call('HDEL', sizes, id)
    redis.call('ZREM', times, id)
    redis.call('DECRBY', sum, bytes)
    return 1
  end

  -- ARGS: tenant, how many tokens of its rate it takes, then id and size of each file
  -- Counts files that the tenant is about to store, all or none; one that is counted already costs nothing. Gives
  -- `stored`, or what refuses them.
  local function store(keys, args)
    local at, tenant, jobs = begin(keys[1]), args[1], number(args[2], 'tokens')
    local limits = limits_of(at, tenant)
    local sizes, times, sum = stored_keys(at.root, tenant)
    local fresh, more = {}, 0
    for i = 3, #args, 2 do
      local bytes = number(args[i + 1], 'bytes')
      if #args[i] ~= 16 or bytes < 0 then invalid('not a file') end
      if limits.max_stored and not fresh[args[i]] and redis.call('HEXISTS', sizes, args[i]) == 0 then
        fresh[args[i]], more = args[i + 1], more + bytes
      end
    end
    if limits.max_stored then
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', at.time - STORED_MS, 'LIMIT', 0, FORGETS)) do
        forget(at.root, tenant, id)
      end
      local bytes = tonumber(redis.call('GET', sum) or 0)
      if more > 0 and bytes + more > limits.max_stored then
        return { 'too_much_stored', bytes, limits.max_stored }
      end
    end
    local wait = limits.rate and jobs > 0 and take_tokens(at, tenant, limits, jobs) or 0
    if wait > 0 then return { 'too_fast', wait, tostring(limits.rate) } end
    for id, bytes in pairs(fresh) do
      redis.call('HSET', sizes, id, bytes)
      redis.call('ZADD', times, at.time, id)
      redis.call('INCRBY', sum, bytes)
    end
    if next(fresh) then
      for _, key in ipairs({ stored_keys(at.root, tenant) }) do redis.call('PEXPIRE', key, STORED_MS) end
    end
    return { 'stored' }
  end

  -- ARGS: tenant, id of a file that is stored no more
  -- Gives whether it was counted.
  local function unstore(keys, args) return forget(keys[1], args[1], args[2]) end

  -- ARGS: tenant, how many jobs
  -- Gives what would refuse so many new jobs now; nil if nothing does.
  local function refusal(keys, args)
    local at, tenant, jobs = begin(keys[1]), args[1], number(args[2], 'jobs')
    local limits = limits_of(at, tenant)
    local queued = limits.max_queued and counted(at, 'queued', tenant)
    if queued and queued + jobs > limits.max_queued then return { 'too_many_queued', queued, limits.max_queued } end
    if not limits.rate then return false end
    local tokens, full = tokens_of(at, tenant, limits)
    local short = math.min(jobs, full) - tokens
    return short > 0 and { 'too_fast', math.ceil(short / limits.rate * 1000), tostring(limits.rate) } or false
  end

  -- ARGS: `key` for a job or `batch_key` for a batch, tenant, idempotency key
  -- Gives the id of what was accepted under the key, its digest, and the digest of the request as it came, or
  -- nil where nobody told it; nil if nothing was, or its time is over.
  local function accepted_as(keys, args)
    if args[1] ~= 'key' and args[1] ~= 'batch_key' then invalid('neither a job nor a batch') end
    local text = redis.call('GET', keys[1] .. ':' .. args[1] .. ':' .. args[2] .. ':' .. args[3])
    local earlier = text and unpacked(text)
    if not earlier or earlier[3] + KEY_LIFE_MS <= now() then return false end
    return { earlier[1], earlier[2], earlier[4] or false }
  end

  register('store', store, NEW_WORK)
  register('unstore', unstore, ALWAYS)
  register('refusal', refusal, READ)
  register('accepted_as', accepted_as, READ)
end
