
-- Numbers of the queue and of its tenants.
do
  -- Tenants that one call looks at.
  local TENANTS = 100

  local function limits_of(at, name)
    local limits = change.limits_of(at, name)
    return answers.build('limits', {
      tenant = name, weight = tostring(limits.weight or 1), max_queued = limits.max_queued,
      max_running = limits.max_running, rate = limits.rate and tostring(limits.rate),
      burst = limits.burst and tostring(limits.burst), paused = limits.paused and 1 or 0,
      max_stored = limits.max_stored,
    })
  end

  local function depth_of(at, class)
    return answers.build('depth', {
      delayed = redis.call('ZCARD', at.root .. ':delayed:' .. class),
      sized = redis.call('ZCARD', at.root .. ':sized:' .. class),
      paused = change.shard_of(at)['paused:' .. class] and 1 or 0,
    })
  end

  local function rest(root) return redis.call('XLEN', root .. ':dead'), redis.call('LLEN', root .. ':sweeps') end

  -- Gives for each class, interactive first, its `depth`; then dead letters, and sweeps under way.
  local function depths(keys)
    local at = change.begin(keys[1])
    return { depth_of(at, 'interactive'), depth_of(at, 'bulk'), rest(keys[1]) }
  end

  -- Gives all counters as names and numbers, then the same without the lists around: as versions before ask for it.
  local function depth(keys)
    local at = change.begin(keys[1])
    local answer = { redis.call('HGETALL', at.root .. ':counts') }
    for _, class in ipairs(CLASSES) do
      for _, value in ipairs(depth_of(at, class)) do table.insert(answer, value) end
    end
    for _, value in ipairs({ rest(at.root) }) do table.insert(answer, value) end
    return answer
  end

  -- ARGS: cursor
  -- Gives the next cursor, then the `limits` of each tenant met that has any.
  local function limited(keys, args)
    local at = change.begin(keys[1])
    local reply = redis.call('SSCAN', at.root .. ':tenants', args[1], 'COUNT', TENANTS)
    local answer = { reply[1] }
    for _, name in ipairs(reply[2]) do table.insert(answer, limits_of(at, name)) end
    return answer
  end

  -- All counters, then all `limits`: as versions before ask for them.
  local function tenants(keys)
    local at = change.begin(keys[1])
    local answer = { redis.call('HGETALL', at.root .. ':counts') }
    for _, name in ipairs(redis.call('SMEMBERS', at.root .. ':tenants')) do
      table.insert(answer, limits_of(at, name))
    end
    return answer
  end

  register('depths', depths, READ)
  register('depth', depth, READ)
  register('limited', limited, READ)
  register('tenants', tenants, READ)
end
