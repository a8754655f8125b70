
-- Endpoints of tenants, which are told when jobs end.
-- DEFAULT stands for all addresses that jobs name themselves: its secret signs, it asks for no events.
local hooks = { DEFAULT = 'default' }
do
  -- Endpoints of a tenant: each is looked at whenever one of its jobs ends.
  local MOST_HOOKS = 10

  function hooks.key(root, tenant) return root .. ':hooks:' .. tenant end
  -- The newest deliveries to an endpoint.
  function hooks.log_key(root, tenant, hook) return root .. ':deliveries:' .. tenant .. ':' .. hook end

  function hooks.of(root, tenant, hook)
    local text = redis.call('HGET', hooks.key(root, tenant), hook)
    return text and unpacked(text) or nil
  end

  function hooks.keep(root, tenant, hook, values)
    redis.call('HSET', hooks.key(root, tenant), hook, pack(values))
  end

  -- The endpoint `default` of a tenant is there once it is needed, and keeps the secret that it got then.
  function hooks.keep_default(root, tenant, secret)
    if redis.call('HEXISTS', hooks.key(root, tenant), hooks.DEFAULT) == 1 then return end
    hooks.keep(root, tenant, hooks.DEFAULT, { url = '', events = ' ', secret = secret, created = now() })
  end

  -- The secret before, while it signs too.
  function hooks.old_secret(values)
    return values.old_until and values.old_until > now() and values.old
  end

  function hooks.values(hook, values)
    return answers.build('hook', {
      id = hook, url = values.url, events = values.events, secret = values.secret,
      old = hooks.old_secret(values), created = values.created,
      disabled = values.disabled,
    })
  end

  -- ARGS: tenant, id, url, events (words with a space before and after each), secret
  -- Gives the endpoint, or nil if the tenant has as many as it may.
  local function hook_add(keys, args)
    local root, tenant, hook = keys[1], args[1], args[2]
    if tenant == '' or hook == '' or args[3] == '' or #args[5] ~= 32 then input.invalid('not an endpoint') end
    local key = hooks.key(root, tenant)
    if redis.call('HLEN', key) - redis.call('HEXISTS', key, hooks.DEFAULT) >= MOST_HOOKS then return false end
    local values = { url = args[3], events = args[4], secret = args[5], created = now() }
    hooks.keep(root, tenant, hook, values)
    return hooks.values(hook, values)
  end

  -- ARGS: tenant, secret
  -- Gives the endpoint `default`, which gets this secret if it was not there.
  local function hook_default(keys, args)
    local root, tenant = keys[1], args[1]
    if tenant == '' or #args[2] ~= 32 then input.invalid('not a secret') end
    hooks.keep_default(root, tenant, args[2])
    return hooks.values(hooks.DEFAULT, hooks.of(root, tenant, hooks.DEFAULT))
  end

  -- ARGS: tenant
  local function hook_list(keys, args)
    local answer, all = {}, redis.call('HGETALL', hooks.key(keys[1], args[1]))
    for i = 1, #all, 2 do
      local values = unpacked(all[i + 1])
      if values then table.insert(answer, hooks.values(all[i], values)) end
    end
    return answer
  end

  -- ARGS: tenant, id
  -- What is on its way is dropped when it is due.
  local function hook_drop(keys, args)
    redis.call('DEL', hooks.log_key(keys[1], args[1], args[2]))
    return redis.call('HDEL', hooks.key(keys[1], args[1]), args[2])
  end

  -- ARGS: tenant, id, new secret, for how long the old one signs too
  -- Gives the endpoint, or nil if there is none.
  local function hook_rotate(keys, args)
    local root, life = keys[1], input.number(args[4], 'life')
    local values = hooks.of(root, args[1], args[2])
    if #args[3] ~= 32 then input.invalid('not a secret') end
    if not values then return false end
    values.old, values.old_until, values.secret = values.secret, now() + life, args[3]
    hooks.keep(root, args[1], args[2], values)
    return hooks.values(args[2], values)
  end

  register('hook_add', hook_add, NEW_WORK)
  register('hook_default', hook_default, ALWAYS)
  register('hook_drop', hook_drop, ALWAYS)
  register('hook_rotate', hook_rotate, ALWAYS)
  register('hook_list', hook_list, READ)
end
