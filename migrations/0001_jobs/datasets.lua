
-- Data sets: batches whose rows come out of a manifest and end in shards. The rows that are not queued yet lie in the
-- object store.
local datasets = {}
do
  local MOST_PASSES = 62

  local function dataset_key(root, id) return root .. ':d:' .. id end
  function datasets.tasks_key(root, id) return root .. ':tasks:' .. id end
  function datasets.shards_key(root, id) return root .. ':shards:' .. id end
  local function chunks_key(root, id) return root .. ':chunks:' .. id end
  function datasets.segments_key(root, id) return root .. ':segments:' .. id end
  function datasets.index_key(root, id) return root .. ':index:' .. id end
  local function names_key(root, tenant) return root .. ':datasets:' .. tenant end
  function datasets.active_key(root) return root .. ':datasets' end

  -- Whether there may be one more pass over its rows.
  function datasets.may_pass(dataset) return dataset.pass < MOST_PASSES end

  -- A data set and its batch, or nil.
  function datasets.read(at, id)
    local text = redis.call('GET', dataset_key(at.root, id))
    local dataset, batch = text and unpacked(text), change.batch_of(at, id)
    if not dataset or not batch then return nil end
    return dataset, batch
  end

  function datasets.write(at, id, dataset) redis.call('SET', dataset_key(at.root, id), pack(dataset)) end

  function datasets.shard(root, id, number)
    local text = redis.call('HGET', datasets.shards_key(root, id), number)
    return text and unpacked(text) or nil
  end

  function datasets.write_shard(root, id, number, shard)
    redis.call('HSET', datasets.shards_key(root, id), number, pack(shard))
  end

  function datasets.in_flight(batch) return (batch.queued or 0) + (batch.running or 0) end

  -- Why no rows are queued now, or nil.
  function datasets.why_held(batch, dataset)
    if batch.stopped then return 'canceled' end
    if batch.paused then return 'paused' end
    if dataset.seconds and (dataset.spent or 0) >= dataset.seconds * 1000 then return 'budget_seconds' end
    if dataset.pictures and (batch.succeeded or 0) >= dataset.pictures then return 'budget_pictures' end
    return nil
  end

  function datasets.has_rows(batch, dataset) return dataset.cursor < dataset.sealed and not datasets.why_held(batch, dataset) end

  -- ARGS: batch, tenant, name, settings, metadata, most pictures or empty, most device seconds or empty
  -- Gives `created`, or `exists` and the id of the tenant's data set of this name.
  local function create_dataset(keys, args)
    local at, id, tenant, name = change.begin(keys[1]), args[1], args[2], args[3]
    if #id ~= 16 or tenant == '' or name == '' then input.invalid('arguments are missing') end
    local pictures, seconds = input.optional(args[6], 'pictures'), input.optional(args[7], 'seconds')
    redis.call('SADD', at.root .. ':dataset_tenants', tenant)
    if redis.call('HSETNX', names_key(at.root, tenant), name, id) == 0 then
      local earlier = redis.call('HGET', names_key(at.root, tenant), name)
      return { earlier == id and 'created' or 'exists', earlier }
    end
    at.batches[id] = { tenant = tenant, created = at.time, metadata = input.present(args[5]), dataset = name }
    datasets.write(at, id, {
      settings = args[4], pictures = pictures, seconds = seconds, rows = 0, sealed = 0, cursor = 0, high = 0, pass = 0,
      segments = 0, archived = 0, open_first = 0, open_rows = 0, open_bytes = 0, shards = 0, packed = 0, described = 0,
      spent = 0,
    })
    change.commit(at)
    return { 'created', id }
  end

  -- ARGS: batch, rows before, rows after, chunk (a text of the caller's)
  -- Adds a chunk of rows that lies in the store. Gives the number of rows; it is other than asked for if another caller
  -- was first.
  local function extend_dataset(keys, args)
    local at, id, before, after = change.begin(keys[1]), args[1], input.number(args[2], 'before'), input.number(args[3], 'after')
    local dataset = datasets.read(at, id)
    if not dataset then return false end
    if dataset.rows ~= before or after <= before then return dataset.rows end
    redis.call('RPUSH', chunks_key(at.root, id), args[4])
    dataset.rows = after
    datasets.write(at, id, dataset)
    return after
  end

  -- ARGS: batch, rows
  -- Drops rows behind the first so many, as far as none of their chunk may be queued yet. Gives how many rows are left.
  local function discard_rows(keys, args)
    local at, id, keep = change.begin(keys[1]), args[1], input.number(args[2], 'rows')
    local dataset = datasets.read(at, id)
    if not dataset then return false end
    keep = math.max(keep, dataset.sealed)
    while dataset.rows > keep do
      local ok, entry = pcall(cjson.decode, redis.call('LINDEX', chunks_key(at.root, id), -1) or '')
      local size = ok and type(entry) == 'table' and tonumber(entry.rows)
      if not size or dataset.rows - size < keep then break end
      redis.call('RPOP', chunks_key(at.root, id))
      dataset.rows = dataset.rows - size
    end
    dataset.discards = (dataset.discards or 0) + 1
    datasets.write(at, id, dataset)
    return dataset.rows
  end

  -- ARGS: batch, rows
  -- Lets the first rows be queued; never fewer than before. Rows that were replaced are queued again. Gives how many may
  -- be.
  local function start_dataset(keys, args)
    local at, id, asked = change.begin(keys[1]), args[1], input.number(args[2], 'rows')
    local dataset, batch = datasets.read(at, id)
    if not dataset then return false end
    dataset.sealed = math.max(dataset.sealed, math.min(asked, dataset.rows))
    batch.total = dataset.sealed
    datasets.write(at, id, dataset)
    if dataset.marked then rows.begin_pass(at, id, true) end
    redis.call('ZADD', datasets.active_key(at.root), 'NX', at.time, id)
    change.commit(at)
    return dataset.sealed
  end

  -- ARGS: batch, most pictures or empty, most device seconds or empty
  local function set_budget(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local dataset = datasets.read(at, id)
    if not dataset then return 0 end
    dataset.pictures, dataset.seconds = input.optional(args[2], 'pictures'), input.optional(args[3], 'seconds')
    datasets.write(at, id, dataset)
    return 1
  end

  -- ARGS: batch
  -- Gives the `dataset`; nil if there is none.
  local function dataset_view(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local dataset, batch = datasets.read(at, id)
    if not dataset then return false end
    dataset.name, dataset.held = batch.dataset, datasets.why_held(batch, dataset)
    dataset.waiting = redis.call('LLEN', rows.outcomes_key(at.root, id))
    dataset.selective = dataset.selective and 1 or 0
    dataset.rejected = dataset.rejected and cjson.encode(dataset.rejected)
    return answers.build('dataset', dataset)
  end

  -- ARGS: tenant
  -- Gives the names of a tenant's data sets, each followed by its id.
  local function dataset_names(keys, args) return redis.call('HGETALL', names_key(keys[1], args[1])) end

  -- ARGS: batch, first, most
  -- Gives chunks, as they were told, from the first on.
  local function dataset_chunks(keys, args)
    local first = input.number(args[2], 'first')
    return redis.call('LRANGE', chunks_key(keys[1], args[1]), first, first + input.number(args[3], 'most') - 1)
  end

  -- ARGS: batch, first, most
  -- Gives segments from the first on, each packed.
  local function dataset_segments(keys, args)
    local first, answer = input.number(args[2], 'first'), {}
    local last = first + input.number(args[3], 'most') - 1
    for i, text in ipairs(redis.call('LRANGE', datasets.segments_key(keys[1], args[1]), first, last)) do
      answer[i] = cmsgpack.unpack(text)
    end
    return answer
  end

  -- ARGS: batch, first, most
  -- Gives a `dataset_shard` for each from the first on.
  local function dataset_shards(keys, args)
    local first, answer = input.number(args[2], 'first'), {}
    for number = first, first + input.number(args[3], 'most') - 1 do
      local shard = datasets.shard(keys[1], args[1], number)
      if not shard then break end
      shard.done = shard.done and 1 or 0
      table.insert(answer, answers.build('dataset_shard', shard))
    end
    return answer
  end

  -- ARGS: batch, first, most
  -- Gives ids of rows' jobs that have ended and are in no segment yet.
  local function waiting_outcomes(keys, args)
    local first = input.number(args[2], 'first')
    return redis.call(
      'LRANGE', rows.outcomes_key(keys[1], args[1]), first, first + input.number(args[3], 'most') - 1
    )
  end

  -- ARGS: batch, first row, rows
  -- Gives two bits for each of them, as they are packed: the first row is a multiple of four.
  local function row_notes(keys, args)
    local first = input.number(args[2], 'first')
    local last = first + input.number(args[3], 'rows') - 1
    return redis.call('GETRANGE', rows.bits_key(keys[1], args[1]), math.floor(first / 4), math.floor(last / 4))
  end

  -- Begins a pass over all rows that queues those that have not ended well; of those `only_marked` ones, unless a pass
  -- over all of them is under way: the rows that it has not reached must not be forgotten. Used by `steer`.
  function rows.begin_pass(at, id, only_marked)
    local dataset = datasets.read(at, id)
    if not dataset or not datasets.may_pass(dataset) then input.invalid('no more passes') end
    local is_over = dataset.pass == 0 or dataset.selective or dataset.cursor >= dataset.high
    dataset.selective = only_marked and is_over or nil
    dataset.pass, dataset.cursor = dataset.pass + 1, 0
    dataset.marked, dataset.retries = nil, nil
    datasets.write(at, id, dataset)
    redis.call('ZADD', datasets.active_key(at.root), 'NX', at.time, id)
  end

  -- Has rows that have failed with this code queued again once they are found. Used by `retry_reason`.
  function rows.retry_code(at, id, code)
    local dataset = datasets.read(at, id)
    if not dataset or not datasets.may_pass(dataset) then input.invalid('no more passes') end
    dataset.retries = code
    datasets.write(at, id, dataset)
    redis.call('ZADD', datasets.active_key(at.root), 'NX', at.time, id)
  end

  -- Why a row cannot be replaced now, or nil; the other values are its job and record, if it waits in the queue.
  local function why_kept(at, id, dataset, row)
    local note = rows.note(at.root, id, row)
    if note == 1 then return 'succeeded' end
    if row >= dataset.high then return nil end
    if not datasets.may_pass(dataset) then return 'passes' end
    if note ~= 0 then return nil end
    local job, record = rows.job_of_row(at.root, id, row, dataset.pass)
    if not record or leases.of(at.root, job) then return 'running' end
    return nil, job, record
  end

  -- ARGS: batch, number of a chunk, the chunk as it was told, the chunk that takes its place, retention_ms, the rows that
  -- it changes...
  -- Has the rows ask for something else, unless one of them is being made or has its picture. One that waits in the queue
  -- is canceled; all that were queued before are queued again with the next start. Gives `replaced`; `moved` if another
  -- chunk is there; or `kept`, and each row that cannot be replaced with the reason.
  local function replace_rows(keys, args)
    local at, id, number = change.begin(keys[1]), args[1], input.number(args[2], 'chunk')
    local retention = input.number(args[5], 'retention_ms')
    local dataset = datasets.read(at, id)
    if not dataset then return false end
    local there = redis.call('LINDEX', chunks_key(at.root, id), number)
    if there == args[4] then return { 'replaced' } end
    if there ~= args[3] then return { 'moved' } end
    local answer, again = { 'kept' }, {}
    for i = 6, #args do
      local row = input.number(args[i], 'row')
      local why, job, record = why_kept(at, id, dataset, row)
      if why then
        table.insert(answer, row)
        table.insert(answer, why)
      elseif row < dataset.high then
        table.insert(again, { row = row, job = job, record = record })
      end
    end
    if #answer > 1 then return answer end
    for _, one in ipairs(again) do
      if one.job then ending.cancel_one(at, one.job, one.record, retention) end
      rows.mark(at.root, id, one.row)
      dataset.marked = true
    end
    redis.call('LSET', chunks_key(at.root, id), number, args[4])
    -- Whoever queues rows now has read the chunk as it was.
    redis.call('HDEL', datasets.tasks_key(at.root, id), 'run')
    dataset.changes = (dataset.changes or 0) + 1
    datasets.write(at, id, dataset)
    change.commit(at, retention)
    return { 'replaced' }
  end

  -- ARGS: batch, bucket
  -- Gives the name of the newest index of a bucket of rows, or nil.
  local function index_name(keys, args) return redis.call('HGET', datasets.index_key(keys[1], args[1]), args[2]) end

  -- ARGS: batch, first row, rows
  -- Gives a bit for each of them: whether it is marked. The first row is a multiple of eight.
  local function row_marks(keys, args)
    local first = input.number(args[2], 'first')
    local last = first + input.number(args[3], 'rows') - 1
    return redis.call('GETRANGE', rows.marks_key(keys[1], args[1]), math.floor(first / 8), math.floor(last / 8))
  end

  -- How many rows were queued at most, and the pass. Used by `sweep`.
  function rows.queued_so_far(at, id)
    local dataset = datasets.read(at, id)
    if not dataset then return 0, 0 end
    return dataset.high, dataset.pass
  end

  register('dataset_create', create_dataset, NEW_WORK)
  register('dataset_extend', extend_dataset, NEW_WORK)
  register('dataset_discard', discard_rows, ALWAYS)
  register('dataset_start', start_dataset, NEW_WORK)
  register('dataset_replace', replace_rows, NEW_WORK)
  register('dataset_budget', set_budget, ALWAYS)
  register('dataset', dataset_view, READ)
  register('dataset_names', dataset_names, READ)
  register('dataset_chunks', dataset_chunks, READ)
  register('dataset_segments', dataset_segments, READ)
  register('dataset_shards', dataset_shards, READ)
  register('dataset_outcomes', waiting_outcomes, READ)
  register('dataset_notes', row_notes, READ)
  register('dataset_marks', row_marks, READ)
  register('dataset_index', index_name, READ)
end
