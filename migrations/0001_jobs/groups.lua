
-- Rows that share what is encoded for them go to one worker, as far as there are enough groups for all.
local groups = {}
do
  -- How long a worker counts as being at a group after its last row of it.
  local AT_WORK_MS = 60 * 1000
  -- Groups, and rows of one, that a claim looks at.
  local GROUPS, ROWS = 50, 20
  -- How far from its front a row is looked for in a backlog, which may hold any number of other jobs.
  local NEAR = 3000

  local function workers_key(root, batch) return root .. ':at_group:' .. batch end

  -- The group that a worker is at, and those that others are at.
  local function groups_at_work(at, batch, worker)
    local own, others = nil, {}
    local all = redis.call('HGETALL', workers_key(at.root, batch))
    for i = 1, #all, 2 do
      local since, group = string.match(all[i + 1], '^(%d+) (.*)$')
      if since and tonumber(since) + AT_WORK_MS > at.time then
        if all[i] == worker then own = group else others[group] = true end
      else
        redis.call('HDEL', workers_key(at.root, batch), all[i])
      end
    end
    return own, others
  end

  -- Takes the first row of a group out of a backlog; nil if none is in it.
  local function take_row(at, batch, group, backlog)
    local list = rows.group_key(at.root, batch, group)
    for _ = 1, ROWS do
      local id = redis.call('LPOP', list)
      if not id then break end
      if redis.call('LPOS', backlog, id, 'MAXLEN', NEAR) and redis.call('LREM', backlog, 1, id) == 1 then return id end
    end
    if redis.call('EXISTS', list) == 0 then redis.call('ZREM', rows.groups_key(at.root, batch), group) end
    return nil
  end

  -- A row of the worker's own group, or of one that nobody is at, out of this backlog; nil if there is none. The second
  -- value is the group.
  local function find_row(at, batch, worker, backlog)
    local own, others = groups_at_work(at, batch, worker)
    local id = own and take_row(at, batch, own, backlog)
    if id then return id, own end
    for _, group in ipairs(redis.call('ZRANGE', rows.groups_key(at.root, batch), 0, GROUPS - 1)) do
      if group ~= own and not others[group] then
        id = take_row(at, batch, group, backlog)
        if id then return id, group end
      end
    end
    return nil
  end

  -- For a worker that was about to get the row `id` of a data set, the row of its batch and backlog that suits what the
  -- worker has encoded already: `id` goes back then. Gives the id of the row that it gets.
  function groups.prefer(at, id, record, worker)
    local backlog = waiting.backlog_key(at.root, record.class, record.tenant, record.priority)
    redis.call('LPUSH', backlog, id)
    local chosen, group = find_row(at, record.batch, worker, backlog)
    if not chosen then
      redis.call('LPOP', backlog)
      chosen, group = id, record.group
    end
    redis.call('HSET', workers_key(at.root, record.batch), worker, at.time .. ' ' .. group)
    redis.call('PEXPIRE', workers_key(at.root, record.batch), AT_WORK_MS)
    return chosen
  end
end
