
-- Deliveries to endpoints. Those that are due wait at their endpoint, and endpoints at their tenant: whoever claims
-- takes from the tenant, and of its endpoints from that, which was served least lately. So a thousand deliveries to one
-- endpoint are not in the way of another's, and those that a caller has enough of are stepped over without being looked
-- at.
local deliveries = {}
do
  -- Deliveries that an endpoint's log keeps, and attempts that a delivery keeps.
  local LOG_KEPT, ATTEMPTS_KEPT = 100, 12
  -- How long a delivery is kept: longer than the last attempt can be away.
  local DELIVERY_LIFE_MS = 7 * 24 * 3600 * 1000
  -- Deliveries that one call sorts at a time and how often; tenants, endpoints of one, and deliveries to nobody that
  -- it looks at.
  local SORTS, ROUNDS = 200, 10
  local TENANTS, ENDPOINTS, DROPS = 200, 50, 50
  -- So many attempts in a row without any answer open an endpoint's circuit: nothing is sent to it for a while, then
  -- one delivery at a time, and with each that stays without an answer the while is twice as long.
  local SILENT, OPEN_MS, OPENINGS = 4, 30000, 5

  local function delivery_key(root, id) return root .. ':delivery:' .. id end

  local function delivery_of(root, id)
    local text = redis.call('GET', delivery_key(root, id))
    return text and unpacked(text) or nil
  end

  local function keep_delivery(root, id, delivery)
    redis.call('SET', delivery_key(root, id), pack(delivery), 'PX', DELIVERY_LIFE_MS)
  end

  -- Makes a delivery; `url` and `shape` are the job's own, nil for an endpoint that has an address.
  local function deliver(at, id, record, hook, url, shape)
    local name, log = record.event .. '.' .. hook, hooks.log_key(at.root, record.tenant, hook)
    keep_delivery(at.root, name, {
      tenant = record.tenant, hook = hook, job = id, state = record.state, made = at.time, attempts = 0,
      claims = 0, due = at.time, log = {}, url = url, shape = shape,
    })
    redis.call('ZADD', at.root .. ':due', at.time, name)
    redis.call('LPUSH', log, name)
    redis.call('LTRIM', log, 0, LOG_KEPT - 1)
    redis.call('PEXPIRE', log, DELIVERY_LIFE_MS)
  end

  -- Has an ended job told to all endpoints of its tenant that ask for it, and to the address that it names
  -- itself; in the call that ends it.
  function deliveries.notify(at, id, record)
    local all = redis.call('HGETALL', hooks.key(at.root, record.tenant))
    for i = 1, #all, 2 do
      local hook, values = all[i], unpacked(all[i + 1])
      if values and not values.disabled and string.find(values.events, ' ' .. record.state .. ' ', 1, true) then
        deliver(at, id, record, hook)
      end
    end
    if record.webhook then
      local shape, url = string.match(record.webhook, '^(%S+) (.+)$')
      deliver(at, id, record, hooks.DEFAULT, url, shape)
    end
  end

  local function delivery_values(id, delivery)
    local log = {}
    for i, attempt in ipairs(delivery.log) do log[i] = answers.build('attempt', attempt) end
    return answers.build('delivery', {
      id = id, hook = delivery.hook, tenant = delivery.tenant, job = delivery.job, state = delivery.state,
      made = delivery.made, attempts = delivery.attempts, due = delivery.due, ended = delivery.ended, log = log,
      url = delivery.url,
    })
  end

  local function tenants_key(root) return root .. ':tell' end
  local function endpoints_key(root, tenant) return root .. ':tell:' .. tenant end
  local function ready_key(root, tenant, endpoint) return endpoints_key(root, tenant) .. ':' .. endpoint end
  local function circuit_key(root, tenant, endpoint) return root .. ':circuit:' .. tenant .. ':' .. endpoint end

  -- All addresses on a host are one endpoint.
  local function endpoint_of(delivery)
    if delivery.hook ~= hooks.DEFAULT then return delivery.hook end
    return hooks.DEFAULT .. ' ' .. string.lower(string.match(delivery.url or '', '^%a+://([^/?#]*)') or '')
  end

  local function circuit_of(root, tenant, endpoint)
    local text = redis.call('GET', circuit_key(root, tenant, endpoint))
    return text and unpacked(text) or nil
  end

  local function keep_circuit(root, tenant, endpoint, circuit)
    redis.call('SET', circuit_key(root, tenant, endpoint), pack(circuit), 'PX', DELIVERY_LIFE_MS)
    redis.call('ZADD', endpoints_key(root, tenant), 'XX', circuit['until'] or 0, endpoint)
  end

  -- A delivery and its endpoint, if it is still to be made; otherwise it is dropped.
  local function wanted(root, id)
    local delivery = delivery_of(root, id)
    local hook = delivery and hooks.of(root, delivery.tenant, delivery.hook)
    if hook and not hook.disabled and delivery.due then return delivery, hook end
    redis.call('ZREM', root .. ':due', id)
    if delivery and delivery.due then
      delivery.due, delivery.ended = nil, 'dropped'
      keep_delivery(root, id, delivery)
    end
    return nil
  end

  -- Puts deliveries that have become due to their endpoints; gives whether there may be more. They stay in the set
  -- of all for a later look: a process of a time before there were endpoints finds them there.
  local function sort_due(root, time, lease)
    local due = root .. ':due'
    local ids = redis.call('ZRANGEBYSCORE', due, '-inf', time, 'LIMIT', 0, SORTS)
    for _, id in ipairs(ids) do
      local delivery = wanted(root, id)
      if delivery then
        local tenant, endpoint = delivery.tenant, endpoint_of(delivery)
        local circuit, ready = circuit_of(root, tenant, endpoint), ready_key(root, tenant, endpoint)
        redis.call('ZADD', ready, 'NX', delivery.due, id)
        redis.call('PEXPIRE', ready, DELIVERY_LIFE_MS)
        redis.call('ZADD', endpoints_key(root, tenant), 'NX', circuit and circuit['until'] or 0, endpoint)
        redis.call('ZADD', tenants_key(root), 'NX', 0, tenant)
        redis.call('ZADD', due, time + lease, id)
      end
    end
    return #ids == SORTS
  end

  local function leave_empty(root, tenant, endpoint)
    if redis.call('EXISTS', ready_key(root, tenant, endpoint)) == 1 then return end
    redis.call('ZREM', endpoints_key(root, tenant), endpoint)
    if redis.call('EXISTS', endpoints_key(root, tenant)) == 0 then redis.call('ZREM', tenants_key(root), tenant) end
  end

  -- The oldest delivery that waits at an endpoint, taken from there, with its values and its endpoint's.
  local function next_at(root, tenant, endpoint)
    local ready = ready_key(root, tenant, endpoint)
    for _ = 1, DROPS do
      local id = redis.call('ZPOPMIN', ready)[1]
      if not id then return nil end
      local delivery, hook = wanted(root, id)
      if delivery then return id, delivery, hook end
    end
    return nil
  end

  local function claim_of(root, tenant, busy, time, lease)
    local endpoints = endpoints_key(root, tenant)
    for _, endpoint in ipairs(redis.call('ZRANGEBYSCORE', endpoints, '-inf', time, 'LIMIT', 0, ENDPOINTS)) do
      local name = tenant .. ' ' .. endpoint
      if not busy[name] then
        local id, delivery, hook = next_at(root, tenant, endpoint)
        redis.call('ZADD', endpoints, 'XX', time, endpoint)
        local circuit = id and circuit_of(root, tenant, endpoint)
        if circuit and circuit.silent >= SILENT then
          -- Nobody makes another until this one has shown whether it answers again.
          circuit['until'] = time + lease
          keep_circuit(root, tenant, endpoint, circuit)
        end
        leave_empty(root, tenant, endpoint)
        if id then
          delivery.claims = delivery.claims + 1
          keep_delivery(root, id, delivery)
          redis.call('ZADD', root .. ':due', time + lease, id)
          return answers.build('claimed_delivery', {
            delivery = delivery_values(id, delivery), claims = delivery.claims, url = delivery.url or hook.url,
            secret = hook.secret, old = hooks.old_secret(hook), shape = delivery.shape, endpoint = name,
          })
        end
      end
    end
    return nil
  end

  -- ARGS: for how long nobody else gets it, then tenants and names of endpoints to which none is to be made now
  -- Gives a `claimed_delivery` that is due; nil if none is. Whoever claims it and dies leaves it to the next.
  local function delivery_claim(keys, args)
    local root, time, lease, busy = keys[1], now(), input.number(args[1], 'lease'), {}
    for i = 2, #args do busy[args[i]] = true end
    for _ = 1, ROUNDS do
      local more = sort_due(root, time, lease)
      for _, tenant in ipairs(redis.call('ZRANGE', tenants_key(root), 0, TENANTS - 1)) do
        if not busy[tenant] then
          local claimed = claim_of(root, tenant, busy, time, lease)
          redis.call('ZADD', tenants_key(root), 'XX', time, tenant)
          if claimed then return claimed end
        end
      end
      if not more then break end
    end
    return false
  end

  -- What an attempt has shown of an endpoint: whether it answered at all, and for how long it wishes to be left alone.
  local function learn(root, tenant, endpoint, answered, hold, time)
    local circuit = circuit_of(root, tenant, endpoint)
    if answered and not hold then
      if not circuit then return end
      redis.call('DEL', circuit_key(root, tenant, endpoint))
      redis.call('ZADD', endpoints_key(root, tenant), 'XX', 0, endpoint)
      return
    end
    circuit = circuit or { silent = 0 }
    circuit.silent = answered and 0 or circuit.silent + 1
    circuit['until'] = hold and time + hold or nil
    if circuit.silent >= SILENT then
      circuit['until'] = time + OPEN_MS * 2 ^ math.min(circuit.silent - SILENT, OPENINGS)
    end
    keep_circuit(root, tenant, endpoint, circuit)
  end

  -- Sends to an endpoint at once what waits for it, whatever it has shown.
  local function forgive(root, tenant, hook)
    for _, endpoint in ipairs(redis.call('ZRANGE', endpoints_key(root, tenant), 0, -1)) do
      if endpoint == hook or (hook == hooks.DEFAULT and string.sub(endpoint, 1, #hook + 1) == hook .. ' ') then
        redis.call('DEL', circuit_key(root, tenant, endpoint))
        redis.call('ZADD', endpoints_key(root, tenant), 'XX', 0, endpoint)
      end
    end
    redis.call('DEL', circuit_key(root, tenant, hook))
  end

  -- ARGS: tenant, id, why it is disabled, or empty to enable it
  -- Gives the endpoint, or nil if there is none.
  local function hook_switch(keys, args)
    local root, tenant, hook = keys[1], args[1], args[2]
    local values = hooks.of(root, tenant, hook)
    if not values then return false end
    values.disabled = input.present(args[3])
    hooks.keep(root, tenant, hook, values)
    -- Whoever enables it says that it answers again.
    if not values.disabled then forgive(root, tenant, hook) end
    return hooks.values(hook, values)
  end

  -- ARGS: id, how often it was claimed, `delivered`, `failed` or empty for another attempt, when that is due in
  -- milliseconds from now, status or empty, what went wrong or empty, how long it took, for how long nothing else is
  -- to be sent to the endpoint or nothing
  -- Gives 0 if somebody else has claimed it since, and nothing of this counts.
  local function delivery_settle(keys, args)
    local root, id, time = keys[1], args[1], now()
    local delivery, again = delivery_of(root, id), input.number(args[4], 'again')
    local hold = args[8] and input.optional(args[8], 'hold')
    if not delivery or delivery.claims ~= input.number(args[2], 'claims') then return 0 end
    -- Who says the same again, because the answer was lost, changes nothing.
    delivery.claims, delivery.attempts = delivery.claims + 1, delivery.attempts + 1
    local attempt = {
      at = time, status = input.optional(args[5], 'status'), error = input.present(args[6]),
      took = input.number(args[7], 'took'),
    }
    table.insert(delivery.log, attempt)
    if #delivery.log > ATTEMPTS_KEPT then table.remove(delivery.log, 1) end
    delivery.ended = input.present(args[3])
    delivery.due = not delivery.ended and time + again or nil
    if delivery.due then
      redis.call('ZADD', root .. ':due', delivery.due, id)
    else
      redis.call('ZREM', root .. ':due', id)
    end
    keep_delivery(root, id, delivery)
    learn(root, delivery.tenant, endpoint_of(delivery), attempt.status ~= nil, hold, time)
    return 1
  end

  -- ARGS: tenant, endpoint
  -- Deliveries to an endpoint, the newest first.
  local function delivery_list(keys, args)
    local root, answer = keys[1], {}
    for _, id in ipairs(redis.call('LRANGE', hooks.log_key(root, args[1], args[2]), 0, -1)) do
      local delivery = delivery_of(root, id)
      if delivery then table.insert(answer, delivery_values(id, delivery)) end
    end
    return answer
  end

  -- ARGS: tenant, endpoint, id
  -- Makes a delivery once more, from its first attempt on. Gives it, or nil if there is none.
  local function delivery_replay(keys, args)
    local root, id = keys[1], args[3]
    local delivery = delivery_of(root, id)
    if not delivery or delivery.tenant ~= args[1] or delivery.hook ~= args[2] then return false end
    -- What is under way does not count any more.
    delivery.claims, delivery.attempts, delivery.ended, delivery.due = delivery.claims + 1, 0, nil, now()
    keep_delivery(root, id, delivery)
    redis.call('ZADD', root .. ':due', delivery.due, id)
    return delivery_values(id, delivery)
  end

  register('hook_switch', hook_switch, ALWAYS)
  register('delivery_claim', delivery_claim, ALWAYS)
  register('delivery_settle', delivery_settle, ALWAYS)
  register('delivery_replay', delivery_replay, ALWAYS)
  register('delivery_list', delivery_list, READ)
end
