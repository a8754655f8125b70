
-- What operators set.
do
  -- ARGS: `class` or `tenant`, name, 1 to pause or 0 to go on
  local function hold(keys, args)
    local at, kind, name = change.begin(keys[1]), args[1], args[2]
    local paused = args[3] == '1' or nil
    if kind == 'class' and (name == 'interactive' or name == 'bulk') then
      change.shard_of(at)['paused:' .. name] = paused
    elseif kind == 'tenant' and name ~= '' then
      local limits = change.limits_of(at, name)
      limits.paused = paused
      redis.call('SET', at.root .. ':limits:' .. name, pack(limits))
      redis.call('SADD', at.root .. ':tenants', name)
      if not paused then turns.reenter(at, name) end
    else
      input.invalid('neither a class nor a tenant')
    end
    if not paused then wakeups.wake(at, LIMITS.WAKE_TOKENS, kind == 'class' and name) end
    change.commit(at)
    return 1
  end

  -- ARGS: tenant, weight, max_queued, max_running, rate, burst, max_stored; an empty limit is none. A process of a time
  -- when there was no max_stored leaves it as it is.
  local function limit(keys, args)
    local at, name = change.begin(keys[1]), args[1]
    local before = change.limits_of(at, name)
    local stored = before.max_stored
    if args[7] then stored = input.optional(args[7], 'max_stored') end
    local limits = {
      weight = input.number(args[2], 'weight'), max_queued = input.optional(args[3], 'max_queued'),
      max_running = input.optional(args[4], 'max_running'), rate = input.optional(args[5], 'rate'),
      burst = input.optional(args[6], 'burst'), max_stored = stored, paused = before.paused,
    }
    -- Written so that what is not a number at all is refused, too.
    local function within(value, least, most) return not value or (value >= least and value <= most) end
    if name == '' or not within(limits.weight, 0.001, 1000) then input.invalid('a weight is 0.001 to 1000') end
    if not within(limits.rate, 0.001, 1e9) then input.invalid('a rate is 0.001 to 1e9') end
    if not within(limits.burst, 1, 1e9) then input.invalid('a burst is 1 to 1e9') end
    redis.call('SET', at.root .. ':limits:' .. name, pack(limits))
    redis.call('SADD', at.root .. ':tenants', name)
    turns.reenter(at, name)
    wakeups.wake(at, LIMITS.WAKE_TOKENS)
    change.commit(at)
    return 1
  end

  register('hold', hold, ALWAYS)
  register('limit', limit, ALWAYS)
end
