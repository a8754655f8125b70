
-- Which job a worker is given.
local choice = {}
do
  -- Whether a waiting job that came up can be worked on; one that cannot is dealt with here.
  local function fit(at, id, record, retention)
    if redis.call('HEXISTS', at.root .. ':leases', id) == 1 then
      letters.add(at, 'waits and runs', id, pack(record))
      return false
    end
    local ends = outcome.deadline(record)
    if ends and ends <= at.time then
      outcome.expire(at, id, record, 'queued', retention)
      return false
    end
    local batch = record.batch and change.batch_of(at, record.batch)
    if batch and batch.stopped then
      outcome.finish(at, id, record, 'queued', 'canceled', retention)
      return false
    end
    if batch and batch.paused then
      local parked = at.root .. ':parked:' .. record.class .. ':' .. record.batch
      redis.call('RPUSH', parked, id)
      redis.call('SADD', at.root .. ':parked', parked)
      return false
    end
    return true
  end

  -- Whether a waiting job that came up can be worked on by the worker that makes this offer; one that cannot is dealt
  -- with here.
  local function suits(at, id, record, offer, retention)
    if not fit(at, id, record, retention) then return false end
    local missing = loras.missing(record, offer.has)
    if missing then
      loras.lay_aside(at, id, record, missing)
      return false
    end
    local apart = suspects.is_one(record) and not offer.alone
    if apart then suspects.lay_aside(at, id, record) end
    return not apart
  end

  -- The first of these jobs, which lie aside in a sorted set and have had their turn already, that the worker may be
  -- given and that it can take.
  local function take_aside(at, class, set, ids, offer, retention)
    for _, id in ipairs(ids) do
      local record, fault = records.read(at.root, id)
      local given = record and turns.may_be_given(at, record.tenant, offer)
      if given or not record then redis.call('ZREM', set, id) end
      if not record then
        letters.add_broken(at, class, id, fault)
      elseif given and record.need and record.need > offer.capacity then
        waiting.into_sized(at, id, record)
      elseif given and suits(at, id, record, offer, retention) then
        return id, record
      end
    end
  end

  -- A job that was too big for another worker and fits this one.
  local function take_sized(at, class, offer, retention)
    local sized, any = at.root .. ':sized:' .. class, 'sized:' .. class
    local shard = change.shard_of(at)
    if not shard[any] then return nil end
    if redis.call('EXISTS', sized) == 0 then shard[any] = nil end
    local ids = redis.call('ZRANGEBYSCORE', sized, '-inf', offer.capacity, 'LIMIT', 0, 10)
    return take_aside(at, class, sized, ids, offer, retention)
  end

  -- A suspect, for a worker that holds nothing else.
  local function take_suspect(at, class, offer, retention)
    if not offer.alone then return nil end
    local ids = suspects.first(at, class, 10)
    return take_aside(at, class, suspects.key(at.root, class), ids, offer, retention)
  end

  -- A job that was laid aside for one of this worker's LoRAs.
  local function take_with_loras(at, class, offer, retention)
    for _, name in ipairs(loras.wanted(at, class, offer.loras)) do
      local key = loras.key(at.root, class, name)
      local id, record = take_aside(at, class, key, redis.call('ZRANGE', key, 0, 9), offer, retention)
      if id then return id, record end
    end
  end

  -- The oldest job at a tenant's highest priority, out of its list; or nil and whether there may be more.
  local function pop(at, class, tenant, offer, retention)
    local levels = turns.levels_key(at.root, class, tenant)
    local priority = redis.call('ZRANGE', levels, 0, 0)[1]
    if not priority then return nil, false end
    local id = redis.call('LPOP', waiting.backlog_key(at.root, class, tenant, priority))
    if not id then
      redis.call('ZREM', levels, priority)
      return nil, true
    end
    local record, fault = records.read(at.root, id)
    if record and record.state == 'queued' and record.group and offer.worker then
      id = groups.prefer(at, id, record, offer.worker)
      record, fault = records.read(at.root, id)
    end
    if record and record.state == 'queued' then
      if suits(at, id, record, offer, retention) then return id, record end
      -- The worker that is awake now may be the only one that cannot take it.
      if loras.holds(at.root, id, record) then wakeups.wake(at, 1, class) end
    elseif record or (fault == 'no record' and counters.has_ghosts(at.root, class)) then
      counters.count_ghost(at, class, -1)
    else
      letters.add_broken(at, class, id, fault, tenant)
    end
    return nil, true
  end

  -- The best waiting job of a class, out of its backlog; or nil and whether it is worth looking again.
  local function take(at, class, offer, retention)
    waiting.promote(at, class, 10)
    local id, record = take_suspect(at, class, offer, retention)
    if not id then id, record = take_sized(at, class, offer, retention) end
    if not id then id, record = take_with_loras(at, class, offer, retention) end
    if id then return id, record end
    local ring, passed_over = at.root .. ':ring:' .. class, {}
    for _ = 1, LIMITS.LOOKS do
      local head = redis.call('ZRANGE', ring, #passed_over, #passed_over, 'WITHSCORES')
      local tenant, pass = head[1], tonumber(head[2])
      if not tenant then return nil, false end
      if offer.without[tenant] then
        table.insert(passed_over, tenant)
      else
        local more = turns.may_run(at, tenant)
        if more then id, more = pop(at, class, tenant, offer, retention) end
        if id then
          change.shard_of(at)['pass:' .. class] = pass
          redis.call('ZADD', ring, pass + LIMITS.STRIDE / (change.limits_of(at, tenant).weight or 1), tenant)
          -- Whoever was passed over saves up no turns meanwhile.
          for _, other in ipairs(passed_over) do redis.call('ZADD', ring, 'GT', pass, other) end
          return id, more
        end
        if not more then turns.leave(at, class, tenant, pass) end
      end
    end
    return nil, true
  end

  -- The next job among the wanted classes: interactive before bulk, but bulk now and then all the same.
  function choice.choose(at, wanted, bulk_every, offer, retention)
    local shard, again = change.shard_of(at), false
    local function try(class)
      if not wanted[class] or shard['paused:' .. class] then return nil end
      if class == 'bulk' and not bulk_window.is_open(at) then return nil end
      local id, record = take(at, class, offer, retention)
      if not id then again = again or record end
      return id, record
    end
    local order = CLASSES
    if (shard.streak or 0) + 1 >= bulk_every then order = { 'bulk', 'interactive' } end
    for _, class in ipairs(order) do
      local id, record = try(class)
      if id then
        local passed_over = class == 'interactive' and wanted.bulk
          and redis.call('EXISTS', at.root .. ':ring:bulk') == 1
        shard.streak = passed_over and (shard.streak or 0) + 1 or nil
        return id, record
      end
    end
    return nil, again
  end
end
