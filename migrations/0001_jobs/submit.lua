
-- Work into the queue.
local submission = {}
do
  -- A job as it is asked for: its id and key, and the record it will have.
  local function job_args(args, first, width, tenant, time)
    local id, class, spec = args[first], args[first + 1], args[first + 3]
    if class ~= 'interactive' and class ~= 'bulk' then input.invalid('unknown class') end
    if #id ~= 16 then input.invalid('id is not 16 bytes') end
    local record = {
      state = 'queued', tenant = tenant, class = class, priority = input.number(args[first + 2], 'priority'),
      spec = spec, submitted = time,
    }
    if width == LIMITS.PLAIN then return { id = id, record = record } end
    local due = input.optional(args[first + 6], 'not_before')
    record.due = due and due > time and due or nil
    record.start_by = input.optional(args[first + 7], 'start_by')
    record.finish_by = input.optional(args[first + 8], 'finish_by')
    record.batch, record.retry_of = input.present(args[first + 9]), input.present(args[first + 10])
    record.webhook = input.present(args[first + 11])
    if record.webhook and #args[first + 12] ~= 32 then input.invalid('not a secret') end
    return {
      id = id, record = record, key = input.present(args[first + 4]), digest = args[first + 5],
      secret = args[first + 12],
    }
  end

  -- The id that a job with this idempotency key has, or nil; the second value tells of another body. A job's digest
  -- is that of its spec, followed by that of the request as it came where whoever submits tells it. Either is enough:
  -- defaults may have changed since, and the same may have been asked for in other words.
  local function known(at, tenant, job)
    if redis.call('EXISTS', records.key(at.root, job.id)) == 1 then return job.id end
    local text = job.key and redis.call('GET', at.root .. ':key:' .. tenant .. ':' .. job.key)
    if not text then return nil end
    local earlier = cmsgpack.unpack(text)
    if earlier[3] + LIMITS.KEY_LIFE_MS <= at.time then return nil end
    local asked = string.sub(job.digest, 33)
    local same = earlier[2] == string.sub(job.digest, 1, 32) or (asked ~= '' and earlier[4] == asked)
    return earlier[1], not same
  end

  -- Puts one job into the queue; everything has been checked.
  function submission.accept(at, id, record)
    events.emit(at, id, record, 'queued')
    redis.call('SET', records.key(at.root, id), pack(record))
    if record.batch and not record.row then redis.call('RPUSH', at.root .. ':members:' .. record.batch, id) end
    outcome.set_deadline(at, id, record)
    if record.due then
      waiting.into_delayed(at, id, record)
    else
      waiting.into_backlog(at, id, record)
    end
    counters.count(at, record, nil, 'queued')
    if record.row then return end
    at.fresh[record.tenant] = at.fresh[record.tenant] or {}
    table.insert(at.fresh[record.tenant], id)
  end

  local function remember_key(at, tenant, job)
    local key = at.root .. ':key:' .. tenant .. ':' .. job.key
    local spec, asked = string.sub(job.digest, 1, 32), input.present(string.sub(job.digest, 33))
    redis.call('SET', key, pack({ job.id, spec, at.time, asked }), 'PX', LIMITS.KEY_LIFE_MS)
  end

  -- Accepts all jobs that `args` tell from `first` on, or none: tenant, 4 or 13, then so many for each job: id,
  -- class, priority, spec; key, digest, not_before, start_by, finish_by, batch, retry_of, webhook (shape and
  -- address), secret of the endpoint `default` in case it is not there, of which what is not given is empty. Gives
  -- `accepted`, then for each job 1 or the id of the earlier job that it repeats; or what refuses all of them. The
  -- second value is how many are new: if any, there is something to commit.
  local function take_in(at, args, first)
    local name, width, jobs_from = args[first], tonumber(args[first + 1]), first + 2
    local left = #args - jobs_from + 1
    if name == '' or (width ~= LIMITS.PLAIN and width ~= LIMITS.SPECIAL) or left < width or left % width ~= 0 then
      input.invalid('arguments are missing')
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
      local batch = job.record.batch and change.batch_of(at, job.record.batch)
      if batch and batch.tenant ~= name then return { 'no_such_batch', index }, 0 end
      if batch and batch.stopped and not earlier then return { 'batch_canceled', index }, 0 end
      if job.key then keyed[job.key] = job end
      if not earlier then table.insert(fresh, job) end
      table.insert(answer, earlier or 1)
    end
    if #fresh == 0 then return answer, 0 end
    local limits = change.limits_of(at, name)
    local queued = limits.max_queued and counters.counted(at, 'queued', name)
    if queued and queued + #fresh > limits.max_queued then
      return { 'too_many_queued', queued, limits.max_queued }, 0
    end
    local wait = limits.rate and rate.take_tokens(at, name, limits, #fresh) or 0
    if wait > 0 then return { 'too_fast', wait, tostring(limits.rate) }, 0 end
    local jobs = {}
    for _, job in ipairs(fresh) do
      counters.add(jobs, job.record.class, 1)
      local id = job.record.batch
      if id then
        at.batches[id] = change.batch_of(at, id) or { tenant = name, created = at.time }
        counters.add(at.batches[id], 'total', 1)
      end
      if job.record.webhook then hooks.keep_default(at.root, name, job.secret) end
      submission.accept(at, job.id, job.record)
      if job.key then remember_key(at, name, job) end
    end
    for class, count in pairs(jobs) do wakeups.wake(at, count, class) end
    return answer, #fresh
  end

  -- ARGS: as `take_in` reads them; gives what it gives.
  local function submit(keys, args)
    local at = change.begin(keys[1])
    local answer, fresh = take_in(at, args, 1)
    if fresh > 0 then change.commit(at) end
    return answer
  end

  -- ARGS: batch, key, digest, metadata, then as for `submit`; the jobs are the batch's. The batch is accepted as a
  -- whole, or repeats an earlier one with the same key: then gives `repeated` and that one's id.
  local function submit_batch(keys, args)
    local at, id, key, digest = change.begin(keys[1]), args[1], input.present(args[2]), args[3]
    local tenant = args[5]
    if not tenant or #id ~= 16 then input.invalid('arguments are missing') end
    local known_as = key and at.root .. ':batch_key:' .. tenant .. ':' .. key
    local text = known_as and redis.call('GET', known_as)
    local earlier = text and cmsgpack.unpack(text)
    if earlier and earlier[3] + LIMITS.KEY_LIFE_MS > at.time then
      return { earlier[2] == digest and 'repeated' or 'batch_key_reused', earlier[1] }
    end
    local answer, fresh = take_in(at, args, 5)
    if fresh == 0 then return answer end
    change.batch_of(at, id).metadata = input.present(args[4])
    if known_as then redis.call('SET', known_as, pack({ id, digest, at.time }), 'PX', LIMITS.KEY_LIFE_MS) end
    change.commit(at)
    return answer
  end

  -- ARGS: tenant, how many jobs
  -- Gives what would refuse so many new jobs now; nil if nothing does.
  local function refusal(keys, args)
    local at, tenant, jobs = change.begin(keys[1]), args[1], input.number(args[2], 'jobs')
    local limits = change.limits_of(at, tenant)
    local queued = limits.max_queued and counters.counted(at, 'queued', tenant)
    if queued and queued + jobs > limits.max_queued then return { 'too_many_queued', queued, limits.max_queued } end
    if not limits.rate then return false end
    local tokens, full = rate.tokens_of(at, tenant, limits)
    local short = math.min(jobs, full) - tokens
    return short > 0 and { 'too_fast', math.ceil(short / limits.rate * 1000), tostring(limits.rate) } or false
  end

  -- ARGS: `key` for a job or `batch_key` for a batch, tenant, idempotency key
  -- Gives the id of what was accepted under the key, its digest, and the digest of the request as it came, or
  -- nil where nobody told it; nil if nothing was, or its time is over.
  local function accepted_as(keys, args)
    if args[1] ~= 'key' and args[1] ~= 'batch_key' then input.invalid('neither a job nor a batch') end
    local text = redis.call('GET', keys[1] .. ':' .. args[1] .. ':' .. args[2] .. ':' .. args[3])
    local earlier = text and unpacked(text)
    if not earlier or earlier[3] + LIMITS.KEY_LIFE_MS <= now() then return false end
    return { earlier[1], earlier[2], earlier[4] or false }
  end

  register('submit', submit, NEW_WORK)
  register('submit_batch', submit_batch, NEW_WORK)
  register('refusal', refusal, READ)
  register('accepted_as', accepted_as, READ)
end
