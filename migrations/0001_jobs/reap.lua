
-- What time alone brings about. Any process may call it; one at a time does the work.
do
  -- Most leases, deadlines or delayed jobs that one call deals with.
  local REAP = 50
  local PRUNE_EVERY_MS = 60 * 1000
  local CONSUMER_LIFE_MS = 3600 * 1000
  -- Ids that one call drops from the list of a tenant who submits nothing any more.
  local TRIM = 20

  -- Redis itself was replaced or restarted: nobody could renew in between.
  local function notice_restart(at)
    local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    local shard = change.shard_of(at)
    if shard.run_id and shard.run_id ~= run_id then shard.outage = at.time end
    shard.run_id = run_id
  end

  -- An entry that no lease stands behind.
  local function drop_entry(at, class, entry, id, lease, fields)
    letters.add(at, 'not a lease', id, pack(fields))
    if lease and lease.entry == entry then
      leases.forget(at.root, id)
      counters.count(at, lease, 'running', nil)
    end
    redis.call('XACK', at.root .. ':ready:' .. class, GROUP, entry)
    redis.call('XDEL', at.root .. ':ready:' .. class, entry)
  end

  local function end_lease(at, class, entry, blameless, retention)
    local fields = (redis.call('XRANGE', at.root .. ':ready:' .. class, entry, entry)[1] or {})[2] or {}
    local id = fields[1] == 'j' and fields[2] or nil
    local lease = id and leases.of(at.root, id)
    local record = lease and lease.entry == entry and records.read(at.root, id)
    if not record then
      drop_entry(at, class, entry, id, lease, fields)
      return 'dropped'
    end
    local blamed = not blameless and suspects.was_at_work(at.root, id, lease)
    leases.close(at, id, record, lease)
    return settlement.lost(at, id, record, lease, blamed and lease.token, 'lease_lost', retention)
  end

  local function reap_leases(at, lease_ms, retention, counts)
    local outage = change.shard_of(at).outage or 0
    if at.time - outage < lease_ms then return end
    for _, class in ipairs(CLASSES) do
      local late = redis.pcall('XPENDING', at.root .. ':ready:' .. class, GROUP, 'IDLE', lease_ms, '-', '+', REAP)
      for _, pending in ipairs(late.err and {} or late) do
        local blameless = at.time - pending[3] <= outage
        local became = end_lease(at, class, pending[1], blameless, retention)
        counts[became] = counts[became] + 1
      end
      if #late >= REAP then counts.again = 1 end
    end
  end

  local function reap_deadlines(at, retention, counts)
    local passed = redis.call('ZRANGEBYSCORE', at.root .. ':deadlines', '-inf', at.time, 'LIMIT', 0, REAP)
    for _, id in ipairs(passed) do ending.overdue(at, id, retention) end
    if #passed >= REAP then counts.again = 1 end
  end

  local function reap_delays(at, counts)
    for _, class in ipairs(CLASSES) do
      local due = waiting.promote(at, class, REAP)
      if due > 0 then wakeups.wake(at, due, class) end
      if due >= REAP then counts.again = 1 end
    end
  end

  -- Ids of jobs that are gone leave the lists of some tenants, of others the next time.
  local function trim_idle(at)
    local shard = change.shard_of(at)
    local reply = redis.call('HSCAN', at.root .. ':shed', shard.shed or '0', 'COUNT', 50)
    shard.shed = reply[1] ~= '0' and reply[1] or nil
    for i = 1, #reply[2], 2 do
      local tenant = reply[2][i]
      listing.trim(at, tenant, TRIM)
      if redis.call('EXISTS', listing.key(at.root, tenant)) == 0 then redis.call('HDEL', at.root .. ':shed', tenant) end
    end
  end

  -- Consumers without entries that have gone silent. One with entries must stay: the group would
  -- forget them.
  local function prune(at, lease_ms)
    local shard = change.shard_of(at)
    if at.time - (shard.pruned or 0) < PRUNE_EVERY_MS then return end
    shard.pruned = at.time
    for _, class in ipairs(CLASSES) do
      local ready = at.root .. ':ready:' .. class
      local consumers = redis.pcall('XINFO', 'CONSUMERS', ready, GROUP)
      for _, consumer in ipairs(consumers.err and {} or consumers) do
        if consumer[4] == 0 and consumer[6] > CONSUMER_LIFE_MS then
          redis.call('XGROUP', 'DELCONSUMER', ready, GROUP, consumer[2])
        end
      end
    end
    trim_idle(at)
    redis.call('ZREMRANGEBYSCORE', at.root .. ':idle', '-inf', at.time - LIMITS.IDLE_MS)
    local silent = at.time - LIMITS.SILENT_LEASES * lease_ms
    for _, worker in ipairs(redis.call('ZRANGEBYSCORE', at.root .. ':seen', '-inf', silent)) do
      redis.call('ZREM', at.root .. ':seen', worker)
      redis.call('HDEL', at.root .. ':workers', worker)
    end
  end

  -- The nightly window if its times lie behind.
  local function stale_window(at)
    local window = redis.call('GET', at.root .. ':window')
    if window and (change.shard_of(at).closes or 0) <= at.time then return { at.time, window } end
  end

  -- ARGS: owner, term_ms, lease_ms, attempts (of which lost leases spend none any more), retention_ms
  -- Gives nil to all but one owner: requeued, failed, dropped (entries that went to the dead letters), whether there is
  -- more to do at once; then, if the times of the nightly window are to be worked out, the time now and the window.
  local function reap(keys, args)
    local root, owner = keys[1], args[1]
    local term_ms, lease_ms = input.number(args[2], 'term_ms'), input.number(args[3], 'lease_ms')
    local retention = input.number(args[5], 'retention_ms')
    local holder = redis.call('GET', root .. ':reaper')
    if holder and holder ~= owner then return false end
    redis.call('SET', root .. ':reaper', owner, 'PX', term_ms)
    local at = change.begin(root)
    notice_restart(at)
    change.hear(at, lease_ms)
    local counts = { requeued = 0, failed = 0, dropped = 0, again = 0 }
    reap_leases(at, lease_ms, retention, counts)
    reap_deadlines(at, retention, counts)
    reap_delays(at, counts)
    prune(at, lease_ms)
    change.commit(at, retention)
    if redis.call('EXISTS', root .. ':sweeps') == 1 then counts.again = 1 end
    return { counts.requeued, counts.failed, counts.dropped, counts.again, stale_window(at) }
  end

  register('reap', reap, ALWAYS)
end
