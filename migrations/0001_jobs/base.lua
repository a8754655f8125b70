#!lua name=uso_1
--[[
Layout 1: the life of a job.

One call is one atomic change of state. Redis does not roll back, so every function checks all it
needs before its first write. KEYS[1] is the root of a shard, for example `{uso:0}`; every other name
is derived from it and shares its hash tag, hence its cluster slot. <id> is the sixteen bytes of a
job's UUID, <t> a tenant, <class> `interactive` or `bulk`, <b> the sixteen bytes of a batch's UUID.

  <root>:shard                     packed SHARD: the fence, what is paused, the order of tenants
  <root>:counts                    hash: jobs by <state>:<class>:<t>, and ghosts:<class>
  <root>:j:<id>                    packed RECORD of one job, written when it waits and when it has ended
  <root>:leases                    hash: <id> to a packed LEASE; a job with a lease is running
  <root>:steps                     hash: <id> to a packed STEP of a job with a lease that has moved on since
  <root>:stages                    hash: <id> to the stage that is under way of a job with a lease
  <root>:claim:<worker>            packed token and ids of what a worker's last claim gave, for as long as a lease
  <root>:checkpoints               hash: <id> to the newest checkpoint under the job's lease
  <root>:ready:<class>             stream with the group "workers": one pending entry a lease
  <root>:backlog:<class>:<t>:<p>   list: jobs of <t> that wait at priority <p>, the oldest first
  <root>:levels:<class>:<t>        sorted set: priorities at which <t> has a backlog
  <root>:ring:<class>              sorted set: tenants with a backlog; the lowest pass is served next
  <root>:passes:<class>            hash: passes of tenants that are not in the ring
  <root>:limits:<t>                packed LIMITS of a tenant that has any
  <root>:bucket:<t>                packed tokens and time of a tenant whose submissions are limited
  <root>:stored:<t>                hash: files that a tenant with a limit has stored, each to its size; with it lie
                                   <root>:stored_at:<t>, a sorted set of them by when, and <root>:stored_bytes:<t>,
                                   their sum
  <root>:tenants                   set: tenants with limits
  <root>:delayed:<class>           sorted set: jobs that wait for a time, by that time
  <root>:sized:<class>             sorted set: jobs too big for a worker that had them, by their need
  <root>:lacking:<class>:<lora>    sorted set: jobs that came up for a worker without this LoRA of theirs, by priority,
                                   then age
  <root>:lacked:<class>            set: the names of LoRAs that may have such a set
  <root>:suspects:<class>          sorted set: jobs at which a worker was lost and that came up for one with other
                                   work, by priority, then age
  <root>:deadlines                 sorted set: jobs with start_by or finish_by, by the next of the two
  <root>:key:<t>:<key>             packed id, digest of the spec, time, and digest of the request as it came (not
                                   in older ones) of a submission with an idempotency key
  <root>:batch_key:<t>:<key>       packed id, digest and time of a batch
  <root>:b:<b>                     packed BATCH: counters, whether paused or canceled
  <root>:members:<b>               list: all jobs of a batch, in the order of submission
  <root>:all:<t>                   list: all jobs of <t>, in the order of acceptance, also those that have ended
  <root>:shed                      hash: how many ids were dropped from the front of <root>:all:<t>, for each <t> that
                                   has one
  <root>:parked:<class>:<b>        list: jobs of a paused batch that came up for work
  <root>:parked                    set: the names of the lists of parked jobs
  <root>:d:<b>                     packed DATASET of a batch whose rows come out of a manifest
  <root>:datasets                  sorted set: batches of data sets with work left, by when they were looked at
  <root>:datasets:<t>              hash: names of the data sets of <t>, each to its <b>
  <root>:dataset_tenants           set: tenants that have data sets
  <root>:chunks:<b>                list: chunks of rows in the object store, as callers tell of them
  <root>:bits:<b>                  text: two bits for each row: 0 has not ended, 1 succeeded, 2 failed, 3 other ends
  <root>:marks:<b>                 text: a bit for each row that a pass over some rows queues; not there without one
  <root>:group:<b>:<group>         list: rows of a group that wait, and some that were taken otherwise
  <root>:groups:<b>                sorted set: groups with rows that wait, by their first row
  <root>:at_group:<b>              hash: workers to when they took their last row of which group
  <root>:outcomes:<b>              list: jobs of rows that have ended and are in no segment yet
  <root>:segments:<b>              list: segments of outcomes in the object store, each a packed list
  <root>:index:<b>                 hash: buckets of rows, each to the name of its index of segments in the object store
  <root>:shards:<b>                hash: numbers of shards, each to a packed list of what is in it
  <root>:tasks:<b>                 hash: tasks of a data set that somebody does, each to a packed lease
  <root>:sweeps                    list: batches of which something is being done to every job
  <root>:workers, <root>:seen      hash and sorted set: what workers say of themselves, and when
  <root>:wake, <root>:urgent       lists: one token for each idle worker that should look for work, and for
                                   each busy one that should look for interactive work
  <root>:idle                      sorted set: workers that found nothing to do, and when
  <root>:window                    text: the nightly window of bulk, from which its next times are worked out
  <root>:preview:<id>              the newest preview of a running job, for a short time
  <root>:watched:<id>              there for as long as somebody watches the job, and a little longer
  <root>:watching:<t>              there for as long as somebody follows all jobs of <t>, and a little longer
  <root>:events                    stream: what happened, capped
  <root>:keys                      hash: prefixes of API keys, each to a packed KEY; in the first shard alone
  <root>:session:<digest>          text: prefix of the key with which a browser logged in, for as long as that
                                   lasts; <digest> is SHA-256 of the browser's token; in the first shard alone
  <root>:sessions:<prefix>         sorted set: digests of the sessions that a key opened, by their ends; likewise
  <root>:hooks:<t>                 hash: endpoints that are told when jobs of <t> end, each a packed HOOK
  <root>:delivery:<event>.<hook>   packed DELIVERY of one end of a job to one endpoint, kept for a week
  <root>:due                       sorted set: deliveries that are to be made, by when they are looked at next
  <root>:tell                      sorted set: tenants with deliveries that are due, by when they were last served
  <root>:tell:<t>                  sorted set: their endpoints likewise, or by until when nothing is sent to them
  <root>:tell:<t>:<endpoint>       sorted set: the deliveries to an endpoint that are due; <endpoint> is a <hook>, or
                                   `default` and the host of an address that a job named itself
  <root>:circuit:<t>:<endpoint>    packed CIRCUIT of an endpoint that gave no answer lately, or asked for time
  <root>:deliveries:<t>:<hook>     list: the newest deliveries to an endpoint, capped
  <root>:dead                      stream: what went aside, with its raw bytes, capped
  <root>:reaper                    the process that reaps, with an expiry
  <root>:mark                      written only to be waited for
  <root>:layout                    the layout of the data
  <root>:shards                    the number of shards; in the first of them alone

A claim takes the best job of the backlog and delivers it through the ready stream in the same call,
so the stream never holds more than is being worked on, and order is decided as late as possible. The
age of a lease is the idle time of its entry.

A waiting job lies in exactly one place: a backlog, a delayed, sized, lacking or suspects set, or a parked list. A job
that ends while it waits in a list leaves its id there, because finding it would cost a walk: such
ghosts are counted, and dropped when they come up.
]]

