
-- Who watches jobs.
local watching = {}
function watching.key(root, id) return root .. ':watched:' .. id end

-- What happened to jobs, in one stream.
local events = {}
do
  -- Appends an event about a job; `job` is its record or its lease. One text is quicker to append than
  -- a field for each part: name, version, attempt, tenant, data.
  function events.emit(at, id, job, name, data)
    local version = (job.version or 0) + 1
    -- Nobody follows all rows of a data set: only of one that is watched there is anything to be heard.
    if job.row and redis.call('EXISTS', watching.key(at.root, id)) == 0 then
      job.version, job.event = version, job.event or '0-0'
      return
    end
    local text = name .. ' ' .. version .. ' ' .. (job.attempt or 0) .. ' ' .. job.tenant .. ' ' .. (data or '')
    local stream = at.root .. ':events'
    job.version = version
    if job.batch then
      job.event = redis.call('XADD', stream, 'MAXLEN', '~', LIMITS.EVENTS_KEPT, '*', 'j', id, 'e', text, 'b', job.batch)
    else
      job.event = redis.call('XADD', stream, 'MAXLEN', '~', LIMITS.EVENTS_KEPT, '*', 'j', id, 'e', text)
    end
  end
end
