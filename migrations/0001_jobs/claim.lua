
-- Work out to workers.
do
  -- Whether a suspect waits that may run now: those of paused tenants do not count.
  local function may_run_suspect(at, class)
    if change.shard_of(at)['paused:' .. class] then return false end
    if class == 'bulk' and not bulk_window.is_open(at) then return false end
    for _, id in ipairs(suspects.first(at, class, 3)) do
      local record = records.read(at.root, id)
      if record and turns.may_run(at, record.tenant) then return true end
    end
    return false
  end

  -- Whether a worker that holds jobs gets no more, so that it takes a suspect once it holds none: one worker at a time.
  local function keep_free(at, worker, wanted)
    local shard = change.shard_of(at)
    if shard.kept_free ~= worker and (shard.kept_until or 0) > at.time then return false end
    for _, class in ipairs(CLASSES) do
      if wanted[class] and may_run_suspect(at, class) then
        shard.kept_free, shard.kept_until = worker, at.time + suspects.FREE_MS
        return true
      end
    end
    shard.kept_free, shard.kept_until = nil, nil
    return false
  end

  -- Appends an entry for the job and has it delivered to the worker; gives the entry's id.
  local function append_entry(at, class, id, worker)
    local ready = at.root .. ':ready:' .. class
    local entry = redis.call('XADD', ready, '*', 'j', id)
    while true do
      local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', 1, 'STREAMS', ready, '>')
      if reply.err then
        redis.call('XGROUP', 'CREATE', ready, GROUP, '0')
      else
        local delivered = reply[1][2][1]
        if delivered[1] == entry then return entry end
        -- Nobody but this function writes there, yet a stray entry must not stop it.
        letters.add(at, 'not a job', nil, cmsgpack.pack(delivered[2]))
        redis.call('XACK', ready, GROUP, delivered[1])
        redis.call('XDEL', ready, delivered[1])
      end
    end
  end

  -- What a worker is told of a lease.
  local function granted(at, id, record, lease)
    return answers.build('lease', {
      id = id, fence = lease.fence, attempt = lease.attempt, claimed = lease.claimed, submitted = record.submitted,
      tenant = record.tenant, spec = record.spec, checkpoint = leases.checkpoint_of(at.root, id, record),
      finish_by = record.finish_by, batch = record.batch, alone = suspects.is_one(record) and 1 or 0, row = record.row,
    })
  end

  local function grant(at, id, record, worker, token, tells_stages)
    local shard = change.shard_of(at)
    shard.fence = (shard.fence or 0) + 1
    local lease = {
      fence = shard.fence, token = token, worker = worker, entry = append_entry(at, record.class, id, worker),
      class = record.class, tenant = record.tenant, batch = record.batch, attempt = (record.attempt or 0) + 1,
      claimed = at.time, first = not record.started or nil, started = record.started or at.time,
      finish_by = record.finish_by, version = record.version, loras = #loras.of(record) > 0 or nil,
      tells_stages = tells_stages or nil, row = record.row,
    }
    events.emit(at, id, lease, 'started')
    redis.call('HSET', at.root .. ':leases', id, pack(lease))
    if record.start_by or record.finish_by then
      outcome.set_deadline(at, id, { started = true, start_by = record.start_by, finish_by = record.finish_by })
    end
    counters.count(at, record, 'queued', 'running')
    return granted(at, id, record, lease)
  end

  -- What a worker's last claim gave, for as long as its leases may live.
  local function claim_key(root, worker) return root .. ':claim:' .. worker end

  local function remember(at, worker, token, ids, order, lease_ms)
    redis.call('SET', claim_key(at.root, worker), pack({ token, ids, order }), 'PX', lease_ms)
  end

  -- The answer to a claim that was carried out already, or that arrives after a later one of the same worker, which has
  -- given it up by then; nil for any other.
  local function answered_before(at, worker, token, order)
    local text = redis.call('GET', claim_key(at.root, worker))
    local last = text and unpacked(text)
    if not last then return nil end
    local answer = { 0 }
    if last[1] ~= token then return order and last[3] and order < last[3] and answer or nil end
    for _, id in ipairs(last[2]) do
      local lease, record = leases.of(at.root, id), records.read(at.root, id)
      if lease and record and lease.token == token then table.insert(answer, granted(at, id, record, lease)) end
    end
    return answer
  end

  -- ARGS: worker, token, lease_ms, retention_ms, bulk_every, capacity, count, 1 if it has other work, then words in any
  -- order: classes; LoRAs that it has, as `lora:` and the name; tenants that it wants no job of, as `without:` and the
  -- name; `stages` if it tells which stages are under way; `alone` if it holds no job; `again` if the answer to the
  -- same claim was lost; `order:` and a number that rises with each claim of the worker
  -- Gives whether it is worth asking again at once, then a `lease` for each.
  local function claim(keys, args)
    local worker, token = args[1], args[2]
    local lease_ms, retention = input.number(args[3], 'lease_ms'), input.number(args[4], 'retention_ms')
    local bulk_every = input.number(args[5], 'bulk_every')
    local offer = { capacity = input.number(args[6], 'capacity'), loras = {}, has = {}, without = {}, worker = worker }
    local most, said = input.number(args[7], 'count'), {}
    local busy, order = args[8] == '1', nil
    for i = 9, #args do
      local lora, tenant = string.match(args[i], '^lora:(.+)$'), string.match(args[i], '^without:(.+)$')
      order = order or tonumber(string.match(args[i], '^order:(%d+)$'))
      if lora then
        table.insert(offer.loras, lora)
        offer.has[lora] = true
      elseif tenant then
        offer.without[tenant] = true
      else
        said[args[i]] = true
      end
    end
    -- A worker of a version before suspects says nothing of the two.
    offer.alone = said.alone or not (said.stages or busy)
    local at = change.begin(keys[1])
    change.hear(at, lease_ms)
    local answer, ids = answered_before(at, worker, token, order), {}
    if answer then return answer end
    answer = { 0 }
    if not offer.alone and keep_free(at, worker, said) then most = 0 end
    for _ = 1, most do
      local id, record = choice.choose(at, said, bulk_every, offer, retention)
      if not id then
        answer[1] = record and 1 or 0
        break
      end
      table.insert(ids, id)
      table.insert(answer, grant(at, id, record, worker, token, said.stages))
      -- Whatever comes next would run beside it.
      offer.alone = false
      if suspects.is_one(record) then break end
    end
    -- The same claim may be on its way still, and must not be carried out twice.
    if #ids > 0 or said.again then remember(at, worker, token, ids, order, lease_ms) end
    if not busy and most > 0 then wakeups.mark_idle(at, worker, #answer == 1 and answer[1] == 0) end
    change.commit(at, retention)
    return answer
  end

  register('claim', claim, ALWAYS)
end