local GROUP = 'workers'
local CLASSES = { 'interactive', 'bulk' }

-- Limits that several files need, or that callers know as well: a test compares them. Some are texts, because Redis
-- would write these numbers out anew in each call.
local LIMITS = {
  -- Entries of the streams.
  EVENTS_KEPT = '20000', DEAD_KEPT = '10000',
  WAKE_TOKENS = 64,
  -- How long a worker counts as idle after it found nothing; an idle one looks every second.
  IDLE_MS = 2000,
  -- For how many leases a worker may be silent before it counts as gone.
  SILENT_LEASES = 3,
  KEY_LIFE_MS = 24 * 3600 * 1000,
  -- Most waiting jobs that one claim looks at: bounds the time of a call over a backlog of ghosts.
  LOOKS = 60,
  -- Jobs of a batch that one call changes.
  SWEEP = 40,
  -- Ids that a tenant's list of all jobs keeps at most; a job whose id was lost is found by its id alone.
  MOST_LISTED = 1048576,
  -- How far a tenant of weight 1 moves with each claim; others move in proportion.
  STRIDE = 1000,
  -- Arguments of a job that asks for nothing special, and of one that does.
  PLAIN = 4, SPECIAL = 13,
  -- Bytes of a preview, and of what is noted of a checkpoint.
  MAX_PREVIEW = 256 * 1024, MAX_CHECKPOINT = 8192,
  -- How many marks a job ends with.
  POISON = 2,
  -- Sessions that a key may have at once.
  MOST_SESSIONS = 100,
}

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What callers say.
local input = {}
do
  function input.invalid(text) error({ err = 'USOINVALID ' .. text }) end

  function input.number(text, name)
    local value = tonumber(text)
    if not value then input.invalid(name .. ' is not a number') end
    return value
  end

  -- A number, or nil for an empty text.
  function input.optional(text, name)
    if text == '' then return nil end
    return input.number(text, name)
  end

  function input.present(text)
    if text == '' then return nil end
    return text
  end
