
-- Work into the queue.

local JOB_ARGS = 11

local function job_args(args, first)
  local class = args[first + 1]
  if class ~= 'interactive' and class ~= 'bulk' then invalid('unknown class') end
  if #args[first] ~= 16 then invalid('id is not 16 bytes') end
  if not args[first + JOB_ARGS - 1] then invalid('arguments are missing') end
  return {
    id = args[first], class = class, priority = number(args[first + 2], 'priority'),
    spec = args[first + 3], key = present(args[first + 4]), digest = args[first + 5],
    due = optional(args[first + 6], 'not_before'), start_by = optional(args[first + 7], 'start_by'),
    finish_by = optional(args[first + 8], 'finish_by'), batch = present(args[first + 9]),
    retry_of = present(args[first + 10]),
  }
end

-- The id that a job with this idempotency key has, or nil; the second value tells of another body.
local function known(at, tenant, job)
  if redis.call('EXISTS', job_key(at.root, job.id)) == 1 then return job.id end
  local text = job.key and redis.call('GET', at.root .. ':key:' .. tenant .. ':' .. job.key)
  if not text then return nil end
  local earlier = cmsgpack.unpack(text)
  if earlier[3] + KEY_LIFE_MS <= at.time then return nil end
  return earlier[1], earlier[2] ~= job.digest
end

-- Fills the tenant's bucket and tells how long until it holds `jobs` tokens; 0 if it does.
local function wait_for_tokens(at, tenant, jobs)
  if not tenant.rate then return 0 end
  local full = tenant.burst or tenant.rate
  local earned = (at.time - (tenant.filled or 0)) / 1000 * tenant.rate
  tenant.tokens = math.min(full, (tenant.tokens or full) + math.max(0, earned))
  tenant.filled = at.time
  -- More than ever fits is let through on a full bucket, which then owes the rest.
  local short = math.min(jobs, full) - tenant.tokens
  return short > 0 and math.ceil(short / tenant.rate * 1000) or 0
end

-- Puts one job into the queue; everything has been checked.
local function accept(at, tenant, job)
  local record = {
    state = 'queued', tenant = tenant, class = job.class, priority = job.priority, spec = job.spec,
    submitted = at.time, start_by = job.start_by, finish_by = job.finish_by, batch = job.batch,
    retry_of = job.retry_of, due = job.due and job.due > at.time and job.due or nil,
  }
  emit(at, job.id, record, 'queued')
  redis.call('SET', job_key(at.root, job.id), RECORD.pack(record))
  if job.key then
    local key = at.root .. ':key:' .. tenant .. ':' .. job.key
    redis.call('SET', key, cmsgpack.pack({ job.id, job.digest, at.time }), 'PX', KEY_LIFE_MS)
  end
  if job.batch then redis.call('RPUSH', at.root .. ':members:' .. job.batch, job.id) end
  set_deadline(at, job.id, record)
  if record.due then
    redis.call('ZADD', at.root .. ':delayed:' .. job.class, record.due, job.id)
  else
    into_backlog(at, job.id, record)
  end
  count(at, record, nil, 'queued')
end

-- ARGS: tenant, then for each job: id, class, priority, spec, key, digest, not_before, start_by,
-- finish_by, batch, retry_of; what is not given is empty. All jobs are accepted, or none.
-- Gives `accepted`, then for each job 1 or the id of the earlier job that it repeats; or what refuses
-- all of them.
local function submit(keys, args)
  local at, name = begin(keys[1]), args[1]
  if name == '' or #args < 1 + JOB_ARGS or (#args - 1) % JOB_ARGS ~= 0 then invalid('arguments are missing') end
  local fresh, answer, keyed = {}, { 'accepted' }, {}
  for first = 2, #args, JOB_ARGS do
    local job = job_args(args, first)
    local index = #answer - 1
    local earlier, other = known(at, name, job)
    if not earlier and job.key and keyed[job.key] then
      earlier, other = keyed[job.key].id, keyed[job.key].digest ~= job.digest
    end
    if other then return { 'key_reused', index, earlier } end
    local batch = job.batch and batch_of(at, job.batch)
    if batch and batch.tenant ~= name then return { 'no_such_batch', index } end
    if batch and batch.stopped and not earlier then return { 'batch_canceled', index } end
    if job.key then keyed[job.key] = job end
    if not earlier then table.insert(fresh, job) end
    table.insert(answer, earlier or 1)
  end
  local tenant = tenant_of(at, name)
  if tenant.max_queued and #fresh > 0 and (tenant.queued or 0) + #fresh > tenant.max_queued then
    return { 'too_many_queued', tenant.queued or 0, tenant.max_queued }
  end
  local wait = #fresh > 0 and wait_for_tokens(at, tenant, #fresh) or 0
  if wait > 0 then return { 'too_fast', wait, tostring(tenant.rate) } end
  if tenant.rate then tenant.tokens = tenant.tokens - #fresh end
  for _, job in ipairs(fresh) do
    if job.batch and not batch_of(at, job.batch) then
      at.batches[job.batch] = { tenant = name, created = at.time }
    end
    accept(at, name, job)
    if job.batch then add(batch_of(at, job.batch), 'total', 1) end
  end
  if #fresh > 0 then
    wake(at.root, #fresh)
    commit(at)
  end
  return answer
end
