
-- What others see of a job.
local job_view = {}
do
  -- What keeps a waiting job from every live worker: too little room, or LoRAs that none has.
  local function note_blocked(root, record, heard)
    if record.need then
      record.best = fleet.best_capacity(root, heard)
      if record.best >= record.need then record.best = nil end
    end
    record.lacking = fleet.missing_loras(root, record, heard)
  end

  -- A job's `view`. `heard` is kept from job to job of a call.
  function job_view.describe(root, id, record, lease, heard)
    if lease then
      record.state, record.worker = 'running', lease.worker
      for _, name in ipairs({ 'version', 'event', 'attempt', 'fence', 'step', 'of', 'started' }) do
        record[name] = lease[name]
      end
      record.checkpoint = leases.checkpoint_of(root, id, record)
    elseif record.state == 'queued' then
      note_blocked(root, record, heard)
    end
    return answers.build('view', record)
  end

  -- The same with its id in front.
  function job_view.named(root, id, record, lease, heard)
    return { id, unpack(job_view.describe(root, id, record, lease, heard)) }
  end

  -- ARGS: id
  local function view(keys, args)
    local root, id = keys[1], args[1]
    local record, fault = records.read(root, id)
    if fault == 'no record' then return false end
    if not record then input.invalid(fault) end
    return job_view.describe(root, id, record, leases.of(root, id), {})
  end

  -- ARGS: id...
  -- Gives what `view` gives of each job that is there, its id in front.
  local function views(keys, args)
    local root, answer, heard = keys[1], {}, {}
    for _, id in ipairs(args) do
      local record = records.read(root, id)
      if record then table.insert(answer, job_view.named(root, id, record, leases.of(root, id), heard)) end
    end
    return answer
  end

  -- ARGS: tenant, ids
  -- Gives those of the ids whose jobs are the tenant's.
  local function owned(keys, args)
    local answer = {}
    for i = 2, #args do
      local record = records.read(keys[1], args[i])
      if record and record.tenant == args[1] then table.insert(answer, args[i]) end
    end
    return answer
  end

  register('view', view, READ)
  register('views', views, READ)
  register('owned', owned, READ)
end
