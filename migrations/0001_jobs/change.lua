
-- One call's work: what it has read, and what it counts, until `commit` writes it.
local change = {}
do
  function change.begin(root) return { root = root, time = now(), counts = {}, batches = {}, fresh = {} } end

  function change.shard_of(at)
    if not at.shard then
      local text = redis.call('GET', at.root .. ':shard')
      at.shard = text and unpacked(text) or {}
    end
    return at.shard
  end

  -- What an operator has set for a tenant; nothing for most.
  function change.limits_of(at, tenant)
    at.limits = at.limits or {}
    if not at.limits[tenant] then
      local text = redis.call('GET', at.root .. ':limits:' .. tenant)
      at.limits[tenant] = text and unpacked(text) or {}
    end
    return at.limits[tenant]
  end

  function change.batch_of(at, id)
    local batch = at.batches[id]
    if batch == nil then
      local text = redis.call('GET', at.root .. ':b:' .. id)
      batch = text and unpacked(text) or false
      at.batches[id] = batch
    end
    return batch
  end

  -- A batch lives as long as its jobs do.
  local function keep_batch(at, id, batch, retention)
    local key, members = at.root .. ':b:' .. id, at.root .. ':members:' .. id
    redis.call('SET', key, pack(batch))
    if batch.dataset then return end
    if (batch.queued or 0) + (batch.running or 0) > 0 then
      redis.call('PERSIST', members)
    else
      redis.call('PEXPIRE', key, retention or LIMITS.KEY_LIFE_MS)
      redis.call('PEXPIRE', members, retention or LIMITS.KEY_LIFE_MS)
    end
  end

  function change.commit(at, retention)
    for tenant, ids in pairs(at.fresh) do listing.enlist(at, tenant, ids) end
    local counts = at.root .. ':counts'
    for name, by in pairs(at.counts) do
      -- Whoever has no jobs leaves no trace.
      if redis.call('HINCRBY', counts, name, by) == 0 then redis.call('HDEL', counts, name) end
    end
    for id, batch in pairs(at.batches) do
      if batch then keep_batch(at, id, batch, retention) end
    end
    if at.shard then redis.call('SET', at.root .. ':shard', pack(at.shard)) end
  end

  -- Notices when the shard was out of reach: nobody could renew, so nobody is to blame.
  function change.hear(at, lease_ms)
    local shard = change.shard_of(at)
    local silence = at.time - (shard.seen or at.time)
    if silence > lease_ms / 3 then shard.outage = at.time end
    if not shard.seen or silence > lease_ms / 20 then shard.seen = at.time end
  end
end
