
-- What a check of the whole queue reads. Nothing here writes.
do
  -- How often a job lies among those that wait for another worker than the one that they came up for.
  local function elsewhere(root, class, id, record)
    local sized = redis.call('ZSCORE', root .. ':sized:' .. class, id) and 1 or 0
    if not record or not record.class then return sized end
    return sized + (loras.holds(root, id, record) and 1 or 0) + (suspects.holds(root, id, record) and 1 or 0)
  end

  -- ARGS: cursor
  -- Gives the next cursor, then for each job met: its id and where it stands; `lists` alone is not known.
  local function survey(keys, args)
    local root = keys[1]
    local prefix = job_key(root, '')
    local reply = redis.call('SCAN', args[1], 'MATCH', prefix .. '*', 'COUNT', 500)
    local answer = { reply[1] }
    for _, key in ipairs(reply[2]) do
      local id = string.sub(key, #prefix + 1)
      local record, fault = read(root, id)
      local class = record and record.class or ''
      table.insert(answer, {
        id, record and record.state or fault, redis.call('HEXISTS', root .. ':leases', id),
        redis.call('ZSCORE', root .. ':delayed:' .. class, id) and 1 or 0,
        elsewhere(root, class, id, record),
      })
    end
    return answer
  end

  -- The names of all lists in which jobs wait.
  local function waiting_lists(root, class)
    local known = {}
    local function add_all(names)
      for _, name in ipairs(names) do known[name] = true end
    end
    add_all(redis.call('ZRANGE', root .. ':ring:' .. class, 0, -1))
    add_all(redis.call('HKEYS', root .. ':passes:' .. class))
    local lists = {}
    for tenant in pairs(known) do
      for _, priority in ipairs(redis.call('ZRANGE', levels_key(root, class, tenant), 0, -1)) do
        table.insert(lists, backlog_key(root, class, tenant, priority))
      end
    end
    for _, parked in ipairs(redis.call('SMEMBERS', root .. ':parked')) do
      if string.find(parked, root .. ':parked:' .. class .. ':', 1, true) == 1 then table.insert(lists, parked) end
    end
    return lists
  end

  local function lists(keys)
    local all = {}
    for _, class in ipairs(CLASSES) do
      for _, list in ipairs(waiting_lists(keys[1], class)) do table.insert(all, list) end
    end
    return all
  end

  -- ARGS: id
  -- Where one job stands, everything at one moment: state, class, attempt, fence, version, whether the record
  -- expires; the lease's fence, attempt and version; how often its entry is pending and names the job; the
  -- shard's fence; and how often it lies in the delayed set, the sized, lacking and suspects sets and the lists.
  local function examine(keys, args)
    local root, id = keys[1], args[1]
    local record, fault = read(root, id)
    local lease = lease_of(root, id)
    local class = (record or lease or {}).class or 'bulk'
    local pending = 0
    if lease then
      local entry = redis.call('XRANGE', root .. ':ready:' .. class, lease.entry, lease.entry)[1]
      local held = redis.pcall('XPENDING', root .. ':ready:' .. class, GROUP, lease.entry, lease.entry, 1)
      if entry and entry[2][2] == id and not held.err then pending = #held end
    end
    local listed = 0
    for _, list in ipairs(waiting_lists(root, class)) do
      listed = listed + #redis.call('LPOS', list, id, 'COUNT', 0)
    end
    record = record or { state = fault }
    return {
      record.state, class, record.attempt or 0, record.fence or 0, record.version or 0,
      redis.call('PTTL', job_key(root, id)) >= 0 and 1 or 0, lease and lease.fence or 0, lease and lease.attempt or 0,
      lease and lease.version or 0, pending, shard_of(begin(root)).fence or 0,
      redis.call('ZSCORE', root .. ':delayed:' .. class, id) and 1 or 0,
      elsewhere(root, class, id, record), listed,
    }
  end

  -- How many jobs have notes of a lease, but no lease.
  local function stray_notes(root)
    local strays = {}
    for _, notes in ipairs({ ':steps', ':checkpoints', ':stages' }) do
      for _, id in ipairs(redis.call('HKEYS', root .. notes)) do
        if redis.call('HEXISTS', root .. ':leases', id) == 0 then strays[id] = true end
      end
    end
    local count = 0
    for _ in pairs(strays) do count = count + 1 end
    return count
  end

  -- Counters beside what they count, everything at one moment: all counters, leases, jobs with notes of a
  -- lease that is not there, then for each class:
  -- entries, pending entries, members of the delayed set, the sized, lacking and suspects sets, and the lists.
  local function recount(keys)
    local root = keys[1]
    local answer = { redis.call('HGETALL', root .. ':counts'), redis.call('HLEN', root .. ':leases'), stray_notes(root) }
    for _, class in ipairs(CLASSES) do
      local ready, listed = root .. ':ready:' .. class, 0
      local held = redis.pcall('XPENDING', ready, GROUP)
      for _, list in ipairs(waiting_lists(root, class)) do listed = listed + redis.call('LLEN', list) end
      table.insert(answer, {
        redis.call('XLEN', ready), held.err and 0 or held[1], redis.call('ZCARD', root .. ':delayed:' .. class),
        redis.call('ZCARD', root .. ':sized:' .. class) + loras.count(root, class) + suspects.count(root, class), listed,
      })
    end
    return answer
  end

  -- Gives the bytes of all jobs with a lease.
  local function leased(keys) return redis.call('HKEYS', keys[1] .. ':leases') end

  register('survey', survey, READ)
  register('lists', lists, READ)
  register('examine', examine, READ)
  register('recount', recount, READ)
  register('leased', leased, READ)
end
