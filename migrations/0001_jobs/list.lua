
-- Jobs that have something in common.
do
  -- Jobs that one call of `list` looks at.
  local LIST_LOOKS = 200

  -- The next jobs on the shortest way to those that are wanted: a batch's members, the jobs with a lease, or
  -- all records. Gives the cursor to go on with, '0' at the end.
  local function next_jobs(root, cursor, state, batch)
    local ids = {}
    if batch ~= '' then
      local first = input.number(cursor, 'cursor')
      ids = redis.call('LRANGE', root .. ':members:' .. batch, first, first + LIST_LOOKS - 1)
      return #ids < LIST_LOOKS and '0' or tostring(first + LIST_LOOKS), ids
    elseif state == 'running' then
      local reply = redis.call('HSCAN', root .. ':leases', cursor, 'COUNT', LIST_LOOKS)
      for i = 1, #reply[2], 2 do table.insert(ids, reply[2][i]) end
      return reply[1], ids
    end
    local prefix = records.key(root, '')
    local reply = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', LIST_LOOKS)
    for _, key in ipairs(reply[2]) do table.insert(ids, string.sub(key, #prefix + 1)) end
    return reply[1], ids
  end

  -- ARGS: cursor, state, tenant, class, batch; an empty one asks for nothing
  -- Gives the next cursor, then what `view` gives of each job met that is asked for, its id in front; of a job
  -- with a broken record, whatever is asked for, its id alone.
  local function list(keys, args)
    local root, state, tenant, class, batch = keys[1], args[2], args[3], args[4], args[5]
    if not batch then input.invalid('arguments are missing') end
    local cursor, ids = next_jobs(root, args[1], state, batch)
    local answer, heard = { cursor }, {}
    for _, id in ipairs(ids) do
      local record, fault = records.read(root, id)
      local lease = record and leases.of(root, id)
      if fault == 'broken record' then
        table.insert(answer, { id })
      elseif record and (state == '' or state == (lease and 'running' or record.state))
        and (tenant == '' or tenant == record.tenant) and (class == '' or class == record.class)
        and (batch == '' or batch == record.batch) then
        table.insert(answer, job_view.named(root, id, record, lease, heard))
      end
    end
    return answer
  end

  register('list', list, READ)
end
