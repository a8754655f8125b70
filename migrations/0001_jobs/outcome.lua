
-- How a job ends.
local outcome = {}
do
  -- The next time that ends the job by itself, or nil.
  function outcome.deadline(record)
    local start_by = not record.started and record.start_by or nil
    if start_by and record.finish_by then return math.min(start_by, record.finish_by) end
    return start_by or record.finish_by
  end

  function outcome.set_deadline(at, id, record)
    if not record.start_by and not record.finish_by then return end
    local ends = outcome.deadline(record)
    if ends then
      redis.call('ZADD', at.root .. ':deadlines', ends, id)
    else
      redis.call('ZREM', at.root .. ':deadlines', id)
    end
  end

  -- Ends a job that neither waits nor runs any more.
  function outcome.finish(at, id, record, from, state, retention, data)
    record.state, record.finished, record.expires = state, at.time, at.time + retention
    if not record.started then record.aborted = true end
    events.emit(at, id, record, state, data)
    if record.row then
      record.expires = nil
      rows.keep_outcome(at, id, record)
    else
      deliveries.notify(at, id, record)
      redis.call('SET', records.key(at.root, id), pack(record), 'PXAT', record.expires)
    end
    if record.start_by or record.finish_by then redis.call('ZREM', at.root .. ':deadlines', id) end
    counters.count(at, record, from, state)
  end

  function outcome.expire(at, id, record, from, retention)
    local missed = (not record.started and record.start_by and record.start_by <= at.time) and 'start_by' or 'finish_by'
    outcome.finish(at, id, record, from, 'expired', retention, '{"missed":"' .. missed .. '"}')
  end
end
