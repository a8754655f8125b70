
-- What workers say of themselves.
local fleet = {}
do
  -- ARGS: worker, what it says of itself as JSON; empty to sign off
  local function attend(keys, args)
    local root, worker, says = keys[1], args[1], args[2]
    if not says then input.invalid('arguments are missing') end
    if says == '' then
      redis.call('ZREM', root .. ':seen', worker)
      redis.call('HDEL', root .. ':workers', worker)
    else
      redis.call('ZADD', root .. ':seen', now(), worker)
      redis.call('HSET', root .. ':workers', worker, says)
    end
    return 1
  end

  -- ARGS: silence_ms
  -- For each worker that has not been silent for longer: its name, when it was last heard of, what it said.
  local function workers(keys, args)
    local root, silence, answer = keys[1], input.number(args[1], 'silence_ms'), {}
    local seen = redis.call('ZRANGEBYSCORE', root .. ':seen', now() - silence, '+inf', 'WITHSCORES')
    for i = 1, #seen, 2 do
      table.insert(answer, { seen[i], tonumber(seen[i + 1]), redis.call('HGET', root .. ':workers', seen[i]) })
    end
    return answer
  end

  -- What live workers say. What is found of it is kept in `heard`, from job to job of a call. It is searched: to read
  -- it as JSON takes as long for a large fleet as all the rest of a call, and what looks like a field inside a text has
  -- its quotation marks escaped.
  local function reports(root, heard)
    heard.reports = heard.reports or redis.call('HVALS', root .. ':workers')
    return heard.reports
  end

  -- The most that any live worker has free.
  function fleet.best_capacity(root, heard)
    if heard.best then return heard.best end
    heard.best = 0
    for _, says in ipairs(reports(root, heard)) do
      local _, last = string.find(says, '"capacity":', 1, true)
      local capacity = last and tonumber(string.match(says, '^%d+', last + 1))
      heard.best = math.max(heard.best, capacity or 0)
    end
    return heard.best
  end

  -- A list in a report, as text.
  local function list_in(says, field)
    local _, first = string.find(says, '"' .. field .. '":[', 1, true)
    return first and string.sub(says, first, string.find(says, ']', first, true)) or ''
  end

  -- For each LoRA the sets of LoRAs that workers have and that hold it: a fleet has few, and each is there once. Scorers
  -- count as in `loras.of`.
  local function sets_by_lora(root, heard)
    if heard.sets then return heard.sets end
    heard.sets = {}
    local known = {}
    for _, says in ipairs(reports(root, heard)) do
      local files, scorers = list_in(says, 'loras'), list_in(says, 'scorers')
      if not known[files .. scorers] then
        local set = {}
        known[files .. scorers] = set
        local function add(name)
          set[name] = true
          heard.sets[name] = heard.sets[name] or {}
          table.insert(heard.sets[name], set)
        end
        for name in string.gmatch(files, '"name":"([^"]*)"') do add(name) end
        for name in string.gmatch(scorers, '"([^"]*)"') do add('scorer:' .. name) end
      end
    end
    return heard.sets
  end

  -- What is missing of a job's LoRAs where the least is, names with spaces between; nil if a worker has all.
  function fleet.missing_loras(root, record, heard)
    local names = loras.of(record)
    if #names == 0 then return nil end
    local sets, held, best, missing = sets_by_lora(root, heard), {}, {}, {}
    for _, name in ipairs(names) do
      for _, set in ipairs(sets[name] or {}) do
        held[set] = (held[set] or 0) + 1
        if held[set] > (held[best] or 0) then best = set end
      end
    end
    for _, name in ipairs(names) do
      if not best[name] then table.insert(missing, name) end
    end
    return #missing > 0 and table.concat(missing, ' ') or nil
  end

  register('attend', attend, ALWAYS)
  register('workers', workers, READ)
end
