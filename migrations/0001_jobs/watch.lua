
-- Who watches jobs.
do
  local function watching_key(root, tenant) return root .. ':watching:' .. tenant end

  -- Whether somebody would look at a preview. Whoever follows all of a tenant's jobs looks at those that are made
  -- for people, not at thousands of others.
  function watching.is_watched(root, id, lease)
    if redis.call('EXISTS', watching.key(root, id)) == 1 then return true end
    return lease.class == 'interactive' and redis.call('EXISTS', watching_key(root, lease.tenant)) == 1
  end

  -- ARGS: id, life_ms
  -- Notes that somebody watches a job; gives whether there is anything left to see.
  local function watch(keys, args)
    local root, id, life = keys[1], args[1], input.number(args[2], 'life_ms')
    local record = records.read(root, id)
    if not record or record.state ~= 'queued' then return 0 end
    redis.call('SET', watching.key(root, id), '1', 'PX', life)
    return 1
  end

  -- ARGS: tenant, life_ms
  -- Notes that somebody follows all jobs of a tenant.
  local function watch_tenant(keys, args)
    if args[1] == '' then input.invalid('no tenant') end
    redis.call('SET', watching_key(keys[1], args[1]), '1', 'PX', input.number(args[2], 'life_ms'))
    return 1
  end

  register('watch', watch, NEW_WORK)
  register('watch_tenant', watch_tenant, NEW_WORK)
end
