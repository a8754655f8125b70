
-- Who may come in: keys of the API and sessions of browsers. All of them lie in the first shard.
do
  -- A key that opens something now, or nil.
  local function open_key(at, prefix)
    local text = redis.call('HGET', at.root .. ':keys', prefix)
    local key = text and unpacked(text)
    if not key or key.revoked or (key.expires and key.expires <= at.time) then return nil end
    return key
  end

  local function key_values(prefix, key)
    return answers.build('key', {
      prefix = prefix, digest = key.digest, tenant = key.tenant, scopes = key.scopes, note = key.note,
      created = key.created, expires = key.expires, revoked = key.revoked,
    })
  end

  -- ARGS: prefix, digest of the secret, tenant, scopes, note, how long it lasts in milliseconds or empty
  -- Gives the new key, or nil if the prefix is taken.
  local function key_add(keys, args)
    local at, prefix, life = change.begin(keys[1]), args[1], input.optional(args[6], 'life')
    if prefix == '' or #args[2] ~= 32 or args[3] == '' then input.invalid('not a key') end
    local key = {
      digest = args[2], tenant = args[3], scopes = args[4], note = args[5], created = at.time,
      expires = life and at.time + life,
    }
    if redis.call('HSETNX', at.root .. ':keys', prefix, pack(key)) == 0 then return false end
    return key_values(prefix, key)
  end

  -- ARGS: prefix
  -- Gives the key if it opens anything now.
  local function key_find(keys, args)
    local key = open_key(change.begin(keys[1]), args[1])
    return key and key_values(args[1], key) or false
  end

  -- Gives all keys, those too that no longer open anything; of one that cannot be read its prefix alone.
  local function key_list(keys)
    local answer, all = {}, redis.call('HGETALL', keys[1] .. ':keys')
    for i = 1, #all, 2 do
      local key = unpacked(all[i + 1])
      table.insert(answer, key and key_values(all[i], key) or { all[i] })
    end
    return answer
  end

  -- ARGS: prefix
  -- Gives the key as it is now, or nil if there is none. One that cannot be read is removed.
  local function key_revoke(keys, args)
    local at, prefix = change.begin(keys[1]), args[1]
    local text = redis.call('HGET', at.root .. ':keys', prefix)
    if not text then return false end
    local key = unpacked(text)
    if not key then
      redis.call('HDEL', at.root .. ':keys', prefix)
      return { prefix }
    end
    key.revoked = key.revoked or at.time
    redis.call('HSET', at.root .. ':keys', prefix, pack(key))
    return key_values(prefix, key)
  end

  -- ARGS: prefix, a secret
  -- Gives the key if it opens anything now, and the secret that signs links under it, which is this one if there was
  -- none.
  local function key_link(keys, args)
    local at, prefix = change.begin(keys[1]), args[1]
    if #args[2] ~= 32 then input.invalid('not a secret') end
    local key = open_key(at, prefix)
    if not key then return false end
    if not key.link then
      key.link = args[2]
      redis.call('HSET', at.root .. ':keys', prefix, pack(key))
    end
    return { key_values(prefix, key), key.link }
  end

  local function session_key(root, digest) return root .. ':session:' .. digest end
  local function sessions_key(root, prefix) return root .. ':sessions:' .. prefix end

  -- ARGS: digest of the session's token, prefix of the key that opened it, how long it lasts in milliseconds
  -- Gives 0 if the key opens nothing now. Where the key has too many sessions, the one that would end first ends.
  local function session_open(keys, args)
    local at, life = change.begin(keys[1]), input.number(args[3], 'life')
    if #args[1] ~= 32 then input.invalid('not a digest') end
    if not open_key(at, args[2]) then return 0 end
    local all = sessions_key(at.root, args[2])
    redis.call('ZREMRANGEBYSCORE', all, '-inf', at.time)
    redis.call('ZADD', all, at.time + life, args[1])
    local over = redis.call('ZCARD', all) - LIMITS.MOST_SESSIONS
    if over > 0 then
      for _, digest in ipairs(redis.call('ZRANGE', all, 0, over - 1)) do
        redis.call('ZREM', all, digest)
        redis.call('DEL', session_key(at.root, digest))
      end
    end
    redis.call('PEXPIRE', all, life)
    redis.call('SET', session_key(at.root, args[1]), args[2], 'PX', life)
    return 1
  end

  -- ARGS: digest
  -- Gives the key that opened the session, as long as both last.
  local function session_find(keys, args)
    local at = change.begin(keys[1])
    local prefix = redis.call('GET', session_key(at.root, args[1]))
    local key = prefix and open_key(at, prefix)
    return key and key_values(prefix, key) or false
  end

  -- ARGS: digest
  local function session_end(keys, args)
    local prefix = redis.call('GET', session_key(keys[1], args[1]))
    if prefix then redis.call('ZREM', sessions_key(keys[1], prefix), args[1]) end
    return redis.call('DEL', session_key(keys[1], args[1]))
  end

  register('key_add', key_add, NEW_WORK)
  register('key_revoke', key_revoke, ALWAYS)
  register('key_link', key_link, ALWAYS)
  register('session_open', session_open, NEW_WORK)
  register('session_end', session_end, ALWAYS)
  register('key_find', key_find, READ)
  register('key_list', key_list, READ)
  register('session_find', session_find, READ)
end
