
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

local function grant(at, id, record, worker, token)
  local shard = shard_of(at)
  shard.fence = (shard.fence or 0) + 1
  local lease = {
    fence = shard.fence, token = token, worker = worker, entry = deliver(at, record.class, id, worker),
    class = record.class, tenant = record.tenant, batch = record.batch, attempt = (record.attempt or 0) + 1,
    claimed = at.time, first = not record.started or nil, started = record.started or at.time, finish_by = record.finish_by,
    version = record.version, loras = #loras.of(record) > 0 or nil,
  }
  emit(at, id, lease, 'started')
  redis.call('HSET', at.root .. ':leases', id, pack(lease))
  if record.start_by or record.finish_by then
    set_deadline(at, id, { started = true, start_by = record.start_by, finish_by = record.finish_by })
  end
  count(at, record, 'queued', 'running')
  return {
    id, lease.fence, lease.attempt, lease.claimed, record.submitted, record.tenant, record.spec,
    record.checkpoint or false, record.finish_by or false, record.batch or false,
  }
end

-- Notes whether a worker has nothing to do.
local function mark_idle(at, worker, is_idle)
  if is_idle then
    redis.call('ZADD', at.root .. ':idle', at.time, worker)
  else
    redis.call('ZREM', at.root .. ':idle', worker)
  end
end

-- ARGS: worker, token, lease_ms, retention_ms, bulk_every, capacity, count, 1 if it has other work, then classes and
-- the LoRAs that it has, these as `lora:` and the name
-- Gives whether it is worth asking again at once, then a list for each lease.
local function claim(keys, args)
  local worker, token = args[1], args[2]
  local lease_ms, retention = number(args[3], 'lease_ms'), number(args[4], 'retention_ms')
  local bulk_every, offer = number(args[5], 'bulk_every'), { capacity = number(args[6], 'capacity'), loras = {}, has = {} }
  local most, wanted = number(args[7], 'count'), {}
  local busy = args[8] == '1'
  for i = 9, #args do
    local lora = string.match(args[i], '^lora:(.+)$')
    if lora then
      table.insert(offer.loras, lora)
      offer.has[lora] = true
    else
      wanted[args[i]] = true
    end
  end
  local at = begin(keys[1])
  hear(at, lease_ms)
  local answer = { 0 }
  for _ = 1, most do
    local id, record = choose(at, wanted, bulk_every, offer, retention)
    if not id then
      answer[1] = record and 1 or 0
      break
    end
    table.insert(answer, grant(at, id, record, worker, token))
  end
  if not busy and most > 0 then mark_idle(at, worker, #answer == 1 and answer[1] == 0) end
  commit(at, retention)
  return answer
end

-- Whether a worker without work would take this running job if it were handed back. One that may lack its LoRAs would
-- not.
local function is_wanted_elsewhere(at, lease)
  return lease.class == 'bulk' and has_idle_worker(at) and bulk_is_open(at)
    and not shard_of(at)['paused:bulk'] and not limits_of(at, lease.tenant).paused and not lease.loras
end

-- ARGS: id, fence, token, lease_ms
-- Gives 0 for a lost lease; else 1, and 2 more if the holder should hand the job back soon, and 4 more if an
-- idle worker would take it.
local function renew(keys, args)
  local root, id = keys[1], args[1]
  local fence, lease_ms = number(args[2], 'fence'), number(args[4], 'lease_ms')
  local lease = lease_of(root, id)
  if not holds(lease, fence, args[3]) then return 0 end
  local at = begin(root)
  hear(at, lease_ms)
  redis.call('XCLAIM', root .. ':ready:' .. lease.class, GROUP, lease.worker, 0, lease.entry, 'JUSTID')
  commit(at)
  local over = lease.class == 'bulk' and not bulk_is_open(at)
  return 1 + (over and 2 or 0) + (is_wanted_elsewhere(at, lease) and 4 or 0)
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
  return 1
end

local function forget_lease(root, id)
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
