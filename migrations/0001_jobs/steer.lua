
-- What operators set, and what workers say of themselves.

-- ARGS: `class` or `tenant`, name, 1 to pause or 0 to go on
local function hold(keys, args)
  local at, kind, name = begin(keys[1]), args[1], args[2]
  local paused = args[3] == '1' or nil
  if kind == 'class' and (name == 'interactive' or name == 'bulk') then
    at.shard['paused:' .. name] = paused
  elseif kind == 'tenant' and name ~= '' then
    local tenant = tenant_of(at, name)
    tenant.paused, tenant.changed = paused, true
    if not paused then reenter(at, name) end
  else
    invalid('neither a class nor a tenant')
  end
  if not paused then wake(at.root, WAKE_TOKENS) end
  commit(at)
  return 1
end

-- ARGS: tenant, weight, max_queued, max_running, rate, burst; an empty limit is none
local function limit(keys, args)
  local at, name = begin(keys[1]), args[1]
  local weight = number(args[2], 'weight')
  if name == '' or weight <= 0 then invalid('a tenant needs a name and a weight above 0') end
  local set = {
    weight = weight, max_queued = optional(args[3], 'max_queued'), max_running = optional(args[4], 'max_running'),
    rate = optional(args[5], 'rate'), burst = optional(args[6], 'burst'),
  }
  local tenant = tenant_of(at, name)
  for _, field in ipairs({ 'weight', 'max_queued', 'max_running', 'rate', 'burst' }) do tenant[field] = set[field] end
  tenant.changed = true
  reenter(at, name)
  wake(at.root, WAKE_TOKENS)
  commit(at)
  return 1
end

-- ARGS: opens, closes, fill; empty times remove the window
-- Bulk starts only from `opens` to `closes`, or with `fill` also when nothing interactive waits.
local function window(keys, args)
  local opens, closes = optional(args[1], 'opens'), optional(args[2], 'closes')
  if (opens == nil) ~= (closes == nil) or (opens and opens >= closes) then invalid('opens is not before closes') end
  local at = begin(keys[1])
  at.shard.opens, at.shard.closes, at.shard.fill = opens, closes, args[3] == '1' or nil
  wake(at.root, WAKE_TOKENS)
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
