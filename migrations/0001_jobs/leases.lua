
-- Leases of running jobs.
local leases = {}
do
  function leases.of(root, id)
    local text = redis.call('HGET', root .. ':leases', id)
    local lease = text and unpacked(text)
    if not lease then return nil end
    local moved = redis.call('HGET', root .. ':steps', id)
    moved = moved and unpacked(moved)
    if moved then lease.version, lease.event, lease.step, lease.of = unpack(moved) end
    return lease
  end

  -- Writes what an event has changed in a lease.
  function leases.note_step(root, id, lease)
    redis.call('HSET', root .. ':steps', id, pack({ lease.version, lease.event, lease.step, lease.of }))
  end

  -- The newest checkpoint of a job: of its lease, or of one before.
  function leases.checkpoint_of(root, id, record)
    return redis.call('HGET', root .. ':checkpoints', id) or record.checkpoint
  end

  -- Whether the caller still holds the job. A fail-over may set fences back; the token tells.
  function leases.holds(lease, fence, token) return lease and lease.fence == fence and lease.token == token end

  function leases.forget(root, id)
    suspects.note_stage(root, id, '')
    redis.call('HDEL', root .. ':leases', id)
    redis.call('HDEL', root .. ':steps', id)
    redis.call('HDEL', root .. ':checkpoints', id)
  end

  local function drop_lease(at, id, lease)
    local ready = at.root .. ':ready:' .. lease.class
    leases.forget(at.root, id)
    redis.call('XACK', ready, GROUP, lease.entry)
    redis.call('XDEL', ready, lease.entry)
  end

  -- Takes over into the record what happened under a lease that ends now.
  function leases.close(at, id, record, lease, mark)
    record.checkpoint = leases.checkpoint_of(at.root, id, record)
    drop_lease(at, id, lease)
    record.version, record.fence, record.settled = lease.version, lease.fence, mark
    record.step, record.of = lease.step, lease.of
    record.attempt, record.started = lease.attempt, lease.started
  end
end
