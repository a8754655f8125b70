
-- How a lease ends.
local settlement = {}
do
  local function requeue(at, id, record, reason)
    record.state, record.step = 'queued', nil
    events.emit(at, id, record, 'requeued', '{"reason":"' .. reason .. '"}')
    redis.call('SET', records.key(at.root, id), pack(record))
    if record.due then
      waiting.into_delayed(at, id, record)
    elseif record.need then
      waiting.into_sized(at, id, record)
    else
      waiting.into_backlog(at, id, record, true)
    end
    outcome.set_deadline(at, id, record)
    counters.count(at, record, 'running', 'queued')
    turns.make_room(at, record.tenant)
    wakeups.wake(at, 1, record.class)
  end

  local function end_running(at, id, record, state, retention, data)
    outcome.finish(at, id, record, 'running', state, retention, data)
    turns.make_room(at, record.tenant)
  end

  local function worker_lost(record)
    return cjson.encode({
      code = 'worker_lost', retryable = false,
      message = 'the worker was lost ' .. suspects.marks(record) .. ' times while it worked on this job',
    })
  end

  -- A job whose worker was lost waits again without having spent an attempt; one that is to blame is marked, and the
  -- last mark ends it.
  function settlement.lost(at, id, record, lease, mark, reason, retention)
    if mark then
      record.marks = record.marks or {}
      table.insert(record.marks, mark)
      if suspects.marks(record) >= LIMITS.POISON then
        record.error = worker_lost(record)
        end_running(at, id, record, 'failed', retention)
        letters.add_job(at, 'poison', id, record)
        return 'failed'
      end
    end
    record.attempt = lease.attempt > 1 and lease.attempt - 1 or nil
    record.due = nil
    requeue(at, id, record, reason)
    return 'requeued'
  end

  -- Runs `act` if the caller holds the lease. A settlement whose answer was lost may be repeated.
  local function settle(keys, args, name, act)
    local root, id, fence, token = keys[1], args[1], input.number(args[2], 'fence'), args[3]
    local mark = name .. ':' .. args[2] .. ':' .. token
    local record = records.read(root, id)
    if record and record.settled == mark then return 1 end
    local lease = leases.of(root, id)
    if not record or not leases.holds(lease, fence, token) then return 0 end
    local at = change.begin(root)
    leases.close(at, id, record, lease, mark)
    act(at, id, record, lease)
    return 1
  end

  -- ARGS: id, fence, token, retention_ms, output
  local function complete(keys, args)
    local retention, output = input.number(args[4], 'retention_ms'), args[5]
    if not output then input.invalid('output is missing') end
    return settle(keys, args, 'complete', function(at, id, record)
      record.output, record.error, record.step = output, nil, record.of
      end_running(at, id, record, 'succeeded', retention)
      change.commit(at, retention)
    end)
  end

  -- ARGS: id, fence, token, retention_ms, failure, retryable, attempts, delay_ms
  local function fail(keys, args)
    local retention, attempts = input.number(args[4], 'retention_ms'), input.number(args[7], 'attempts')
    local delay = input.number(args[8], 'delay_ms')
    return settle(keys, args, 'fail', function(at, id, record)
      record.error = args[5]
      if args[6] == '1' and record.attempt < attempts then
        record.due = delay > 0 and at.time + delay or nil
        requeue(at, id, record, 'retry')
      else
        end_running(at, id, record, 'failed', retention)
        if args[6] == '1' and not record.row then letters.add_job(at, 'attempts spent', id, record) end
      end
      change.commit(at, retention)
    end)
  end

  -- ARGS: id, fence, token, need
  local function release(keys, args)
    local need = input.optional(args[4], 'need')
    return settle(keys, args, 'release', function(at, id, record, lease)
      record.attempt = lease.attempt > 1 and lease.attempt - 1 or nil
      -- A job that was handed back before its first step has not begun, unless it had before.
      if lease.first and not lease.step then record.started = nil end
      record.due, record.need = nil, need
      requeue(at, id, record, 'released')
      change.commit(at)
    end)
  end

  -- ARGS: id, fence, token, retention_ms
  -- The holder's device hangs at the job: the process hands it over and ends. It counts as if it had died, and no
  -- renewal that is late clears this mark.
  local function stuck(keys, args)
    local retention = input.number(args[4], 'retention_ms')
    return settle(keys, args, 'stuck', function(at, id, record, lease)
      settlement.lost(at, id, record, lease, 'stuck:' .. lease.token, 'device_stuck', retention)
      change.commit(at, retention)
    end)
  end

  -- A record's marks but this one, and whether it was among them.
  local function without(marks, token)
    local rest = {}
    for _, mark in ipairs(marks or {}) do
      if mark ~= token then table.insert(rest, mark) end
    end
    return #rest > 0 and rest or nil, #rest < #(marks or {})
  end

  -- ARGS: id, token
  -- The holder of a lease that was lost is back, so it was not the job that killed it. Gives whether it was blamed.
  local function clear_mark(keys, args)
    local root, id, found = keys[1], args[1], false
    local record = records.read(root, id)
    if not record then return 0 end
    record.marks, found = without(record.marks, args[2])
    if not found then return 0 end
    redis.call('SET', records.key(root, id), pack(record), 'XX', 'KEEPTTL')
    if not suspects.is_one(record) and suspects.pick_up(root, id, record) then
      local at = change.begin(root)
      waiting.into_backlog(at, id, record, true)
      wakeups.wake(at, 1, record.class)
      change.commit(at)
    end
    return 1
  end

  register('complete', complete, ALWAYS)
  register('fail', fail, ALWAYS)
  register('release', release, ALWAYS)
  register('stuck', stuck, ALWAYS)
  register('clear_mark', clear_mark, ALWAYS)
end
