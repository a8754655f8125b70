
-- The list of all jobs of a tenant.
local listing = {}
do
  function listing.key(root, tenant) return root .. ':all:' .. tenant end

  -- Drops ids from the front of a tenant's list whose records are gone, `most` at most. What was dropped is
  -- counted, so that the place of every other id stays the same.
  function listing.trim(at, tenant, most)
    local key, lost = listing.key(at.root, tenant), 0
    while lost < most do
      local id = redis.call('LINDEX', key, 0)
      if not id or redis.call('EXISTS', records.key(at.root, id)) == 1 then break end
      redis.call('LPOP', key)
      lost = lost + 1
    end
    local over = redis.call('LLEN', key) - LIMITS.MOST_LISTED
    if over > 0 then redis.call('LTRIM', key, over, -1) end
    lost = lost + math.max(over, 0)
    if lost > 0 then redis.call('HINCRBY', at.root .. ':shed', tenant, lost) end
  end

  -- Lists new jobs of a tenant. A list costs some twenty bytes a job, a sorted set five times as much.
  function listing.enlist(at, tenant, ids)
    local length = redis.call('RPUSH', listing.key(at.root, tenant), unpack(ids))
    if length == #ids then redis.call('HSETNX', at.root .. ':shed', tenant, 0) end
    -- Twice as many as come, so that a list that once was long gets short again.
    listing.trim(at, tenant, 2 * #ids)
  end
end
