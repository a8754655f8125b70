
-- Files that tenants have stored.
do
  -- For how long a file counts as stored: a rule of the bucket deletes what is older.
  local STORED_MS = 8 * 24 * 3600 * 1000
  -- Files whose time is over that one call forgets.
  local FORGETS = 200

  local function stored_keys(root, tenant)
    return root .. ':stored:' .. tenant, root .. ':stored_at:' .. tenant, root .. ':stored_bytes:' .. tenant
  end

  local function forget(root, tenant, id)
    local sizes, times, sum = stored_keys(root, tenant)
    local bytes = redis.call('HGET', sizes, id)
    if not bytes then return 0 end
    redis.call('HDEL', sizes, id)
    redis.call('ZREM', times, id)
    redis.call('DECRBY', sum, bytes)
    return 1
  end

  -- ARGS: tenant, how many tokens of its rate it takes, then id and size of each file
  -- Counts files that the tenant is about to store, all or none; one that is counted already costs nothing. Gives
  -- `stored`, or what refuses them.
  local function store(keys, args)
    local at, tenant, jobs = change.begin(keys[1]), args[1], input.number(args[2], 'tokens')
    local limits = change.limits_of(at, tenant)
    local sizes, times, sum = stored_keys(at.root, tenant)
    local fresh, more = {}, 0
    for i = 3, #args, 2 do
      local bytes = input.number(args[i + 1], 'bytes')
      if #args[i] ~= 16 or bytes < 0 then input.invalid('not a file') end
      if limits.max_stored and not fresh[args[i]] and redis.call('HEXISTS', sizes, args[i]) == 0 then
        fresh[args[i]], more = args[i + 1], more + bytes
      end
    end
    if limits.max_stored then
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', at.time - STORED_MS, 'LIMIT', 0, FORGETS)) do
        forget(at.root, tenant, id)
      end
      local bytes = tonumber(redis.call('GET', sum) or 0)
      if more > 0 and bytes + more > limits.max_stored then
        return { 'too_much_stored', bytes, limits.max_stored }
      end
    end
    local wait = limits.rate and jobs > 0 and rate.take_tokens(at, tenant, limits, jobs) or 0
    if wait > 0 then return { 'too_fast', wait, tostring(limits.rate) } end
    for id, bytes in pairs(fresh) do
      redis.call('HSET', sizes, id, bytes)
      redis.call('ZADD', times, at.time, id)
      redis.call('INCRBY', sum, bytes)
    end
    if next(fresh) then
      for _, key in ipairs({ stored_keys(at.root, tenant) }) do redis.call('PEXPIRE', key, STORED_MS) end
    end
    return { 'stored' }
  end

  -- ARGS: tenant, id of a file that is stored no more
  -- Gives whether it was counted.
  local function unstore(keys, args) return forget(keys[1], args[1], args[2]) end

  register('store', store, NEW_WORK)
  register('unstore', unstore, ALWAYS)
end
