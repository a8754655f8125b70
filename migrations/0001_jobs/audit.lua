
-- What a check of the whole queue reads, in parts: each call is short, however many jobs, leases and tenants there are.
-- Nothing here writes.
do
  -- Records and notes that one call looks at.
  local RECORDS, NOTES = 100, 200
  -- How far from the place that a caller has seen it at a job is looked for in a list.
  local NEARBY = 2000

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
    local prefix = records.key(root, '')
    local reply = redis.call('SCAN', args[1], 'MATCH', prefix .. '*', 'COUNT', RECORDS)
    local answer = { reply[1] }
    for _, key in ipairs(reply[2]) do
      local id = string.sub(key, #prefix + 1)
      local record, fault = records.read(root, id)
      local class = record and record.class or ''
      table.insert(answer, {
        id, record and record.state or fault, redis.call('HEXISTS', root .. ':leases', id),
        redis.call('ZSCORE', root .. ':delayed:' .. class, id) and 1 or 0,
        elsewhere(root, class, id, record),
      })
    end
    return answer
  end

  -- The names of a tenant's backlogs of a class.
  local function backlogs_of(root, class, tenant)
    local lists = {}
    for _, priority in ipairs(redis.call('ZRANGE', turns.levels_key(root, class, tenant), 0, -1)) do
      table.insert(lists, waiting.backlog_key(root, class, tenant, priority))
    end
    return lists
  end

  -- ARGS: tenant...
  -- Gives the names of all their backlogs.
  local function backlogs(keys, args)
    local answer = {}
    for _, tenant in ipairs(args) do
      for _, class in ipairs(CLASSES) do
        for _, list in ipairs(backlogs_of(keys[1], class, tenant)) do table.insert(answer, list) end
      end
    end
    return answer
  end

  -- How often a job lies in lists, at or a little before places that are counted from their ends: whatever joins a list
  -- at its end moves the others away from it.
  local function count_near(id, places, first)
    local seen = {}
    for i = first, #places, 2 do
      local list, place = places[i], input.number(places[i + 1], 'place')
      local length = redis.call('LLEN', list)
      local from = math.max(0, length - place - NEARBY)
      local near = place <= length and redis.call('LRANGE', list, from, length - place) or {}
      for k, other in ipairs(near) do
        if other == id then seen[list .. ' ' .. from + k] = true end
      end
    end
    local times = 0
    for _ in pairs(seen) do times = times + 1 end
    return times
  end

  -- How often a job that waits lies in the lists in which it may, as versions before ask for it.
  local function count_listed(root, id, record)
    local lists, times = backlogs_of(root, record.class, record.tenant), 0
    if record.batch then table.insert(lists, root .. ':parked:' .. record.class .. ':' .. record.batch) end
    for _, list in ipairs(lists) do times = times + #redis.call('LPOS', list, id, 'COUNT', 0) end
    return times
  end

  -- ARGS: id, then nothing, or `at` and lists in which it was seen, each followed by its place there, from the end and
  -- from 1
  -- Gives the job's `standing`, everything at one moment.
  local function examine(keys, args)
    local root, id = keys[1], args[1]
    local record, fault = records.read(root, id)
    local lease = leases.of(root, id)
    local class = (record or lease or {}).class or 'bulk'
    local pending, listed = 0, 0
    if lease then
      local entry = redis.call('XRANGE', root .. ':ready:' .. class, lease.entry, lease.entry)[1]
      local held = redis.pcall('XPENDING', root .. ':ready:' .. class, GROUP, lease.entry, lease.entry, 1)
      if entry and entry[2][2] == id and not held.err then pending = #held end
    end
    if args[2] then
      listed = count_near(id, args, 3)
    elseif record and record.state == 'queued' and not lease then
      listed = count_listed(root, id, record)
    end
    local apart = elsewhere(root, class, id, record)
    record, lease = record or { state = fault }, lease or {}
    return answers.build('standing', {
      state = record.state, class = class, attempt = record.attempt or 0, fence = record.fence or 0,
      version = record.version or 0, expires = redis.call('PTTL', records.key(root, id)) >= 0 and 1 or 0,
      lease_fence = lease.fence or 0, lease_attempt = lease.attempt or 0, lease_version = lease.version or 0,
      pending = pending, shard_fence = change.shard_of(change.begin(root)).fence or 0,
      delayed = redis.call('ZSCORE', root .. ':delayed:' .. class, id) and 1 or 0, apart = apart, listed = listed,
      tenant = record.tenant or lease.tenant,
    })
  end

  -- Jobs in parked lists of a class.
  local function count_parked(root, class)
    local jobs = 0
    for _, parked in ipairs(redis.call('SMEMBERS', root .. ':parked')) do
      if string.find(parked, root .. ':parked:' .. class .. ':', 1, true) == 1 then
        jobs = jobs + redis.call('LLEN', parked)
      end
    end
    return jobs
  end

  local function tally_of(root, class)
    local ready = root .. ':ready:' .. class
    local held = redis.pcall('XPENDING', ready, GROUP)
    return answers.build('tally', {
      entries = redis.call('XLEN', ready), pending = held.err and 0 or held[1],
      delayed = redis.call('ZCARD', root .. ':delayed:' .. class),
      apart = redis.call('ZCARD', root .. ':sized:' .. class) + loras.count(root, class) + suspects.count(root, class),
      parked = count_parked(root, class),
      ghosts = tonumber(redis.call('HGET', root .. ':counts', 'ghosts:' .. class) or 0),
    })
  end

  -- How many leases each class and tenant has.
  local function count_leases(root)
    local leased = {}
    for _, text in ipairs(redis.call('HVALS', root .. ':leases')) do
      counters.add(leased, (packed.value(text, 'class') or '') .. ':' .. (packed.value(text, 'tenant') or ''), 1)
    end
    return leased
  end

  -- ARGS: tenant...
  -- Counters beside what they count, everything at one moment: leases, then for each class, interactive first, its
  -- `tally` and the `tenant_tally` of each tenant.
  local function tally(keys, args)
    local root, leased = keys[1], count_leases(keys[1])
    local answer = { redis.call('HLEN', root .. ':leases') }
    for _, class in ipairs(CLASSES) do
      table.insert(answer, tally_of(root, class))
      for _, tenant in ipairs(args) do
        local whose, listed = class .. ':' .. tenant, 0
        for _, list in ipairs(backlogs_of(root, class, tenant)) do listed = listed + redis.call('LLEN', list) end
        table.insert(answer, answers.build('tenant_tally', {
          queued = tonumber(redis.call('HGET', root .. ':counts', 'queued:' .. whose) or 0), listed = listed,
          running = tonumber(redis.call('HGET', root .. ':counts', 'running:' .. whose) or 0),
          leased = leased[whose] or 0,
        }))
      end
    end
    return answer
  end

  local NOTED = { steps = true, checkpoints = true, stages = true }

  -- ARGS: `steps`, `checkpoints` or `stages`, cursor
  -- Gives the next cursor, then those of the jobs met with such a note of a lease that have no lease.
  local function strays(keys, args)
    if not NOTED[args[1]] then input.invalid('not a note of a lease') end
    local reply = redis.call('HSCAN', keys[1] .. ':' .. args[1], args[2], 'COUNT', NOTES)
    local answer = { reply[1] }
    for i = 1, #reply[2], 2 do
      if redis.call('HEXISTS', keys[1] .. ':leases', reply[2][i]) == 0 then table.insert(answer, reply[2][i]) end
    end
    return answer
  end

  -- From here on: what versions before ask for, all at once.

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
      for _, list in ipairs(backlogs_of(root, class, tenant)) do table.insert(lists, list) end
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
    local leased = redis.call('HLEN', root .. ':leases')
    local answer = { redis.call('HGETALL', root .. ':counts'), leased, stray_notes(root) }
    for _, class in ipairs(CLASSES) do
      local ready, listed = root .. ':ready:' .. class, 0
      local held = redis.pcall('XPENDING', ready, GROUP)
      for _, list in ipairs(waiting_lists(root, class)) do listed = listed + redis.call('LLEN', list) end
      table.insert(answer, {
        redis.call('XLEN', ready), held.err and 0 or held[1], redis.call('ZCARD', root .. ':delayed:' .. class),
        redis.call('ZCARD', root .. ':sized:' .. class) + loras.count(root, class) + suspects.count(root, class),
        listed,
      })
    end
    return answer
  end

  -- Gives the bytes of all jobs with a lease.
  local function leased(keys) return redis.call('HKEYS', keys[1] .. ':leases') end

  register('survey', survey, READ)
  register('backlogs', backlogs, READ)
  register('examine', examine, READ)
  register('tally', tally, READ)
  register('strays', strays, READ)
  register('lists', lists, READ)
  register('recount', recount, READ)
  register('leased', leased, READ)
end
