
-- Dead letters: what went aside, with its raw bytes.
local letters = {}
do
  -- Adds a dead letter; gives its entry.
  function letters.add(at, reason, id, raw)
    local stream = at.root .. ':dead'
    return redis.call(
      'XADD', stream, 'MAXLEN', '~', LIMITS.DEAD_KEPT, '*', 'reason', reason, 'j', id or '', 'raw', raw
    )
  end

  -- Adds a job that has failed. Its record names the letter, so that both can be forgotten together.
  function letters.add_job(at, reason, id, record)
    record.letter = letters.add(at, reason, id, pack(record))
    redis.call('SET', records.key(at.root, id), pack(record), 'XX', 'KEEPTTL')
  end

  -- Adds a job whose record is gone or broken.
  function letters.add_broken(at, class, id, fault, tenant)
    letters.add(at, fault, id, redis.call('GET', records.key(at.root, id)) or '')
    if tenant then counters.add(at.counts, 'queued:' .. class .. ':' .. tenant, -1) end
  end
end
