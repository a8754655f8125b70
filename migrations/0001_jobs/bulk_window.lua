
-- The nightly window of bulk work.
local bulk_window = {}
do
  -- Whether bulk work may start now. Without a window it always may.
  function bulk_window.is_open(at)
    local shard = change.shard_of(at)
    if not shard.closes or (shard.opens <= at.time and at.time < shard.closes) then return true end
    return shard.fill and redis.call('EXISTS', at.root .. ':ring:interactive') == 0
  end

  -- ARGS: window, opens, closes, fill, 1 to keep to the window that is set; an empty window removes it
  -- Bulk starts only from `opens` to `closes`, or with `fill` also when nothing interactive waits. Gives 0 if
  -- another window has been set meanwhile.
  local function window(keys, args)
    local at, text = change.begin(keys[1]), args[1]
    local opens, closes = input.optional(args[2], 'opens'), input.optional(args[3], 'closes')
    if (text == '') ~= (opens == nil) or (opens == nil) ~= (closes == nil) or (opens and opens >= closes) then
      input.invalid('a window opens before it closes')
    end
    if args[5] == '1' and redis.call('GET', at.root .. ':window') ~= text then return 0 end
    local shard = change.shard_of(at)
    shard.opens, shard.closes, shard.fill = opens, closes, args[4] == '1' or nil
    if text == '' then
      redis.call('DEL', at.root .. ':window')
    else
      redis.call('SET', at.root .. ':window', text)
    end
    wakeups.wake(at, LIMITS.WAKE_TOKENS)
    change.commit(at)
    return 1
  end

  local function window_view(keys)
    local shard = change.shard_of(change.begin(keys[1]))
    local window = redis.call('GET', keys[1] .. ':window')
    if not window then return false end
    return { window, shard.opens, shard.closes }
  end

  register('window', window, ALWAYS)
  register('window_view', window_view, READ)
end
