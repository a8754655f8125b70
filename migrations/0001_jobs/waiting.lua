
-- Where a waiting job lies.
local waiting = {}
do
  function waiting.backlog_key(root, class, tenant, priority)
    return root .. ':backlog:' .. class .. ':' .. tenant .. ':' .. priority
  end

  -- Behind the others of its priority, or before them if it comes back.
  function waiting.into_backlog(at, id, record, returned)
    local class, tenant, priority = record.class, record.tenant, record.priority
    local key = waiting.backlog_key(at.root, class, tenant, priority)
    if record.group then rows.join_group(at, id, record, returned) end
    if redis.call(returned and 'LPUSH' or 'RPUSH', key, id) == 1 then
      redis.call('ZADD', turns.levels_key(at.root, class, tenant), -priority, priority)
      -- Whoever has a backlog is in the ring already, or kept out of it.
      turns.enter(at, class, tenant)
    end
  end

  function waiting.into_delayed(at, id, record)
    local next_due = 'due:' .. record.class
    redis.call('ZADD', at.root .. ':delayed:' .. record.class, record.due, id)
    local shard = change.shard_of(at)
    shard[next_due] = math.min(shard[next_due] or record.due, record.due)
  end

  function waiting.into_sized(at, id, record)
    redis.call('ZADD', at.root .. ':sized:' .. record.class, record.need, id)
    change.shard_of(at)['sized:' .. record.class] = true
  end

  -- Takes a waiting job out of its place; from a list it only leaves a ghost.
  function waiting.withdraw(at, id, record)
    if record.due and redis.call('ZREM', at.root .. ':delayed:' .. record.class, id) == 1 then return end
    if record.need and redis.call('ZREM', at.root .. ':sized:' .. record.class, id) == 1 then return end
    if loras.pick_up(at.root, id, record) or suspects.pick_up(at.root, id, record) then return end
    counters.count_ghost(at, record.class, 1)
  end

  -- Delayed jobs whose time has come join their backlogs.
  function waiting.promote(at, class, most)
    local delayed, next_due = at.root .. ':delayed:' .. class, 'due:' .. class
    local shard = change.shard_of(at)
    if (shard[next_due] or math.huge) > at.time then return 0 end
    local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', at.time, 'LIMIT', 0, most)
    for _, id in ipairs(due) do
      redis.call('ZREM', delayed, id)
      local record, fault = records.read(at.root, id)
      if record then
        waiting.into_backlog(at, id, record, (record.attempt or 0) > 0)
      else
        letters.add_broken(at, class, id, fault)
      end
    end
    shard[next_due] = tonumber(redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2])
    return #due
  end
end
