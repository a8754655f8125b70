
-- Work on data sets. A task is done by one process at a time, under a lease: `run` queues rows and puts outcomes into
-- segments, `pack:<n>` makes a shard.
do
  -- Data sets that one call looks at, and shards of one.
  local DATASETS, SHARDS = 20, 50
  -- Segments that may be in no index while nothing else is to be done; whoever runs a data set knows it too.
  local UNINDEXED = 16

  local function task_lease(at, id, task)
    local text = redis.call('HGET', datasets.tasks_key(at.root, id), task)
    local lease = text and unpacked(text)
    return lease and lease.expires > at.time and lease or nil
  end

  local function holds_task(at, id, task, token)
    local lease = task_lease(at, id, task)
    return lease and lease.token == token
  end

  -- Whether the task `run` has anything to do.
  local function needs_run(at, id, batch, dataset)
    if dataset.retries and not batch.stopped then return true end
    if datasets.has_rows(batch, dataset) or redis.call('LLEN', rows.outcomes_key(at.root, id)) > 0 then return true end
    if dataset.segments - (dataset.indexed or 0) >= UNINDEXED then return true end
    if datasets.in_flight(batch) > 0 then return false end
    if batch.paused and dataset.cursor < dataset.sealed and not batch.stopped then
      return dataset.described ~= dataset.packed
    end
    return dataset.open_rows > 0 or (dataset.packed == dataset.shards and dataset.described ~= dataset.packed)
  end

  -- Whether nothing is left to do until somebody asks for more.
  local function is_finished(at, id, batch, dataset)
    return datasets.in_flight(batch) == 0 and (dataset.cursor >= dataset.sealed or batch.stopped)
      and dataset.packed == dataset.shards and not needs_run(at, id, batch, dataset)
  end

  -- The next task of a data set that nobody does.
  local function next_task(at, id, batch, dataset, kinds)
    if kinds.run and not task_lease(at, id, 'run') and needs_run(at, id, batch, dataset) then return 'run' end
    if not kinds.pack then return nil end
    for number = dataset.packed, math.min(dataset.shards, dataset.packed + SHARDS) - 1 do
      local task, shard = 'pack:' .. number, datasets.shard(at.root, id, number)
      if shard and not shard.done and not task_lease(at, id, task) then return task end
    end
    return nil
  end

  local function grant_task(at, id, task, worker, token, term)
    local shard = change.shard_of(at)
    shard.fence = (shard.fence or 0) + 1
    local lease = { token = token, worker = worker, fence = shard.fence, expires = at.time + term }
    redis.call('HSET', datasets.tasks_key(at.root, id), task, pack(lease))
    return { id, task, shard.fence }
  end

  -- ARGS: worker, token, term_ms, kinds (`run`, `pack`)...
  -- Gives a task: batch, name, fence; nil if there is none.
  local function claim_task(keys, args)
    local at, term, kinds = change.begin(keys[1]), input.number(args[3], 'term_ms'), {}
    for i = 4, #args do kinds[args[i]] = true end
    for _, id in ipairs(redis.call('ZRANGE', datasets.active_key(at.root), 0, DATASETS - 1)) do
      local dataset, batch = datasets.read(at, id)
      local name = dataset and next_task(at, id, batch, dataset, kinds)
      -- Whoever was looked at last is looked at after the others the next time.
      redis.call('ZADD', datasets.active_key(at.root), at.time, id)
      if not dataset or is_finished(at, id, batch, dataset) then redis.call('ZREM', datasets.active_key(at.root), id) end
      if name then
        local answer = grant_task(at, id, name, args[1], args[2], term)
        change.commit(at)
        return answer
      end
    end
    return false
  end

  -- ARGS: batch, task, token, term_ms
  -- Gives whether the caller still has the task, and for `run` whether there is anything to do.
  local function renew_task(keys, args)
    local at, id, name = change.begin(keys[1]), args[1], args[2]
    local lease = task_lease(at, id, name)
    if not lease or lease.token ~= args[3] then return { 0, 0 } end
    lease.expires = at.time + input.number(args[4], 'term_ms')
    redis.call('HSET', datasets.tasks_key(at.root, id), name, pack(lease))
    local dataset, batch = datasets.read(at, id)
    return { 1, dataset and needs_run(at, id, batch, dataset) and 1 or 0 }
  end

  -- ARGS: batch
  -- Has a data set be run that was taken for finished and has something to do: a version before made no index. Gives whether
  -- there is anything.
  local function look_after(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local dataset, batch = datasets.read(at, id)
    if not dataset or not needs_run(at, id, batch, dataset) then return 0 end
    redis.call('ZADD', datasets.active_key(at.root), 'NX', at.time, id)
    return 1
  end

  -- ARGS: batch, task, token
  local function release_task(keys, args)
    local at, id, name = change.begin(keys[1]), args[1], args[2]
    if holds_task(at, id, name, args[3]) then redis.call('HDEL', datasets.tasks_key(at.root, id), name) end
    return 1
  end

  -- How many of `asked` rows may be queued now; or nil, why not, and for how many milliseconds that is certain.
  local function feed_room(at, batch, dataset, window, asked)
    local why = datasets.why_held(batch, dataset)
    if why then return nil, why, 0 end
    local free = window - (batch.queued or 0)
    if free <= 0 then return nil, 'window', 0 end
    if dataset.pictures then
      local left = dataset.pictures - (batch.succeeded or 0) - datasets.in_flight(batch)
      if left <= 0 then return nil, 'window', 0 end
      free = math.min(free, left)
    end
    local limits = change.limits_of(at, batch.tenant)
    if limits.max_queued then
      free = math.min(free, limits.max_queued - counters.counted(at, 'queued', batch.tenant))
      if free <= 0 then return nil, 'tenant_queued', 0 end
    end
    free = math.min(free, asked)
    if not limits.rate then return free end
    local tokens, full = rate.tokens_of(at, batch.tenant, limits)
    free = math.min(free, math.max(1, math.floor(tokens)), math.max(1, math.floor(full)))
    local wait = rate.take_tokens(at, batch.tenant, limits, free)
    if wait > 0 then return nil, 'tenant_rate', wait end
    return free
  end

  -- A row that ended in an earlier pass counts anew.
  local function count_again(at, id, batch, row)
    local note = rows.note(at.root, id, row)
    if note == 0 then return end
    local from = 'failed'
    if note == 3 then from = (batch.canceled or 0) > 0 and 'canceled' or 'expired' end
    counters.add(batch, from, -1)
    rows.set_note(at.root, id, row, 0)
    rows.unmark(at.root, id, row)
  end

  -- Whether a row is to be queued: nobody else has queued it, and it has not ended well.
  local function is_wanted(at, id, dataset, row)
    local note = rows.note(at.root, id, row)
    if note == 1 then return false end
    if row >= dataset.high then return true end
    return note ~= 0 and (not dataset.selective or rows.is_marked(at.root, id, row))
  end

  local WIDTH = 9

  -- Queues the row that `args` tell from `first` on.
  local function queue_row(at, id, batch, dataset, args, first)
    local row = input.number(args[first], 'row')
    if not is_wanted(at, id, dataset, row) then return end
    count_again(at, id, batch, row)
    local due = input.optional(args[first + 6], 'not_before')
    submission.accept(at, rows.id(id, row, dataset.pass), {
      state = 'queued', tenant = batch.tenant, class = args[first + 3], priority = input.number(args[first + 4], 'priority'),
      spec = args[first + 5], submitted = at.time, batch = id, row = row, row_key = args[first + 1],
      group = args[first + 2] ~= '0' and input.present(args[first + 2]) or nil, due = due and due > at.time and due or nil,
      start_by = input.optional(args[first + 7], 'start_by'), finish_by = input.optional(args[first + 8], 'finish_by'),
    })
    return args[first + 3]
  end

  -- ARGS: batch, token, from, to, window, then for each row to be queued within from and to: row, key, group, class,
  -- priority, spec, not_before, start_by, finish_by
  -- Gives `queued` and the next row; or `wait`, why and for how many milliseconds; `moved` and the next row; or `lost`.
  local function feed_rows(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local from, to, window = input.number(args[3], 'from'), input.number(args[4], 'to'), input.number(args[5], 'window')
    local dataset, batch = datasets.read(at, id)
    if not dataset or not holds_task(at, id, 'run', args[2]) then return { 'lost' } end
    if dataset.cursor ~= from then return { 'moved', dataset.cursor } end
    local asked = math.floor((#args - 5) / WIDTH)
    local free, why, wait = asked, nil, nil
    if asked > 0 then free, why, wait = feed_room(at, batch, dataset, window, asked) end
    if not free then return { 'wait', why, wait } end
    local fresh = {}
    for i = 0, free - 1 do
      local class = queue_row(at, id, batch, dataset, args, 6 + i * WIDTH)
      if class then counters.add(fresh, class, 1) end
    end
    dataset.cursor = free < asked and input.number(args[6 + free * WIDTH], 'row') or math.min(to, dataset.sealed)
    if dataset.selective and dataset.cursor >= dataset.high then
      dataset.selective = nil
      -- Rows that were marked meanwhile are queued in the next pass.
      if not dataset.marked then redis.call('DEL', rows.marks_key(at.root, id)) end
    end
    dataset.high = math.max(dataset.high, dataset.cursor)
    -- New rows are among the total already.
    batch.total = dataset.sealed
    for class, count in pairs(fresh) do wakeups.wake(at, count, class) end
    datasets.write(at, id, dataset)
    change.commit(at)
    return { 'queued', dataset.cursor }
  end

  -- ARGS: batch, token, rows...
  -- Marks those of them that have failed. Gives whether the caller has the task.
  local function mark_rows(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    if not holds_task(at, id, 'run', args[2]) then return 0 end
    for i = 3, #args do
      local row = input.number(args[i], 'row')
      if rows.note(at.root, id, row) == 2 then rows.mark(at.root, id, row) end
    end
    return 1
  end

  -- ARGS: batch, token, code, segments
  -- The rows that have failed with this code are marked, as so many segments tell. Begins a pass over them, unless more has
  -- been asked for or there are more segments meanwhile. Gives whether it did.
  local function retry_marked(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local dataset = datasets.read(at, id)
    if not dataset or not holds_task(at, id, 'run', args[2]) then return 0 end
    if dataset.retries ~= args[3] or dataset.segments ~= input.number(args[4], 'segments') then return 0 end
    if datasets.may_pass(dataset) then
      rows.begin_pass(at, id, true)
      return 1
    end
    dataset.retries = nil
    datasets.write(at, id, dataset)
    return 0
  end

  -- Adds up the pictures that measures rejected: a name and a number each, from `first` on.
  local function count_rejected(dataset, count, args, first)
    dataset.counted, dataset.rejected = (dataset.counted or 0) + count, dataset.rejected or {}
    for i = first, #args, 2 do
      counters.add(dataset.rejected, args[i], input.number(args[i + 1], 'rejected'))
    end
  end

  -- ARGS: batch, token, outcomes, segment, fence, accepted, bytes, device_ms, lowest row, highest row, 1 to close the
  -- shard, then, of callers that count them, 1 and for each measure that rejected pictures its name and how many
  -- The first outcomes are in this segment now; with none, only the shard is closed. Gives whether that was taken.
  local function note_archived(keys, args)
    local at, id, count = change.begin(keys[1]), args[1], input.number(args[3], 'outcomes')
    local dataset = datasets.read(at, id)
    if not dataset or not holds_task(at, id, 'run', args[2]) then return 0 end
    if dataset.segments ~= input.number(args[4], 'segment') then return 0 end
    local outcomes = rows.outcomes_key(at.root, id)
    if count > 0 then
      local ids = redis.call('LRANGE', outcomes, 0, count - 1)
      if #ids ~= count then return 0 end
      redis.call('LTRIM', outcomes, count, -1)
      for i, job in ipairs(ids) do ids[i] = records.key(at.root, job) end
      redis.call('DEL', unpack(ids))
      local accepted = input.number(args[6], 'accepted')
      redis.call('RPUSH', datasets.segments_key(at.root, id), pack({
        input.number(args[5], 'fence'), count, accepted, input.number(args[9], 'lowest'), input.number(args[10], 'highest'),
      }))
      dataset.segments, dataset.archived = dataset.segments + 1, dataset.archived + count
      dataset.open_rows = dataset.open_rows + accepted
      dataset.open_bytes = dataset.open_bytes + input.number(args[7], 'bytes')
      dataset.spent = dataset.spent + input.number(args[8], 'device_ms')
      if args[12] == '1' then count_rejected(dataset, count, args, 13) end
    end
    if args[11] == '1' and dataset.open_rows > 0 then
      datasets.write_shard(at.root, id, dataset.shards, {
        first = dataset.open_first, last = dataset.segments - 1, rows = dataset.open_rows, bytes = dataset.open_bytes,
      })
      dataset.shards, dataset.open_first = dataset.shards + 1, dataset.segments
      dataset.open_rows, dataset.open_bytes = 0, 0
    end
    datasets.write(at, id, dataset)
    return 1
  end

  -- ARGS: batch, token, segments before, segments after, then for each bucket of rows with a new index its number and the
  -- index's name
  -- There is an index of so many segments. Gives whether that was taken.
  local function note_indexed(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local dataset, after = datasets.read(at, id), input.number(args[4], 'after')
    if not dataset or not holds_task(at, id, 'run', args[2]) then return 0 end
    if (dataset.indexed or 0) ~= input.number(args[3], 'before') or after > dataset.segments then return 0 end
    dataset.indexed = after
    datasets.write(at, id, dataset)
    for i = 5, #args, 2 do redis.call('HSET', datasets.index_key(at.root, id), args[i], args[i + 1]) end
    return 1
  end

  -- ARGS: batch, token, number of the shard, digest
  -- Notes that the caller is about to commit a shard of this digest. Gives `go`, `committed`, or `lost`.
  local function pack_intent(keys, args)
    local at, id, number = change.begin(keys[1]), args[1], args[3]
    if not holds_task(at, id, 'pack:' .. number, args[2]) then return 'lost' end
    local shard = datasets.shard(at.root, id, number)
    if not shard then return 'lost' end
    if shard.committed then return 'committed' end
    shard.intent = args[4]
    datasets.write_shard(at.root, id, number, shard)
    return 'go'
  end

  -- ARGS: batch, number of the shard, digest, a text that describes it
  -- The shard is in the store. Gives whether that was what the last intent was for.
  local function pack_commit(keys, args)
    local at, id, number = change.begin(keys[1]), args[1], args[2]
    local shard = datasets.shard(at.root, id, number)
    if not shard or shard.intent ~= args[3] then return 0 end
    if not shard.committed then
      shard.committed = args[4]
      datasets.write_shard(at.root, id, number, shard)
    end
    return 1
  end

  -- ARGS: batch, number of the shard
  -- What was staged for a committed shard is removed.
  local function pack_done(keys, args)
    local at, id, number = change.begin(keys[1]), args[1], args[2]
    local dataset, shard = datasets.read(at, id), datasets.shard(at.root, id, number)
    if not dataset or not shard or not shard.committed then return 0 end
    shard.done, shard.intent = true, nil
    datasets.write_shard(at.root, id, number, shard)
    while dataset.packed < dataset.shards do
      local next_one = datasets.shard(at.root, id, dataset.packed)
      if not next_one or not next_one.done then break end
      dataset.packed = dataset.packed + 1
    end
    datasets.write(at, id, dataset)
    return 1
  end

  -- ARGS: batch, token, shards
  -- The index and the card tell of so many shards. Whoever has lost the task may have written old ones over newer ones:
  -- they are written once more.
  local function note_described(keys, args)
    local at, id = change.begin(keys[1]), args[1]
    local dataset, held = datasets.read(at, id), holds_task(at, id, 'run', args[2])
    if not dataset then return 0 end
    dataset.described = held and input.number(args[3], 'shards') or 0
    datasets.write(at, id, dataset)
    if not held then redis.call('ZADD', datasets.active_key(at.root), 'NX', at.time, id) end
    return held and 1 or 0
  end

  register('dataset_task', claim_task, ALWAYS)
  register('dataset_renew', renew_task, ALWAYS)
  register('dataset_release', release_task, ALWAYS)
  register('dataset_look_after', look_after, ALWAYS)
  register('dataset_feed', feed_rows, NEW_WORK)
  register('dataset_mark', mark_rows, ALWAYS)
  register('dataset_retry', retry_marked, ALWAYS)
  register('dataset_archived', note_archived, ALWAYS)
  register('dataset_indexed', note_indexed, ALWAYS)
  register('dataset_pack_intent', pack_intent, ALWAYS)
  register('dataset_pack_commit', pack_commit, ALWAYS)
  register('dataset_pack_done', pack_done, ALWAYS)
  register('dataset_described', note_described, ALWAYS)
end
