
-- Jobs at which a worker was lost. One is marked if a stage of it was under way then, runs alone the next time, and
-- ends as poison with a second mark. A worker that only was out of reach clears its mark when it comes back.
-- FREE_MS: how long a worker is kept free of other work for a suspect; it asks again every second.
local suspects = { FREE_MS = 10000 }
do
  function suspects.key(root, class) return root .. ':suspects:' .. class end

  -- How often a worker was lost at a job. Versions before counted crashes, without a mark that could be cleared.
  function suspects.marks(record) return (record.crashes or 0) + #(record.marks or {}) end

  function suspects.is_one(record) return suspects.marks(record) > 0 end

  -- Notes which stage of a leased job is under way; an empty text for none.
  function suspects.note_stage(root, id, stage)
    if stage == '' then
      redis.call('HDEL', root .. ':stages', id)
    else
      redis.call('HSET', root .. ':stages', id, stage)
    end
  end

  -- Whether a stage of the job was under way under its lease.
  function suspects.was_at_work(root, id, lease)
    return not lease.tells_stages or redis.call('HEXISTS', root .. ':stages', id) == 1
  end

  -- Lays a suspect aside for a worker that holds nothing else.
  function suspects.lay_aside(at, id, record)
    local score = record.submitted - record.priority * loras.PRIORITY_MS
    redis.call('ZADD', suspects.key(at.root, record.class), score, id)
    change.shard_of(at)['suspects:' .. record.class] = true
  end

  -- Takes a job out of those that were laid aside; gives whether it lay there.
  function suspects.pick_up(root, id, record)
    return redis.call('ZREM', suspects.key(root, record.class), id) == 1
  end

  function suspects.count(root, class) return redis.call('ZCARD', suspects.key(root, class)) end

  function suspects.holds(root, id, record)
    return redis.call('ZSCORE', suspects.key(root, record.class), id) and true or false
  end

  -- The first of those laid aside.
  function suspects.first(at, class, most)
    local any, key = 'suspects:' .. class, suspects.key(at.root, class)
    if not change.shard_of(at)[any] then return {} end
    local ids = redis.call('ZRANGE', key, 0, most - 1)
    if #ids == 0 then change.shard_of(at)[any] = nil end
    return ids
  end
end
