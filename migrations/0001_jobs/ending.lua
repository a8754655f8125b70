
-- Ends that no worker brings about, and new beginnings.
local ending = {}
do
  -- Ends a job that waits or runs: calls `end_from` with its state.
  local function stop(at, id, record, end_from)
    local lease = leases.of(at.root, id)
    if lease then
      leases.close(at, id, record, lease)
      end_from('running')
      turns.make_room(at, record.tenant)
    else
      waiting.withdraw(at, id, record)
      end_from('queued')
    end
  end

  function ending.cancel_one(at, id, record, retention)
    stop(at, id, record, function(from) outcome.finish(at, id, record, from, 'canceled', retention) end)
  end

  -- ARGS: id, retention_ms
  -- Gives the state that the job is in now, or nil if there is none; the second value is whether this
  -- call ended it.
  local function cancel(keys, args)
    local root, id, retention = keys[1], args[1], input.number(args[2], 'retention_ms')
    local record, fault = records.read(root, id)
    if fault == 'no record' then return false end
    if not record then input.invalid(fault) end
    if record.state ~= 'queued' then return { record.state, 0 } end
    local at = change.begin(root)
    ending.cancel_one(at, id, record, retention)
    change.commit(at, retention)
    return { 'canceled', 1 }
  end

  -- Ends a job whose start_by or finish_by has passed.
  function ending.overdue(at, id, retention)
    local record = records.read(at.root, id)
    local ends = record and record.state == 'queued' and outcome.deadline({
      started = record.started or leases.of(at.root, id), start_by = record.start_by, finish_by = record.finish_by,
    })
    if not ends or ends > at.time then
      redis.call('ZREM', at.root .. ':deadlines', id)
      if ends then redis.call('ZADD', at.root .. ':deadlines', ends, id) end
      return
    end
    stop(at, id, record, function(from) outcome.expire(at, id, record, from, retention) end)
  end

  -- Makes a new job from one that has ended; gives its id. Doing it again gives the same one.
  function ending.reissue(at, id, record, new)
    if record.row then input.invalid('a row of a data set is retried with its batch') end
    if record.retried_by then return record.retried_by end
    local batch = record.batch and change.batch_of(at, record.batch)
    submission.accept(at, new, {
      state = 'queued', tenant = record.tenant, class = record.class, priority = record.priority,
      spec = record.spec, submitted = at.time, batch = batch and record.batch or nil, retry_of = id,
      webhook = record.webhook,
    })
    wakeups.wake(at, 1, record.class)
    if batch then
      -- A batch counts the newest attempt at each of its rows.
      counters.add(batch, record.state, -1)
      batch.stopped = nil
    end
    record.retried_by = new
    redis.call('SET', records.key(at.root, id), pack(record), 'XX', 'KEEPTTL')
    return new
  end

  -- ARGS: id, new id
  -- Gives the new job's id, or the state that is in the way, or nil if there is no such job.
  local function retry(keys, args)
    local root, id, new = keys[1], args[1], args[2]
    if not new or #new ~= 16 then input.invalid('id is not 16 bytes') end
    local record, fault = records.read(root, id)
    if fault == 'no record' then return false end
    if not record then input.invalid(fault) end
    if record.state == 'queued' then return { 'unfinished' } end
    local at = change.begin(root)
    local made = ending.reissue(at, id, record, new)
    change.commit(at)
    return { 'retried', made }
  end

  -- ARGS: entry, new id
  -- Makes a new job from a dead letter and drops the letter. Gives as `retry` does.
  local function revive(keys, args)
    local root, entry, new = keys[1], args[1], args[2]
    if not new or #new ~= 16 then input.invalid('id is not 16 bytes') end
    local letter = redis.call('XRANGE', root .. ':dead', entry, entry)[1]
    if not letter then return false end
    local id, raw = letter[2][4], letter[2][6]
    local record = records.read(root, id) or unpacked(raw)
    if not record or not record.spec or not record.tenant then return { 'no job' } end
    if record.state == 'queued' and redis.call('EXISTS', records.key(root, id)) == 1 then return { 'unfinished' } end
    local at = change.begin(root)
    local made = ending.reissue(at, id, record, new)
    redis.call('XDEL', root .. ':dead', entry)
    change.commit(at)
    return { 'retried', made }
  end

  -- ARGS: id
  -- Forgets a job that has ended, with all that is kept of it here. Gives 1; 0 if it has not ended; or nil if
  -- there is none.
  local function remove(keys, args)
    local root, id = keys[1], args[1]
    local record, fault = records.read(root, id)
    if fault == 'no record' then return false end
    if not record then input.invalid(fault) end
    -- Also one that failed and waits for its next attempt.
    if record.state == 'queued' or record.row then return 0 end
    redis.call('DEL', records.key(root, id), root .. ':preview:' .. id, watching.key(root, id))
    if record.letter then redis.call('XDEL', root .. ':dead', record.letter) end
    return 1
  end

  register('retry', retry, NEW_WORK)
  register('revive', revive, NEW_WORK)
  register('cancel', cancel, ALWAYS)
  register('remove', remove, ALWAYS)
end
