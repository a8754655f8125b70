
-- What functions answer: the names of an answer's values, in their order. Callers find each value by its name in this
-- same text. Callers of a version before know the order alone: nothing moves, and what is new comes last.
local answers = {}
do
  -- A job. `due`: not before this; `need`: what a worker must have free; `best`: the most that any has, if that is
  -- less; `lacking`: names of LoRAs that no worker has, with spaces between.
  answers.view = {
    'state', 'tenant', 'spec', 'submitted', 'version', 'event', 'attempt', 'fence', 'step', 'of', 'started', 'due',
    'start_by', 'finish_by', 'batch', 'retry_of', 'retried_by', 'need', 'checkpoint', 'error', 'output', 'aborted',
    'finished', 'expires', 'worker', 'best', 'lacking', 'row', 'row_key',
  }
  -- A job that a worker has claimed. `alone`: nothing else may run beside it.
  answers.lease = {
    'id', 'fence', 'attempt', 'claimed', 'submitted', 'tenant', 'spec', 'checkpoint', 'finish_by', 'batch', 'alone',
    'row',
  }
  -- A key of the API.
  answers.key = { 'prefix', 'digest', 'tenant', 'scopes', 'note', 'created', 'expires', 'revoked' }
  -- An endpoint of a tenant. `old`: the secret that signs too; `disabled`: why nothing is sent to it.
  answers.hook = { 'id', 'url', 'events', 'secret', 'old', 'created', 'disabled' }
  -- One end of a job that an endpoint is told of. `log`: a list of attempts.
  answers.delivery = {
    'id', 'hook', 'tenant', 'job', 'state', 'made', 'attempts', 'due', 'ended', 'log', 'url',
  }
  answers.attempt = { 'at', 'status', 'error', 'took' }
  -- A delivery that the caller is to make. `claims`: how often it was claimed.
  answers.claimed_delivery = { 'delivery', 'claims', 'url', 'secret', 'old', 'shape', 'endpoint' }
  -- A batch. `counts`: what `batch_counts` names.
  answers.batch = { 'tenant', 'created', 'counts', 'paused', 'stopped', 'metadata', 'expires' }
  answers.batch_counts = { 'total', 'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired' }
  -- A data set. `sealed`: rows that may be queued; `cursor`: the next of them in this pass; `high`: rows that were queued
  -- at least once; `archived`: outcomes in segments; `open_*`: of the shard that takes rows; `packed`: shards that are
  -- committed, with all before them; `described`: shards that the index tells of; `spent`: device time in milliseconds;
  -- `held`: why no rows are queued; `waiting`: outcomes in no segment yet; `selective`: whether this pass queues marked rows
  -- alone; `changes`: how often chunks were replaced; `discards`: how often rows were dropped; `retries`: the code with which rows have failed that are to be made
  -- again, and are looked for; `indexed`: segments of which there is an index; `rejected`: pictures that measures rejected,
  -- as JSON, in `counted` outcomes.
  answers.dataset = {
    'name', 'settings', 'rows', 'sealed', 'cursor', 'high', 'pass', 'segments', 'archived', 'open_first', 'open_rows',
    'open_bytes', 'shards', 'packed', 'described', 'spent', 'pictures', 'seconds', 'held', 'waiting',
    'selective', 'changes', 'discards', 'retries', 'indexed', 'rejected', 'counted',
  }
  -- A shard: its segments, what is in it; `intent`: digest of what is about to be committed; `committed`: a text that
  -- describes what is.
  answers.dataset_shard = { 'first', 'last', 'rows', 'bytes', 'intent', 'committed', 'done' }
  -- How much a tenant may use.
  answers.limits = { 'tenant', 'weight', 'max_queued', 'max_running', 'rate', 'burst', 'paused', 'max_stored' }
  -- How fast a tenant may submit: jobs a second, most at once, and how many now.
  answers.allowance = { 'rate', 'burst', 'left' }
  -- Jobs of a class. `sized`: too big for the worker that had them.
  answers.depth = { 'delayed', 'sized', 'paused' }
  -- Where a waiting job stands. `held`: by a pause or the nightly window; `steps`: of its tenant's jobs that come
  -- first, on average.
  answers.place = {
    'ahead', 'interactive_waiting', 'interactive_running', 'bulk_running', 'held', 'steps',
  }
  -- Where a job lies, for a check of the whole queue. `pending`: how often its entry is pending and names it;
  -- `delayed`, `apart` and `listed`: how often it lies in the delayed set, in the sized, lacking and suspects sets, and
  -- in lists.
  answers.standing = {
    'state', 'class', 'attempt', 'fence', 'version', 'expires', 'lease_fence', 'lease_attempt', 'lease_version',
    'pending', 'shard_fence', 'delayed', 'apart', 'listed', 'tenant',
  }
  -- Jobs of a class. `entries` and `pending`: of the ready stream; `delayed`, `apart` and `parked`: as of a standing;
  -- `ghosts`: ids in lists whose jobs have ended.
  answers.tally = { 'entries', 'pending', 'delayed', 'apart', 'parked', 'ghosts' }
  -- Jobs of a class and tenant, as the counters have them and as they are found, in backlogs and with leases.
  answers.tenant_tally = { 'queued', 'listed', 'running', 'leased' }

  -- The answer of this name with these values.
  function answers.build(name, values)
    local answer = {}
    for i, field in ipairs(answers[name]) do answer[i] = values[field] or false end
    return answer
  end
end
