
-- Work out to workers, and what they say of it.

local MAX_PREVIEW = 256 * 1024

local function lease_of(root, id)
  local text = redis.call('HGET', root .. ':leases', id)
  local lease = text and unpacked(text)
  if not lease then return nil end
  local moved = redis.call('HGET', root .. ':steps', id)
  moved = moved and unpacked(moved)
  if moved then lease.version, lease.event, lease.step, lease.of = unpack(moved) end
  return lease
end

-- Writes what an event has changed in a lease.
local function note_step(root, id, lease)
  redis.call('HSET', root .. ':steps', id, pack({ lease.version, lease.event, lease.step, lease.of }))
end

-- The newest checkpoint of a job: of its lease, or of one before.
local function checkpoint_of(root, id, record)
  return redis.call('HGET', root .. ':checkpoints', id) or record.checkpoint
end

-- Whether the caller still holds the job. A fail-over may set fences back; the token tells.
local function holds(lease, fence, token) return lease and lease.fence == fence and lease.token == token end

-- Whether bulk work may start now. Without a window it always may.
local function bulk_is_open(at)
  local shard = shard_of(at)
  if not shard.closes or (shard.opens <= at.time and at.time < shard.closes) then return true end
  return shard.fill and redis.call('EXISTS', at.root .. ':ring:interactive') == 0
end

-- Whether a suspect waits that may run now: those of paused tenants do not count.
function suspects.wait(at, class)
  if shard_of(at)['paused:' .. class] or (class == 'bulk' and not bulk_is_open(at)) then return false end
  for _, id in ipairs(suspects.first(at, class, 3)) do
    local record = read(at.root, id)
    if record and may_run(at, record.tenant) then return true end
  end
  return false
end

-- Whether a worker that holds jobs gets no more, so that it takes a suspect once it holds none: one worker at a time.
function suspects.keep_free(at, worker, wanted)
  local shard = shard_of(at)
  if shard.kept_free ~= worker and (shard.kept_until or 0) > at.time then return false end
  for _, class in ipairs(CLASSES) do
    if wanted[class] and suspects.wait(at, class) then
      shard.kept_free, shard.kept_until = worker, at.time + suspects.FREE_MS
      return true
    end
  end
  shard.kept_free, shard.kept_until = nil, nil
  return false
end

-- The next job among the wanted classes: interactive before bulk, but bulk now and then all the same.
local function choose(at, wanted, bulk_every, offer, retention)
  local shard, again = shard_of(at), false
  local function try(class)
    if not wanted[class] or shard['paused:' .. class] then return nil end
    if class == 'bulk' and not bulk_is_open(at) then return nil end
    local id, record = take(at, class, offer, retention)
    if not id then again = again or record end
    return id, record
  end
  local order = CLASSES
  if (shard.streak or 0) + 1 >= bulk_every then order = { 'bulk', 'interactive' } end
  for _, class in ipairs(order) do
    local id, record = try(class)
    if id then
      local passed_over = class == 'interactive' and wanted.bulk
        and redis.call('EXISTS', at.root .. ':ring:bulk') == 1
      shard.streak = passed_over and (shard.streak or 0) + 1 or nil
      return id, record
    end
  end
  return nil, again
end

-- Appends an entry for the job and has it delivered to the worker; gives the entry's id.
local function deliver(at, class, id, worker)
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
      bury(at, 'not a job', nil, cmsgpack.pack(delivered[2]))
      redis.call('XACK', ready, GROUP, delivered[1])
      redis.call('XDEL', ready, delivered[1])
    end
  end
end

-- What a worker is told of a lease: id, fence, attempt, when it was claimed, when the job was submitted, tenant, spec,
-- checkpoint, finish_by, batch, and 1 if nothing else may run beside it.
local function granted(at, id, record, lease)
  return {
    id, lease.fence, lease.attempt, lease.claimed, record.submitted, record.tenant, record.spec,
    checkpoint_of(at.root, id, record) or false, record.finish_by or false, record.batch or false,
    suspects.is_one(record) and 1 or 0,
  }
end

