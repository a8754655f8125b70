
-- What is kept of each job.
local records = {}
do
  function records.key(root, id) return root .. ':j:' .. id end

  -- The record, or nil and what is wrong with it.
  function records.read(root, id)
    local text = redis.call('GET', records.key(root, id))
    if not text then return nil, 'no record' end
    local record = unpacked(text)
    if not record or not record.state or not record.spec then return nil, 'broken record' end
    return record
  end
end
