
-- Whose turn it is: tenants share by weight.
local turns = {}
do
  -- The priorities at which a tenant has a backlog.
  function turns.levels_key(root, class, tenant) return root .. ':levels:' .. class .. ':' .. tenant end

  -- A tenant that comes back goes on where it was, but never before those who waited meanwhile.
  function turns.enter(at, class, tenant)
    local own = tonumber(redis.call('HGET', at.root .. ':passes:' .. class, tenant) or 0)
    local pass = math.max(own, change.shard_of(at)['pass:' .. class] or 0)
    redis.call('ZADD', at.root .. ':ring:' .. class, 'NX', pass, tenant)
  end

  function turns.leave(at, class, tenant, pass)
    redis.call('HSET', at.root .. ':passes:' .. class, tenant, pass)
    redis.call('ZREM', at.root .. ':ring:' .. class, tenant)
  end

  -- Puts a tenant back that was left out while it was paused or at its limit.
  function turns.reenter(at, tenant)
    for _, class in ipairs(CLASSES) do
      if redis.call('EXISTS', turns.levels_key(at.root, class, tenant)) == 1 then turns.enter(at, class, tenant) end
    end
  end

  function turns.may_run(at, tenant)
    local limits = change.limits_of(at, tenant)
    return not limits.paused
      and not (limits.max_running and counters.counted(at, 'running', tenant) >= limits.max_running)
  end

  -- Whether a worker may be given a tenant's jobs now.
  function turns.may_be_given(at, tenant, offer) return not offer.without[tenant] and turns.may_run(at, tenant) end

  -- A tenant at its limit of running jobs is left out; one job less lets it in again.
  function turns.make_room(at, tenant)
    if change.limits_of(at, tenant).max_running then turns.reenter(at, tenant) end
  end
end
