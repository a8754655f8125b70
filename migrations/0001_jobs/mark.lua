
-- Writes, whatever there is, so that a `WAIT` behind it covers all that was written before.
local function mark(keys) return redis.call('SET', keys[1] .. ':mark', '1') end
