
-- Jobs with LoRAs or a quality gate, which only workers that have the LoRAs and the scorers take. A scorer counts as a LoRA
-- whose name is `scorer:` and its own: no LoRA's name has a colon. A job that came up for another worker is laid aside
-- under the LoRA that was missing there.
-- PRIORITY_MS: how much a job's age has to grow to make up for one step of priority, more than it ever does.
local loras = { PRIORITY_MS = 1e13 }
do
  -- The names that a job asks for; none for most. A search is much quicker than to read the spec, and what looks like
  -- it inside a text of the spec has its quotation marks escaped.
  function loras.of(record)
    local names = {}
    local text = record.spec
    if not string.find(text, '"loras":[', 1, true) and not string.find(text, '"gate":{', 1, true) then return names end
    local ok, spec = pcall(cjson.decode, text)
    spec = ok and type(spec) == 'table' and spec or {}
    for _, lora in ipairs(type(spec.loras) == 'table' and spec.loras or {}) do table.insert(names, lora.name) end
    local scorers = type(spec.gate) == 'table' and spec.gate.scorers
    for _, name in ipairs(type(scorers) == 'table' and scorers or {}) do table.insert(names, 'scorer:' .. name) end
    return names
  end

  -- The first LoRA of a job that is not in a set of names.
  function loras.missing(record, has)
    for _, name in ipairs(loras.of(record)) do
      if not has[name] then return name end
    end
  end

  function loras.key(root, class, name) return root .. ':lacking:' .. class .. ':' .. name end

  -- The names under which jobs are laid aside.
  function loras.names_key(root, class) return root .. ':lacked:' .. class end

  -- Lays a waiting job aside for a worker that has this LoRA.
  function loras.lay_aside(at, id, record, name)
    record.lacks = name
    redis.call('SET', records.key(at.root, id), pack(record))
    local score = record.submitted - record.priority * loras.PRIORITY_MS
    redis.call('ZADD', loras.key(at.root, record.class, name), score, id)
    redis.call('SADD', loras.names_key(at.root, record.class), name)
    change.shard_of(at)['lacked:' .. record.class] = true
  end

  -- Takes a job out of where it was laid aside; gives whether it lay there.
  function loras.pick_up(root, id, record)
    return record.lacks and redis.call('ZREM', loras.key(root, record.class, record.lacks), id) == 1
  end

  -- The names that a worker has of those under which jobs are laid aside, the one with the best job first.
  function loras.wanted(at, class, names)
    local any, all = 'lacked:' .. class, loras.names_key(at.root, class)
    if #names == 0 or not change.shard_of(at)[any] then return {} end
    local wanted, score = {}, {}
    for i, lacked in ipairs(redis.call('SMISMEMBER', all, unpack(names))) do
      local first = lacked == 1 and redis.call('ZRANGE', loras.key(at.root, class, names[i]), 0, 0, 'WITHSCORES')
      if first and first[1] then
        table.insert(wanted, names[i])
        score[names[i]] = tonumber(first[2])
      elseif first then
        redis.call('SREM', all, names[i])
      end
    end
    if redis.call('EXISTS', all) == 0 then change.shard_of(at)[any] = nil end
    table.sort(wanted, function(a, b) return score[a] < score[b] end)
    return wanted
  end

  -- How many jobs of a class are laid aside.
  function loras.count(root, class)
    local jobs = 0
    for _, name in ipairs(redis.call('SMEMBERS', loras.names_key(root, class))) do
      jobs = jobs + redis.call('ZCARD', loras.key(root, class, name))
    end
    return jobs
  end

  -- Whether a job is laid aside.
  function loras.holds(root, id, record)
    return record.lacks and redis.call('ZSCORE', loras.key(root, record.class, record.lacks), id) and true or false
  end
end
