
-- How many jobs there are of each class and tenant, by state.
local counters = {}
do
  function counters.add(values, name, by)
    local sum = (values[name] or 0) + by
    values[name] = sum ~= 0 and sum or nil
  end

  -- A tenant's jobs in a state, as this call will leave them.
  function counters.counted(at, state, tenant)
    local jobs = 0
    for _, class in ipairs(CLASSES) do
      local name = state .. ':' .. class .. ':' .. tenant
      jobs = jobs + (redis.call('HGET', at.root .. ':counts', name) or 0) + (at.counts[name] or 0)
    end
    return jobs
  end

  -- Counts a job out of one state and into another; nil stands for outside the queue.
  function counters.count(at, record, from, to)
    local whose = ':' .. record.class .. ':' .. record.tenant
    if from == 'queued' or from == 'running' then counters.add(at.counts, from .. whose, -1) end
    if to == 'queued' or to == 'running' then counters.add(at.counts, to .. whose, 1) end
    local batch = record.batch and change.batch_of(at, record.batch)
    if batch then
      if from then counters.add(batch, from, -1) end
      if to then counters.add(batch, to, 1) end
    end
  end

  -- Counts an id that an ended job has left in a list: a ghost.
  function counters.count_ghost(at, class, by) counters.add(at.counts, 'ghosts:' .. class, by) end

  function counters.has_ghosts(root, class)
    return redis.call('HEXISTS', root .. ':counts', 'ghosts:' .. class) == 1
  end
end
