
-- One thing done to all jobs of a batch. A batch may have any number of them, so the work is spread
-- over many calls of `sweep`, which whoever asked makes, and the reaper where that process is gone.
do
  local OPERATIONS = { pause = true, resume = true, cancel = true, retry = true }
  -- Rows of a data set that one call looks at.
  local ROWS = 1000

  -- ARGS: batch, operation
  -- Gives whether there is such a batch.
  local function steer(keys, args)
    local at, id, operation = change.begin(keys[1]), args[1], args[2]
    if not OPERATIONS[operation] then input.invalid('unknown operation') end
    local batch = change.batch_of(at, id)
    if not batch then return 0 end
    batch.paused = operation == 'pause' or (operation == 'retry' and batch.paused) or nil
    batch.stopped = operation == 'cancel' or (operation ~= 'retry' and batch.stopped) or nil
    if batch.dataset and operation == 'retry' then
      rows.begin_pass(at, id)
    elseif operation ~= 'pause' then
      -- Jobs that a retry adds are not swept themselves.
      local jobs = batch.dataset and rows.queued_so_far(at, id) or redis.call('LLEN', at.root .. ':members:' .. id)
      redis.call('RPUSH', at.root .. ':sweeps', pack({ id, operation, 0, jobs }))
    end
    change.commit(at)
    return 1
  end

  -- ARGS: batch, code
  -- Jobs of a batch that have failed with this code are made again. Of a data set that takes a while: the codes lie in
  -- the object store. Gives whether there is such a batch.
  local function retry_reason(keys, args)
    local at, id, code = change.begin(keys[1]), args[1], input.present(args[2])
    if not code then input.invalid('no code') end
    local batch = change.batch_of(at, id)
    if not batch then return 0 end
    if batch.dataset then
      rows.retry_code(at, id, code)
    else
      redis.call('RPUSH', at.root .. ':sweeps', pack({ id, 'retry', 0, redis.call('LLEN', at.root .. ':members:' .. id), code }))
    end
    batch.stopped = nil
    change.commit(at)
    return 1
  end

  -- Whether a job has failed, and with this code if one is given.
  local function has_failed(record, code)
    if record.state ~= 'failed' then return false end
    if not code then return true end
    local ok, failure = pcall(cjson.decode, record.error or '')
    return ok and type(failure) == 'table' and failure.code == code
  end

  -- Parked jobs go back before the others of their priority, in their old order.
  local function unpark(at, id, most)
    local left = most
    for _, class in ipairs(CLASSES) do
      local parked = at.root .. ':parked:' .. class .. ':' .. id
      while left > 0 do
        local job = redis.call('RPOP', parked)
        if not job then
          redis.call('SREM', at.root .. ':parked', parked)
          break
        end
        left = left - 1
        wakeups.wake(at, 1, class)
        local record = records.read(at.root, job)
        if record and record.state == 'queued' then
          waiting.into_backlog(at, job, record, true)
        else
          counters.count_ghost(at, class, -1)
        end
      end
    end
    return left > 0
  end

  -- Cancels or retries the next members; gives the new cursor.
  local function sweep_members(at, operation, id, cursor, jobs, retention, new, code)
    local most = operation == 'retry' and #new or LIMITS.SWEEP
    local last = math.min(jobs, cursor + most)
    for i, job in ipairs(redis.call('LRANGE', at.root .. ':members:' .. id, cursor, last - 1)) do
      local record = records.read(at.root, job)
      if record and operation == 'cancel' and record.state == 'queued' then
        ending.cancel_one(at, job, record, retention)
      elseif record and operation == 'retry' and has_failed(record, code) then
        ending.reissue(at, job, record, new[i])
      end
    end
    return last
  end

  -- Cancels the next rows that have not ended; gives the new cursor.
  local function cancel_rows(at, id, cursor, jobs, retention)
    local last, canceled = math.min(jobs, cursor + ROWS), 0
    local _, pass = rows.queued_so_far(at, id)
    for _, row in ipairs(cursor < last and rows.unended(at.root, id, cursor, last) or {}) do
      local job, record = rows.job_of_row(at.root, id, row, pass)
      if record and record.state == 'queued' then
        if canceled == LIMITS.SWEEP then return row end
        ending.cancel_one(at, job, record, retention)
        canceled = canceled + 1
      end
    end
    return last
  end

  -- ARGS: retention_ms, new id...
  -- Does the next part of the oldest sweep; gives how many sweeps are left.
  local function sweep(keys, args)
    local root, retention = keys[1], input.number(args[1], 'retention_ms')
    local sweeps = root .. ':sweeps'
    local text = redis.call('LINDEX', sweeps, 0)
    if not text then return 0 end
    local at = change.begin(root)
    local id, operation, cursor, jobs, code = unpack(cmsgpack.unpack(text))
    local batch = change.batch_of(at, id)
    local done = not batch
    if batch and operation == 'resume' then
      done = batch.paused or unpark(at, id, LIMITS.SWEEP)
    elseif batch then
      cursor = batch.dataset and cancel_rows(at, id, cursor, jobs, retention)
        or sweep_members(at, operation, id, cursor, jobs, retention, { unpack(args, 2) }, code)
      if cursor >= jobs then
        done = operation == 'retry'
        -- What is left in the parked lists of a canceled batch are ghosts.
        operation = 'resume'
      end
    end
    if done then
      redis.call('LPOP', sweeps)
    else
      redis.call('LSET', sweeps, 0, pack({ id, operation, cursor, jobs, code }))
    end
    change.commit(at, retention)
    return redis.call('LLEN', sweeps)
  end

  -- ARGS: batch
  local function batch_view(keys, args)
    local at = change.begin(keys[1])
    local batch = change.batch_of(at, args[1])
    if not batch then return false end
    local values = {}
    for i, name in ipairs(answers.batch_counts) do values[i] = batch[name] or 0 end
    local expires = redis.call('PEXPIRETIME', at.root .. ':b:' .. args[1])
    return answers.build('batch', {
      tenant = batch.tenant, created = batch.created, counts = values, paused = batch.paused and 1 or 0,
      stopped = batch.stopped and 1 or 0, metadata = batch.metadata, expires = expires > 0 and expires,
    })
  end

  register('steer', steer, ALWAYS)
  register('retry_reason', retry_reason, ALWAYS)
  register('sweep', sweep, ALWAYS)
  register('batch', batch_view, READ)
end
