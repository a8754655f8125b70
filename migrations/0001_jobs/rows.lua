
-- Rows of data sets: jobs of a batch that come out of a manifest. Millions of them pass through, so what is kept of one
-- is small, and ends with its outcome's segment in the object store: until then its id waits among the outcomes.
local rows = {}
do
  -- What becomes of a row, in two bits; 0 stands for a row that has not ended.
  local NOTES = { succeeded = 1, failed = 2, canceled = 3, expired = 3 }

  function rows.bits_key(root, batch) return root .. ':bits:' .. batch end

  function rows.outcomes_key(root, batch) return root .. ':outcomes:' .. batch end

  -- The id of a row's job: the batch's own, with the pass in its ninth byte and the row, from 1, in its last four.
  function rows.id(batch, row, pass)
    return string.sub(batch, 1, 8) .. string.char(128 + pass) .. string.sub(batch, 10, 12) .. struct.pack('>I4', row + 1)
  end

  function rows.note(root, batch, row)
    return redis.call('BITFIELD', rows.bits_key(root, batch), 'GET', 'u2', '#' .. row)[1]
  end

  function rows.set_note(root, batch, row, note)
    redis.call('BITFIELD', rows.bits_key(root, batch), 'SET', 'u2', '#' .. row, note)
  end

  function rows.group_key(root, batch, group) return root .. ':group:' .. batch .. ':' .. group end

  function rows.groups_key(root, batch) return root .. ':groups:' .. batch end

  -- Notes that a row waits among those of its group.
  function rows.join_group(at, id, record, returned)
    local list, groups = rows.group_key(at.root, record.batch, record.group), rows.groups_key(at.root, record.batch)
    redis.call(not returned and 'RPUSH' or 'LPUSH', list, id)
    redis.call('ZADD', groups, 'NX', record.row, record.group)
    -- Rows that are taken otherwise leave their ids there.
    redis.call('PEXPIRE', list, LIMITS.KEY_LIFE_MS)
    redis.call('PEXPIRE', groups, LIMITS.KEY_LIFE_MS)
  end

  -- Keeps a row's job that has ended until its outcome is in a segment.
  function rows.keep_outcome(at, id, record)
    redis.call('SET', records.key(at.root, id), pack(record))
    redis.call('RPUSH', rows.outcomes_key(at.root, record.batch), id)
    rows.set_note(at.root, record.batch, record.row, NOTES[record.state])
  end

  -- A bit for each row: whether it is among those that a pass over some rows queues.
  function rows.marks_key(root, batch) return root .. ':marks:' .. batch end

  function rows.is_marked(root, batch, row) return redis.call('GETBIT', rows.marks_key(root, batch), row) == 1 end

  function rows.mark(root, batch, row) redis.call('SETBIT', rows.marks_key(root, batch), row, 1) end

  -- Without marks this makes no key.
  function rows.unmark(root, batch, row)
    if rows.is_marked(root, batch, row) then redis.call('SETBIT', rows.marks_key(root, batch), row, 0) end
  end

  -- The job of a row that has not ended: of this pass, or of one before; and its record.
  function rows.job_of_row(root, batch, row, pass)
    for of = pass, 0, -1 do
      local job = rows.id(batch, row, of)
      local record = records.read(root, job)
      if record then return job, record end
    end
  end

  -- Rows within `from` to `to` (not included) that have not ended.
  function rows.unended(root, batch, from, to)
    local found, first = {}, math.floor(from / 4)
    local bytes = redis.call('GETRANGE', rows.bits_key(root, batch), first, math.floor((to - 1) / 4))
    for row = from, to - 1 do
      local byte = string.byte(bytes, math.floor(row / 4) - first + 1) or 0
      if math.floor(byte / 4 ^ (3 - row % 4)) % 4 == 0 then table.insert(found, row) end
    end
    return found
  end
end
