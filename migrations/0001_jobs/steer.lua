
-- What operators set, and what workers say of themselves.

-- ARGS: `class` or `tenant`, name, 1 to pause or 0 to go on
local function hold(keys, args)
  local at, kind, name = begin(keys[1]), args[1], args[2]
  local paused = args[3] == '1' or nil
  if kind == 'class' and (name == 'interactive' or name == 'bulk') then
    shard_of(at)['paused:' .. name] = paused
  elseif kind == 'tenant' and name ~= '' then
    local limits = limits_of(at, name)
    limits.paused = paused
    redis.call('SET', at.root .. ':limits:' .. name, pack(limits))
    redis.call('SADD', at.root .. ':tenants', name)
    if not paused then reenter(at, name) end
  else
    invalid('neither a class nor a tenant')
  end
  if not paused then wake(at, WAKE_TOKENS, kind == 'class' and name) end
  commit(at)
  return 1
end

-- ARGS: tenant, weight, max_queued, max_running, rate, burst, max_stored; an empty limit is none. A process of a time
-- when there was no max_stored leaves it as it is.
local function limit(keys, args)
  local at, name = begin(keys[1]), args[1]
  local before = limits_of(at, name)
  local stored = before.max_stored
  if args[7] then stored = optional(args[7], 'max_stored') end
  local limits = {
    weight = number(args[2], 'weight'), max_queued = optional(args[3], 'max_queued'),
    max_running = optional(args[4], 'max_running'), rate = optional(args[5], 'rate'),
    burst = optional(args[6], 'burst'), max_stored = stored, paused = before.paused,
  }
  -- Written so that what is not a number at all is refused, too.
  local function within(value, least, most) return not value or (value >= least and value <= most) end
  if name == '' or not within(limits.weight, 0.001, 1000) then invalid('a weight is 0.001 to 1000') end
  if not within(limits.rate, 0.001, 1e9) then invalid('a rate is 0.001 to 1e9') end
  if not within(limits.burst, 1, 1e9) then invalid('a burst is 1 to 1e9') end
  redis.call('SET', at.root .. ':limits:' .. name, pack(limits))
  redis.call('SADD', at.root .. ':tenants', name)
  reenter(at, name)
  wake(at, WAKE_TOKENS)
  commit(at)
  return 1
end

local function clock() return now() end

-- ARGS: window, opens, closes, fill, 1 to keep to the window that is set; an empty window removes it
-- Bulk starts only from `opens` to `closes`, or with `fill` also when nothing interactive waits. Gives 0 if
-- another window has been set meanwhile.
local function window(keys, args)
  local at, text = begin(keys[1]), args[1]
  local opens, closes = optional(args[2], 'opens'), optional(args[3], 'closes')
  if (text == '') ~= (opens == nil) or (opens == nil) ~= (closes == nil) or (opens and opens >= closes) then
    invalid('a window opens before it closes')
  end
  if args[5] == '1' and redis.call('GET', at.root .. ':window') ~= text then return 0 end
  local shard = shard_of(at)
  shard.opens, shard.closes, shard.fill = opens, closes, args[4] == '1' or nil
  if text == '' then
    redis.call('DEL', at.root .. ':window')
  else
    redis.call('SET', at.root .. ':window', text)
  end
  wake(at, WAKE_TOKENS)
  commit(at)
  return 1
end

-- ARGS: worker, what it says of itself as JSON; empty to sign off
local function attend(keys, args)
  local root, worker, says = keys[1], args[1], args[2]
  if not says then invalid('arguments are missing') end
  if says == '' then
    redis.call('ZREM', root .. ':seen', worker)
    redis.call('HDEL', root .. ':workers', worker)
  else
    redis.call('ZADD', root .. ':seen', now(), worker)
    redis.call('HSET', root .. ':workers', worker, says)
  end
  return 1
end

-- ARGS: worker, 1 if it has nothing to do, or 0
-- For workers of several shards, which know only after they have asked them all; others say so with `claim`.
local function idle(keys, args)
  local at = begin(keys[1])
  mark_idle(at, args[1], args[2] == '1')
  return 1
end