end

--[[
Packed values are MessagePack maps. Times are milliseconds since 1970.
  RECORD  state tenant class priority spec submitted version event attempt fence started step of
          due (not before this) start_by finish_by batch retry_of retried_by webhook (in which shape its end is
          told, and to whom) need (what a worker must have free) lacks (the LoRA that it was laid aside for)
          checkpoint settled (the last settlement taken) error output aborted finished expires letter (its entry
          among the dead letters) row row_key group (of a data set) marks (tokens of the leases under which a worker was lost at it) crashes (the same
          in versions before, counted)
  LEASE   fence token worker entry class tenant batch attempt claimed first (whether no attempt was before)
          loras (whether it asks for any) tells_stages (whether its worker does) started finish_by version event
  STEP    a list: version, event, step, of. It is written with every step of every worker, and all that is
          written goes to the append-only file: so it is short, and what stays the same lies apart from it
  SHARD   fence, seen and outage (when it was last heard of, and last silent), run_id, streak
          (interactive claims since the last bulk one), pruned, shed (which tenant's list is looked at next),
          opens closes fill (the window of bulk), and
          for each class pass: (of the tenant served last), paused:, due: (no delayed job is due before),
          sized:, lacked: and suspects: (whether any may be); kept_free and kept_until (the worker that is to take a
          suspect once it holds nothing)
  LIMITS  weight max_queued max_running rate burst max_stored paused
  KEY     digest (SHA-256 of the secret) tenant scopes (words with spaces between) note created expires revoked link
          (the secret that signs links under it, once one was needed)
  HOOK    url events (words with spaces around) secret old old_until (the secret before signs too until then)
          created disabled (why)
  DELIVERY  tenant hook job state made attempts claims due ended log (of the last attempts) url and shape (the
          job's own)
  CIRCUIT  silent (attempts in a row without any answer), until (nothing is sent to it before)
  BATCH   tenant created metadata total queued running succeeded failed canceled expired paused stopped
          dataset (its name, for a data set)
  DATASET settings pictures seconds (the budget) rows sealed cursor high pass segments archived open_first open_rows
          open_bytes shards packed described spent selective changes discards retries indexed rejected counted (as the answer
          `dataset` tells of them) marked (whether rows are marked for a pass that has not begun)
]]

-- What a packed text holds, or nil if it is broken. Names that this version does not know are kept.
local function unpacked(text)
  local ok, values = pcall(cmsgpack.unpack, text)
  return ok and type(values) == 'table' and values or nil
end

local function pack(values) return cmsgpack.pack(values) end

-- Packed maps that are searched: that is much quicker than to unpack them.
local packed = {}
do
  -- How a map spells a short text.
  local function spelled(text)
    return (#text < 32 and string.char(160 + #text) or '\217' .. string.char(#text)) .. text
  end

  -- Whether a field has this value; an empty one asks for nothing.
  function packed.has(text, name, value)
    return value == '' or string.find(text, spelled(name) .. spelled(value), 1, true) ~= nil
  end

  -- The short text that a field has, or nil.
  function packed.value(text, name)
    local _, last = string.find(text, spelled(name), 1, true)
    local length = last and string.byte(text, last + 1)
    if length == 217 then
      last, length = last + 1, string.byte(text, last + 2)
    else
      length = length and length - 160
    end
    return length and length >= 0 and string.sub(text, last + 2, last + 1 + length) or nil
  end
end

-- Lua has room for 200 local names at a time. So each file keeps its names to itself, in a block, hands out one table
-- of what others need, and registers its functions there.

local function register(name, callback, flags)
  redis.register_function({ function_name = 'uso_1_' .. name, callback = callback, flags = flags })
end

-- Only new work may be refused when memory is full; whatever ends work must run, or nothing frees it.
local NEW_WORK, ALWAYS, READ = {}, { 'allow-oom' }, { 'no-writes' }

do
  local function clock() return now() end

  -- Writes, whatever there is, so that a `WAIT` behind it covers all that was written before.
  local function mark(keys) return redis.call('SET', keys[1] .. ':mark', '1') end

  register('clock', clock, READ)
  register('mark', mark, ALWAYS)
end
