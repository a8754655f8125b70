
-- A tenant's jobs, the newest first.

-- Ids that one call looks at where each has its record read, and where its time to live tells enough.
local BROWSE_LOOKS, BROWSE_GLANCES = 400, 2000
local BROWSE_PART = 200

-- How a packed map spells a short field: to look for it is much quicker than to unpack the map.
local function spelled(name, value)
  local function text(of) return (#of < 32 and string.char(160 + #of) or '\217' .. string.char(#of)) .. of end
  return text(name) .. text(value)
end

local function has(text, name, value)
  return value == '' or string.find(text, spelled(name, value), 1, true) ~= nil
end

-- The record of a job if it is one of those wanted. Records of jobs that have ended expire, others do not.
local function wanted_record(root, id, tenant, state, class)
  local key = job_key(root, id)
  local waits = state == 'queued'
  if waits and (redis.call('PTTL', key) ~= -1 or redis.call('HEXISTS', root .. ':leases', id) == 1) then return nil end
  local text = redis.call('GET', key)
  if not text or not has(text, 'state', state) or not has(text, 'class', class) then return nil end
  local record = read(root, id)
  if not record or record.tenant ~= tenant then return nil end
  if (state ~= '' and record.state ~= state) or (class ~= '' and record.class ~= class) then return nil end
  return record
end

-- ARGS: tenant, state but `running`, class, batch, place, enough; an empty one asks for nothing
-- Goes back along all jobs of the tenant or of a batch, from before `place` or from the end. Gives the place to go on
-- from, 0 at the end; then what `view` gives of each job found, its id in front.
local function browse(keys, args)
  local root, tenant, state, class, batch = keys[1], args[1], args[2], args[3], args[4]
  local place, enough = optional(args[5], 'place'), number(args[6], 'enough')
  local waits = state == 'queued'
  if waits and counted(begin(root), 'queued', tenant) == 0 then return { 0 } end
  local list, lost = all_key(root, tenant), tonumber(redis.call('HGET', root .. ':shed', tenant) or 0)
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
        table.insert(answer, { ids[i], unpack(describe(root, ids[i], record, lease_of(root, ids[i]), heard)) })
      end
    end
  end
  if last >= 0 then answer[1] = last + lost + 1 end
  return answer
end

-- ARGS: tenant, class or nothing
-- Gives the bytes of the tenant's jobs with a lease.
local function at_work(keys, args)
  local answer, leases = {}, redis.call('HGETALL', keys[1] .. ':leases')
  for i = 1, #leases, 2 do
    if has(leases[i + 1], 'tenant', args[1]) and has(leases[i + 1], 'class', args[2]) then
      table.insert(answer, leases[i])
    end
  end
  return answer
end

-- ARGS: id...
-- Gives what `view` gives of each job that is there, its id in front.
local function views(keys, args)
  local root, answer, heard = keys[1], {}, {}
  for _, id in ipairs(args) do
    local record = read(root, id)
    if record then table.insert(answer, { id, unpack(describe(root, id, record, lease_of(root, id), heard)) }) end
  end
  return answer
end
