
-- Tokens that wake workers.
local wakeups = {}
do
  function wakeups.has_idle_worker(at)
    return redis.call('ZCOUNT', at.root .. ':idle', at.time - LIMITS.IDLE_MS, '+inf') > 0
  end

  -- Wakes an idle worker for each job. Where none is idle, interactive work wakes busy ones, which may have
  -- room for one more.
  function wakeups.wake(at, jobs, class)
    local urgent = class == 'interactive' and not wakeups.has_idle_worker(at)
    local list = at.root .. (urgent and ':urgent' or ':wake')
    local tokens = redis.call('LLEN', list)
    for _ = tokens + 1, math.min(LIMITS.WAKE_TOKENS, tokens + jobs) do redis.call('LPUSH', list, '1') end
  end

  -- Notes whether a worker has nothing to do.
  function wakeups.mark_idle(at, worker, is_idle)
    if is_idle then
      redis.call('ZADD', at.root .. ':idle', at.time, worker)
    else
      redis.call('ZREM', at.root .. ':idle', worker)
    end
  end

  -- ARGS: worker, 1 if it has nothing to do, or 0
  -- For workers of several shards, which know only after they have asked them all; others say so with `claim`.
  local function idle(keys, args)
    local at = change.begin(keys[1])
    wakeups.mark_idle(at, args[1], args[2] == '1')
    return 1
  end

  register('idle', idle, ALWAYS)
end