local function grant(at, id, record, worker, token, tells_stages)
  local shard = shard_of(at)
  shard.fence = (shard.fence or 0) + 1
  local lease = {
    fence = shard.fence, token = token, worker = worker, entry = deliver(at, record.class, id, worker),
    class = record.class, tenant = record.tenant, batch = record.batch, attempt = (record.attempt or 0) + 1,
    claimed = at.time, first = not record.started or nil, started = record.started or at.time, finish_by = record.finish_by,
    version = record.version, loras = #loras.of(record) > 0 or nil, tells_stages = tells_stages or nil,
  }
  emit(at, id, lease, 'started')
  redis.call('HSET', at.root .. ':leases', id, pack(lease))
  if record.start_by or record.finish_by then
    set_deadline(at, id, { started = true, start_by = record.start_by, finish_by = record.finish_by })
  end
  count(at, record, 'queued', 'running')
  return granted(at, id, record, lease)
end

-- Notes whether a worker has nothing to do.
local function mark_idle(at, worker, is_idle)
  if is_idle then
    redis.call('ZADD', at.root .. ':idle', at.time, worker)
  else
    redis.call('ZREM', at.root .. ':idle', worker)
  end
end

do
  -- What a worker's last claim gave, for as long as its leases may live.
  local function claim_key(root, worker) return root .. ':claim:' .. worker end

  local function remember(at, worker, token, ids, lease_ms)
    redis.call('SET', claim_key(at.root, worker), pack({ token, ids }), 'PX', lease_ms)
  end

  -- What a claim gave whose answer was lost; nil if it gave nothing, or was never carried out.
  local function given_before(at, worker, token)
    local text = redis.call('GET', claim_key(at.root, worker))
    local claimed = text and unpacked(text)
    if not claimed or claimed[1] ~= token then return nil end
    local answer = { 0 }
    for _, id in ipairs(claimed[2]) do
      local lease, record = lease_of(at.root, id), read(at.root, id)
      if lease and record and lease.token == token then table.insert(answer, granted(at, id, record, lease)) end
    end
    return answer
  end

  -- ARGS: worker, token, lease_ms, retention_ms, bulk_every, capacity, count, 1 if it has other work, then words in any
  -- order: classes; LoRAs that it has, as `lora:` and the name; tenants that it wants no job of, as `without:` and the
  -- name; `stages` if it tells which stages are under way; `alone` if it holds no job; `again` if the answer to the
  -- same claim was lost
  -- Gives whether it is worth asking again at once, then a list for each lease.
  local function claim(keys, args)
    local worker, token = args[1], args[2]
    local lease_ms, retention = number(args[3], 'lease_ms'), number(args[4], 'retention_ms')
    local bulk_every = number(args[5], 'bulk_every')
    local offer = { capacity = number(args[6], 'capacity'), loras = {}, has = {}, without = {} }
    local most, said = number(args[7], 'count'), {}
    local busy = args[8] == '1'
    for i = 9, #args do
      local lora, tenant = string.match(args[i], '^lora:(.+)$'), string.match(args[i], '^without:(.+)$')
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
    local at = begin(keys[1])
    hear(at, lease_ms)
    local answer, ids = said.again and given_before(at, worker, token), {}
    if answer then return answer end
    answer = { 0 }
    if not offer.alone and suspects.keep_free(at, worker, said) then most = 0 end
    for _ = 1, most do
      local id, record = choose(at, said, bulk_every, offer, retention)
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
    if #ids > 0 then remember(at, worker, token, ids, lease_ms) end
    if not busy and most > 0 then mark_idle(at, worker, #answer == 1 and answer[1] == 0) end
    commit(at, retention)
    return answer
  end

  register('claim', claim, ALWAYS)
end

-- Whether a worker without work would take this running job if it were handed back. One that may lack its LoRAs would
-- not.
local function is_wanted_elsewhere(at, lease)
  return lease.class == 'bulk' and has_idle_worker(at) and bulk_is_open(at)
    and not shard_of(at)['paused:bulk'] and not limits_of(at, lease.tenant).paused and not lease.loras
end

do
  -- Gives 0 for a lost lease; else 1, and 2 more if the holder should hand the job back soon, and 4 more if an
  -- idle worker would take it.
  local function renew_one(at, id, fence, token)
    local lease = lease_of(at.root, id)
    if not holds(lease, fence, token) then return 0 end
    redis.call('XCLAIM', at.root .. ':ready:' .. lease.class, GROUP, lease.worker, 0, lease.entry, 'JUSTID')
    local over = lease.class == 'bulk' and not bulk_is_open(at)
    return 1 + (over and 2 or 0) + (is_wanted_elsewhere(at, lease) and 4 or 0)
  end

  -- ARGS: id, fence, token, lease_ms
  -- Of versions that renew each lease by itself.
  local function renew(keys, args)
    local fence, lease_ms = number(args[2], 'fence'), number(args[4], 'lease_ms')
    local at = begin(keys[1])
    hear(at, lease_ms)
    local answer = renew_one(at, args[1], fence, args[3])
    commit(at)
    return answer
  end

  -- ARGS: lease_ms, then id, fence, token of each lease
  -- Gives for each what `renew_one` says.
  local function renew_all(keys, args)
    local lease_ms, fences = number(args[1], 'lease_ms'), {}
    for i = 2, #args, 3 do fences[i] = number(args[i + 1], 'fence') end
    local at, answer = begin(keys[1]), {}
    hear(at, lease_ms)
    for i = 2, #args, 3 do table.insert(answer, renew_one(at, args[i], fences[i], args[i + 2])) end
    commit(at)
    return answer
  end

  register('renew', renew, ALWAYS)
  register('renew_all', renew_all, ALWAYS)
end

do
  -- ARGS: id, fence, token, stage
  -- Notes which stage of a job is under way, before it begins; an empty text if none is, and the job is only held.
  local function stage(keys, args)
    local root, id, fence = keys[1], args[1], number(args[2], 'fence')
    if not holds(lease_of(root, id), fence, args[3]) then return 0 end
    suspects.note_stage(root, id, args[4])
    return 1
  end

  register('stage', stage, ALWAYS)
end

-- ARGS: id, fence, token, checkpoint
local function checkpoint(keys, args)
  local root, id, fence = keys[1], args[1], number(args[2], 'fence')
  local text = args[4]
  if not text or #text > 1024 then invalid('checkpoint is missing or longer than 1024 bytes') end
  local lease = lease_of(root, id)
  if not holds(lease, fence, args[3]) then return 0 end
  redis.call('HSET', root .. ':checkpoints', id, text)
  return 1
end

local function watched_key(root, id) return root .. ':watched:' .. id end

local function watching_key(root, tenant) return root .. ':watching:' .. tenant end

-- Whether somebody would look at a preview. Whoever follows all of a tenant's jobs looks at those that are drawn
-- for people, not at thousands of others.
local function is_watched(root, id, lease)
  if redis.call('EXISTS', watched_key(root, id)) == 1 then return true end
  return lease.class == 'interactive' and redis.call('EXISTS', watching_key(root, lease.tenant)) == 1
end

-- ARGS: id, life_ms
-- Notes that somebody watches a job; gives whether there is anything left to see.
local function watch(keys, args)
  local root, id, life = keys[1], args[1], number(args[2], 'life_ms')
  local record = read(root, id)
  if not record or record.state ~= 'queued' then return 0 end
  redis.call('SET', watched_key(root, id), '1', 'PX', life)
  return 1
end

-- ARGS: tenant, life_ms
-- Notes that somebody follows all jobs of a tenant.
local function watch_tenant(keys, args)
  if args[1] == '' then invalid('no tenant') end
  redis.call('SET', watching_key(keys[1], args[1]), '1', 'PX', number(args[2], 'life_ms'))
  return 1
end

-- ARGS: id, fence, token, picture, life_ms
local function preview(keys, args)
  local root, id, fence, life = keys[1], args[1], number(args[2], 'fence'), number(args[5], 'life_ms')
  if #args[4] == 0 or #args[4] > MAX_PREVIEW then invalid('the preview is empty or too large') end
  local lease = lease_of(root, id)
  if not holds(lease, fence, args[3]) then return 0 end
  redis.call('SET', root .. ':preview:' .. id, args[4], 'PX', life)
  emit({ root = root }, id, lease, 'preview')
  note_step(root, id, lease)
  return 1
end

-- ARGS: id, fence, token, `set_aside` or `resumed`
-- Tells that the holder lets another job go first, or goes on; the job runs all the while.
local function aside(keys, args)
  local root, id, fence, name = keys[1], args[1], number(args[2], 'fence'), args[4]
  if name ~= 'set_aside' and name ~= 'resumed' then invalid('neither set_aside nor resumed') end
  local lease = lease_of(root, id)
  if not holds(lease, fence, args[3]) then return 0 end
  emit({ root = root }, id, lease, name)
  note_step(root, id, lease)
  suspects.note_stage(root, id, name == 'resumed' and 'sample' or '')
  return 1
end

local function forget_lease(root, id)
  suspects.note_stage(root, id, '')
  redis.call('HDEL', root .. ':leases', id)
  redis.call('HDEL', root .. ':steps', id)
  redis.call('HDEL', root .. ':checkpoints', id)
end

local function drop_lease(at, id, lease)
  local ready = at.root .. ':ready:' .. lease.class
  forget_lease(at.root, id)
  redis.call('XACK', ready, GROUP, lease.entry)
  redis.call('XDEL', ready, lease.entry)
end

-- Takes over into the record what happened under a lease that ends now.
local function close(at, id, record, lease, mark)
  record.checkpoint = checkpoint_of(at.root, id, record)
  drop_lease(at, id, lease)
  record.version, record.fence, record.settled = lease.version, lease.fence, mark
  record.step, record.of = lease.step, lease.of
  record.attempt, record.started = lease.attempt, lease.started
end

-- A tenant at its limit of running jobs is left out; one job less lets it in again.
local function make_room(at, tenant)
  if limits_of(at, tenant).max_running then reenter(at, tenant) end
end

local function requeue(at, id, record, reason)
  record.state, record.step = 'queued', nil
  emit(at, id, record, 'requeued', '{"reason":"' .. reason .. '"}')
  redis.call('SET', job_key(at.root, id), pack(record))
  if record.due then
    into_delayed(at, id, record)
  elseif record.need then
    into_sized(at, id, record)
  else
    into_backlog(at, id, record, true)
  end
  set_deadline(at, id, record)
  count(at, record, 'running', 'queued')
  make_room(at, record.tenant)
  wake(at, 1, record.class)
end

local function end_running(at, id, record, state, retention, data)
  finish(at, id, record, 'running', state, retention, data)
  make_room(at, record.tenant)
end

-- Lays a job that has failed aside. Its record names the letter, so that both can be forgotten together.
local function bury_job(at, reason, id, record)
  record.letter = bury(at, reason, id, pack(record))
  redis.call('SET', job_key(at.root, id), pack(record), 'XX', 'KEEPTTL')
end

local function worker_lost(record)
  return cjson.encode({
    code = 'worker_lost', retryable = false,
    message = 'the worker was lost ' .. suspects.marks(record) .. ' times while it worked on this job',
  })
end

-- A job whose worker was lost waits again without having spent an attempt; one that is to blame is marked, and the
-- last mark ends it.
function suspects.lost(at, id, record, lease, mark, reason, retention)
  if mark then
    record.marks = record.marks or {}
    table.insert(record.marks, mark)
    if suspects.marks(record) >= suspects.POISON then
      record.error = worker_lost(record)
      end_running(at, id, record, 'failed', retention)
      bury_job(at, 'poison', id, record)
      return 'failed'
    end
  end
  record.attempt = lease.attempt > 1 and lease.attempt - 1 or nil
  record.due = nil
  requeue(at, id, record, reason)
  return 'requeued'
end

-- ARGS: id, fence, token, step, of, retention_ms
-- Gives 0 for a lost lease, 1, or 2 if somebody watches the job.
local function progress(keys, args)
  local root, id, fence = keys[1], args[1], number(args[2], 'fence')
  local step, of = number(args[4], 'step'), number(args[5], 'of')
  local retention = number(args[6], 'retention_ms')
  local lease = lease_of(root, id)
  if not holds(lease, fence, args[3]) then return 0 end
  if lease.finish_by and lease.finish_by <= now() then
    local at, record = begin(root), read(root, id)
    if not record then return 0 end
    close(at, id, record, lease)
    expire(at, id, record, 'running', retention)
    make_room(at, record.tenant)
    commit(at, retention)
    return 0
  end
  lease.step, lease.of = step, of
  emit({ root = root }, id, lease, 'progress', step .. '/' .. of)
  note_step(root, id, lease)
  return is_watched(root, id, lease) and 2 or 1
end

-- Runs `act` if the caller holds the lease. A settlement whose answer was lost may be repeated.
local function settle(keys, args, name, act)
  local root, id, fence, token = keys[1], args[1], number(args[2], 'fence'), args[3]
  local mark = name .. ':' .. args[2] .. ':' .. token
  local record = read(root, id)
  if record and record.settled == mark then return 1 end
  local lease = lease_of(root, id)
  if not record or not holds(lease, fence, token) then return 0 end
  local at = begin(root)
  close(at, id, record, lease, mark)
  act(at, id, record, lease)
  return 1
end

-- ARGS: id, fence, token, retention_ms, output
local function complete(keys, args)
  local retention, output = number(args[4], 'retention_ms'), args[5]
  if not output then invalid('output is missing') end
  return settle(keys, args, 'complete', function(at, id, record)
    record.output, record.error, record.step = output, nil, record.of
    end_running(at, id, record, 'succeeded', retention)
    commit(at, retention)
  end)
end

-- ARGS: id, fence, token, retention_ms, failure, retryable, attempts, delay_ms
local function fail(keys, args)
  local retention, attempts = number(args[4], 'retention_ms'), number(args[7], 'attempts')
  local delay = number(args[8], 'delay_ms')
  return settle(keys, args, 'fail', function(at, id, record)
    record.error = args[5]
    if args[6] == '1' and record.attempt < attempts then
      record.due = delay > 0 and at.time + delay or nil
      requeue(at, id, record, 'retry')
    else
      end_running(at, id, record, 'failed', retention)
      if args[6] == '1' then bury_job(at, 'attempts spent', id, record) end
    end
    commit(at, retention)
  end)
end

-- ARGS: id, fence, token, need
local function release(keys, args)
  local need = optional(args[4], 'need')
  return settle(keys, args, 'release', function(at, id, record, lease)
    record.attempt = lease.attempt > 1 and lease.attempt - 1 or nil
    -- A job that was handed back before its first step has not begun, unless it had before.
    if lease.first and not lease.step then record.started = nil end
    record.due, record.need = nil, need
    requeue(at, id, record, 'released')
    commit(at)
  end)
end

do
  -- ARGS: id, fence, token, retention_ms
  -- The holder's device hangs at the job: the process hands it over and ends. It counts as if it had died, and no
  -- renewal that is late clears this mark.
  local function stuck(keys, args)
    local retention = number(args[4], 'retention_ms')
    return settle(keys, args, 'stuck', function(at, id, record, lease)
      suspects.lost(at, id, record, lease, 'stuck:' .. lease.token, 'device_stuck', retention)
      commit(at, retention)
    end)
  end

  register('stuck', stuck, ALWAYS)
end

do
  -- A record's marks but this one, and whether it was among them.
  local function without(marks, token)
    local rest = {}
    for _, mark in ipairs(marks or {}) do
      if mark ~= token then table.insert(rest, mark) end
    end
    return #rest > 0 and rest or nil, #rest < #(marks or {})
  end

  -- ARGS: id, token
  -- The holder of a lease that was lost is back, so it was not the job that killed it. Gives whether it was blamed.
  local function clear_mark(keys, args)
    local root, id, found = keys[1], args[1], false
    local record = read(root, id)
    if not record then return 0 end
    record.marks, found = without(record.marks, args[2])
    if not found then return 0 end
    redis.call('SET', job_key(root, id), pack(record), 'XX', 'KEEPTTL')
    if not suspects.is_one(record) and suspects.pick_up(root, id, record) then
      local at = begin(root)
      into_backlog(at, id, record, true)
      wake(at, 1, record.class)
      commit(at)
    end
    return 1
  end

  register('clear_mark', clear_mark, ALWAYS)
end
