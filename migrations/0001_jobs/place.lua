
-- Where a job stands. An estimate: the work of a call is bounded, and ghosts count as jobs.
do
  -- Most places of one priority that are looked through, and most tenants that are looked at.
  local PLACE_LOOKS, PLACE_TENANTS = 10000, 100
  -- Most jobs ahead whose steps are looked at.
  local PLACE_STEPS = 16

  -- The steps of a waiting job, or nil.
  local function steps_of(at, id)
    local record = records.read(at.root, id)
    local ok, spec = pcall(cjson.decode, record and record.spec or '')
    return ok and type(spec) == 'table' and tonumber(spec.steps) or nil
  end

  -- The mean of some jobs' steps as a text, or false.
  local function mean_steps(at, ids)
    local sum, known = 0, 0
    for _, id in ipairs(ids) do
      local steps = steps_of(at, id)
      if steps then sum, known = sum + steps, known + 1 end
    end
    return known > 0 and tostring(sum / known)
  end

  -- The tenant's own jobs that come first: those of higher priorities, and those in front of it in its own. One
  -- that is still to come is the last. The second value lists those nearest to it.
  local function own_ahead(at, class, tenant, priority, id)
    local ahead, nearest = 0, {}
    for _, text in ipairs(redis.call('ZRANGE', turns.levels_key(at.root, class, tenant), 0, -1)) do
      local level, key = tonumber(text), waiting.backlog_key(at.root, class, tenant, text)
      local rank = level == priority and id ~= '' and redis.call('LPOS', key, id, 'MAXLEN', PLACE_LOOKS)
      local first = level >= priority and (rank or redis.call('LLEN', key)) or 0
      local looks = math.min(first, PLACE_STEPS - #nearest)
      if looks > 0 then
        for _, other in ipairs(redis.call('LRANGE', key, first - looks, first - 1)) do table.insert(nearest, other) end
      end
      ahead = ahead + first
    end
    return ahead, nearest
  end

  local function queued_jobs(at, class, tenant)
    return tonumber(redis.call('HGET', at.root .. ':counts', 'queued:' .. class .. ':' .. tenant) or 0)
  end

  -- What other tenants get served meanwhile: each by its weight, but no more than it has.
  local function others_ahead(at, class, tenant, own)
    local ahead, weight = 0, change.limits_of(at, tenant).weight or 1
    for _, other in ipairs(redis.call('ZRANGE', at.root .. ':ring:' .. class, 0, PLACE_TENANTS - 1)) do
      if other ~= tenant then
        local share = math.floor(own * (change.limits_of(at, other).weight or 1) / weight)
        ahead = ahead + math.min(share, queued_jobs(at, class, other))
      end
    end
    return ahead
  end

  local function all_waiting(at, class)
    local jobs = 0
    for _, tenant in ipairs(redis.call('ZRANGE', at.root .. ':ring:' .. class, 0, PLACE_TENANTS - 1)) do
      jobs = jobs + queued_jobs(at, class, tenant)
    end
    return jobs
  end

  -- ARGS: tenant, class, priority, id; an empty one for a job that is to come
  -- Gives a `place`.
  local function place(keys, args)
    local tenant, class, priority, id = args[1], args[2], input.number(args[3], 'priority'), args[4]
    if not id then input.invalid('arguments are missing') end
    local at = change.begin(keys[1])
    local own, nearest = own_ahead(at, class, tenant, priority, id)
    local held = change.shard_of(at)['paused:' .. class] or change.limits_of(at, tenant).paused
      or (class == 'bulk' and not bulk_window.is_open(at))
    return answers.build('place', {
      ahead = own + others_ahead(at, class, tenant, own), interactive_waiting = all_waiting(at, 'interactive'),
      interactive_running = redis.call('XLEN', at.root .. ':ready:interactive'),
      bulk_running = redis.call('XLEN', at.root .. ':ready:bulk'), held = held and 1 or 0,
      steps = mean_steps(at, nearest),
    })
  end

  register('place', place, READ)
end
