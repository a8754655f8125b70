
-- A tenant's jobs, the newest first.
do
  -- Ids that one call looks at where each has its record read, and where its time to live tells enough.
  local BROWSE_LOOKS, BROWSE_GLANCES = 400, 2000
  local BROWSE_PART = 200
  -- Leases that one call looks at.
  local LEASES = 100

  -- The record of a job if it is one of those wanted. Records of jobs that have ended expire, others do not.
  local function wanted_record(root, id, tenant, state, class)
    local key = records.key(root, id)
    local waits = state == 'queued'
    local runs_or_ended = waits
      and (redis.call('PTTL', key) ~= -1 or redis.call('HEXISTS', root .. ':leases', id) == 1)
    if runs_or_ended then return nil end
    local text = redis.call('GET', key)
    if not text or not packed.has(text, 'state', state) or not packed.has(text, 'class', class) then return nil end
    local record = records.read(root, id)
    if not record or record.tenant ~= tenant then return nil end
    if (state ~= '' and record.state ~= state) or (class ~= '' and record.class ~= class) then return nil end
    return record
  end

  -- ARGS: tenant, state but `running`, class, batch, place, enough; an empty one asks for nothing
  -- Goes back along all jobs of the tenant or of a batch, from before `place` or from the end. Gives the place to go on
  -- from, 0 at the end; then what `view` gives of each job found, its id in front.
  local function browse(keys, args)
    local root, tenant, state, class, batch = keys[1], args[1], args[2], args[3], args[4]
    local place, enough = input.optional(args[5], 'place'), input.number(args[6], 'enough')
    local waits = state == 'queued'
    if waits and counters.counted(change.begin(root), 'queued', tenant) == 0 then return { 0 } end
    local list, lost = listing.key(root, tenant), tonumber(redis.call('HGET', root .. ':shed', tenant) or 0)
    if batch ~= '' then
      list, lost = root .. ':members:' .. batch, 0
    end
    local last = redis.call('LLEN', list) - 1
    if place then last = math.min(last, place - lost - 1) end
    local heard, answer, looks = {}, { 0 }, waits and BROWSE_GLANCES or BROWSE_LOOKS
    while last >= 0 and #answer <= enough and looks > 0 do
      local ids = redis.call('LRANGE', list, math.max(0, last - BROWSE_PART + 1), last)
      for i = #ids, 1, -1 do
        if #answer > enough then break end
        last, looks = last - 1, looks - 1
        local record = wanted_record(root, ids[i], tenant, state, class)
        if record then
          table.insert(answer, job_view.named(root, ids[i], record, leases.of(root, ids[i]), heard))
        end
      end
    end
    if last >= 0 then answer[1] = last + lost + 1 end
    return answer
  end

  -- Adds those of some leases that are a tenant's, and of a class unless that is empty.
  local function add_running(answer, leased, tenant, class)
    for i = 1, #leased, 2 do
      local text = leased[i + 1]
      local is_asked_for = packed.has(text, 'tenant', tenant) and packed.has(text, 'class', class)
      if is_asked_for then table.insert(answer, leased[i]) end
    end
    return answer
  end

  -- ARGS: tenant, class or nothing, cursor
  -- Gives the next cursor, then the bytes of those of the tenant's jobs with a lease that were met.
  local function running(keys, args)
    local reply = redis.call('HSCAN', keys[1] .. ':leases', args[3], 'COUNT', LEASES)
    return add_running({ reply[1] }, reply[2], args[1], args[2])
  end

  -- ARGS: tenant, class or nothing
  -- Gives the bytes of all of them at once, as versions before ask for them.
  local function at_work(keys, args)
    return add_running({}, redis.call('HGETALL', keys[1] .. ':leases'), args[1], args[2])
  end

  register('browse', browse, READ)
  register('running', running, READ)
  register('at_work', at_work, READ)
end
