
-- Leases that stay young.
do
  -- Whether a worker without work would take this running job if it were handed back. One that may lack its LoRAs would
  -- not.
  local function is_wanted_elsewhere(at, lease)
    return lease.class == 'bulk' and wakeups.has_idle_worker(at) and bulk_window.is_open(at)
      and not change.shard_of(at)['paused:bulk'] and not change.limits_of(at, lease.tenant).paused
      and not lease.loras
  end

  -- Gives 0 for a lost lease; else 1, and 2 more if the holder should hand the job back soon, and 4 more if an
  -- idle worker would take it.
  local function renew_one(at, id, fence, token)
    local lease = leases.of(at.root, id)
    if not leases.holds(lease, fence, token) then return 0 end
    redis.call('XCLAIM', at.root .. ':ready:' .. lease.class, GROUP, lease.worker, 0, lease.entry, 'JUSTID')
    local over = lease.class == 'bulk' and not bulk_window.is_open(at)
    return 1 + (over and 2 or 0) + (is_wanted_elsewhere(at, lease) and 4 or 0)
  end

  -- ARGS: id, fence, token, lease_ms
  -- Of versions that renew each lease by itself.
  local function renew(keys, args)
    local fence, lease_ms = input.number(args[2], 'fence'), input.number(args[4], 'lease_ms')
    local at = change.begin(keys[1])
    change.hear(at, lease_ms)
    local answer = renew_one(at, args[1], fence, args[3])
    change.commit(at)
    return answer
  end

  -- ARGS: lease_ms, then id, fence, token of each lease
  -- Gives for each what `renew_one` says.
  local function renew_all(keys, args)
    local lease_ms, fences = input.number(args[1], 'lease_ms'), {}
    for i = 2, #args, 3 do fences[i] = input.number(args[i + 1], 'fence') end
    local at, answer = change.begin(keys[1]), {}
    change.hear(at, lease_ms)
    for i = 2, #args, 3 do table.insert(answer, renew_one(at, args[i], fences[i], args[i + 2])) end
    change.commit(at)
    return answer
  end

  register('renew', renew, ALWAYS)
  register('renew_all', renew_all, ALWAYS)
end
