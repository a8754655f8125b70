
-- What a worker says of a job while it holds it.
do
  -- ARGS: id, fence, token, stage
  -- Notes which stage of a job is under way, before it begins; an empty text if none is, and the job is only held.
  local function stage(keys, args)
    local root, id, fence = keys[1], args[1], input.number(args[2], 'fence')
    if not leases.holds(leases.of(root, id), fence, args[3]) then return 0 end
    suspects.note_stage(root, id, args[4])
    return 1
  end

  -- ARGS: id, fence, token, checkpoint
  local function checkpoint(keys, args)
    local root, id, fence = keys[1], args[1], input.number(args[2], 'fence')
    local text = args[4]
    if not text or #text > LIMITS.MAX_CHECKPOINT then input.invalid('checkpoint is missing or too long') end
    local lease = leases.of(root, id)
    if not leases.holds(lease, fence, args[3]) then return 0 end
    redis.call('HSET', root .. ':checkpoints', id, text)
    return 1
  end

  -- ARGS: id, fence, token, picture, life_ms
  local function preview(keys, args)
    local root, id, fence, life = keys[1], args[1], input.number(args[2], 'fence'), input.number(args[5], 'life_ms')
    if #args[4] == 0 or #args[4] > LIMITS.MAX_PREVIEW then input.invalid('the preview is empty or too large') end
    local lease = leases.of(root, id)
    if not leases.holds(lease, fence, args[3]) then return 0 end
    redis.call('SET', root .. ':preview:' .. id, args[4], 'PX', life)
    events.emit({ root = root }, id, lease, 'preview')
    leases.note_step(root, id, lease)
    return 1
  end

  -- ARGS: id, fence, token, `set_aside` or `resumed`
  -- Tells that the holder lets another job go first, or goes on; the job runs all the while.
  local function aside(keys, args)
    local root, id, fence, name = keys[1], args[1], input.number(args[2], 'fence'), args[4]
    if name ~= 'set_aside' and name ~= 'resumed' then input.invalid('neither set_aside nor resumed') end
    local lease = leases.of(root, id)
    if not leases.holds(lease, fence, args[3]) then return 0 end
    events.emit({ root = root }, id, lease, name)
    leases.note_step(root, id, lease)
    suspects.note_stage(root, id, name == 'resumed' and 'sample' or '')
    return 1
  end

  -- ARGS: id, fence, token, step, of, retention_ms
  -- Gives 0 for a lost lease, 1, or 2 if somebody watches the job.
  local function progress(keys, args)
    local root, id, fence = keys[1], args[1], input.number(args[2], 'fence')
    local step, of = input.number(args[4], 'step'), input.number(args[5], 'of')
    local retention = input.number(args[6], 'retention_ms')
    local lease = leases.of(root, id)
    if not leases.holds(lease, fence, args[3]) then return 0 end
    if lease.finish_by and lease.finish_by <= now() then
      local at, record = change.begin(root), records.read(root, id)
      if not record then return 0 end
      leases.close(at, id, record, lease)
      outcome.expire(at, id, record, 'running', retention)
      turns.make_room(at, record.tenant)
      change.commit(at, retention)
      return 0
    end
    lease.step, lease.of = step, of
    events.emit({ root = root }, id, lease, 'progress', step .. '/' .. of)
    leases.note_step(root, id, lease)
    return watching.is_watched(root, id, lease) and 2 or 1
  end

  register('stage', stage, ALWAYS)
  register('checkpoint', checkpoint, ALWAYS)
  register('preview', preview, NEW_WORK)
  register('aside', aside, ALWAYS)
  register('progress', progress, ALWAYS)
end
