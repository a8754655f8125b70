
-- How fast a tenant may submit.
local rate = {}
do
  -- What is in a tenant's bucket now, and what it holds at most.
  function rate.tokens_of(at, tenant, limits)
    local full = limits.burst or limits.rate
    local text = redis.call('GET', at.root .. ':bucket:' .. tenant)
    local bucket = text and unpacked(text) or { tokens = full, filled = at.time }
    return math.min(full, bucket.tokens + math.max(0, at.time - bucket.filled) / 1000 * limits.rate), full
  end

  -- Takes a token for each job out of the tenant's bucket; gives how long until there are enough, 0 if
  -- there are.
  function rate.take_tokens(at, tenant, limits, jobs)
    local tokens, full = rate.tokens_of(at, tenant, limits)
    -- More than ever fits is let through on a full bucket, which then owes the rest.
    local short = math.min(jobs, full) - tokens
    if short > 0 then return math.ceil(short / limits.rate * 1000) end
    redis.call('SET', at.root .. ':bucket:' .. tenant, pack({ tokens = tokens - jobs, filled = at.time }))
    return 0
  end

  -- ARGS: tenant
  -- Gives the tenant's `allowance`; nil if nothing limits how fast it submits.
  local function allowance(keys, args)
    local at = change.begin(keys[1])
    local limits = change.limits_of(at, args[1])
    if not limits.rate then return false end
    local tokens, full = rate.tokens_of(at, args[1], limits)
    return answers.build('allowance', {
      rate = tostring(limits.rate), burst = tostring(full), left = tostring(tokens),
    })
  end

  register('allowance', allowance, READ)
end
