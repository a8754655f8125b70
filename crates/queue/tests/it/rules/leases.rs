//! Work out to workers, and what they and their watchers say and hear.

use super::Rule;

pub(super) const LEASES: &[Rule] = &[
    (
        "the fence must be the current one",
        "lease.fence == fence and lease.token",
        "lease.token",
        "leases::fence_and_token_must_both_be_right",
    ),
    (
        "the token must be the current one",
        " and lease.token == token",
        "",
        "leases::fence_and_token_must_both_be_right",
    ),
    (
        "the fence rises with every claim",
        "(shard.fence or 0) + 1",
        "(shard.fence or 1)",
        "leases::a_late_result_is_refused_once_another_worker_holds_the_job",
    ),
    (
        "renewing makes a lease young",
        "redis.call('XCLAIM', root .. ':ready:' .. lease.class, GROUP, lease.worker, 0, lease.entry, 'JUSTID')",
        "",
        "leases::renewing_makes_a_lease_young_again",
    ),
    (
        "after an outage nothing is reaped for a lease",
        "if silence > lease_ms / 3 then",
        "if false then",
        "leases::after_an_outage_leases_get_their_time_again_and_nobody_is_blamed",
    ),
    (
        "what expires then spends no attempt",
        "local blameless = at.time - pending[3] <= outage",
        "local blameless = false",
        "leases::after_an_outage_leases_get_their_time_again_and_nobody_is_blamed",
    ),
    (
        "a restart of the server is an outage",
        "shard.run_id ~= run_id",
        "false",
        "leases::after_a_restart_of_the_server_leases_get_their_time_again",
    ),
    (
        "a job that killed two workers is poison",
        "local poison = record.crashes >= POISON",
        "local poison = false",
        "leases::a_job_that_killed_two_workers_is_set_aside_as_poison",
    ),
    (
        "crashes spend attempts",
        "if poison or record.attempt >= attempts then",
        "if poison then",
        "leases::crashes_and_failures_together_stay_within_the_attempts",
    ),
    (
        "one process reaps",
        "if holder and holder ~= owner then return false end",
        "",
        "leases::only_one_process_reaps",
    ),
    (
        "a young lease is left alone",
        "GROUP, 'IDLE', lease_ms, '-'",
        "GROUP, 'IDLE', 0, '-'",
        "leases::a_young_lease_is_left_alone",
    ),
    (
        "a consumer that holds something is never deleted",
        "consumer[4] == 0 and ",
        "",
        "leases::a_silent_consumer_is_forgotten_only_when_it_holds_nothing",
    ),
    (
        "a reclaimed job carries its newest checkpoint",
        "  record.checkpoint = checkpoint_of(at.root, id, record)\n",
        "",
        "leases::whoever_gets_a_job_next_gets_its_newest_checkpoint",
    ),
    (
        "a checkpoint is fenced",
        "  if not holds(lease, fence, args[3]) then return 0 end\n  redis.call('HSET', root .. ':checkpoints'",
        "  if not lease then return 0 end\n  redis.call('HSET', root .. ':checkpoints'",
        "leases::whoever_gets_a_job_next_gets_its_newest_checkpoint",
    ),
    (
        "a checkpoint's record is small",
        "if not text or #text > 1024 then",
        "if not text then",
        "functions::a_call_with_wrong_arguments_writes_nothing",
    ),
    (
        "progress is fenced",
        "  if not holds(lease, fence, args[3]) then return 0 end\n  if lease.finish_by",
        "  if not lease then return 0 end\n  if lease.finish_by",
        "leases::a_late_result_is_refused_once_another_worker_holds_the_job",
    ),
    (
        "a preview is fenced",
        "  if not holds(lease, fence, args[3]) then return 0 end\n  redis.call('SET', root .. ':preview:'",
        "  if not lease then return 1 end\n  redis.call('SET', root .. ':preview:'",
        "leases::the_newest_preview_is_there_for_a_while_and_an_event_says_so",
    ),
    (
        "setting aside is fenced",
        "  if not holds(lease, fence, args[3]) then return 0 end\n  emit({ root = root }, id, lease, name)",
        "  if not lease then return 0 end\n  emit({ root = root }, id, lease, name)",
        "leases::a_late_result_is_refused_once_another_worker_holds_the_job",
    ),
    (
        "setting aside tells only what it means",
        "if name ~= 'set_aside' and name ~= 'resumed' then",
        "if false then",
        "functions::a_call_with_wrong_arguments_writes_nothing",
    ),
    (
        "a lease that ends takes its step along",
        "  redis.call('HDEL', root .. ':steps', id)\n",
        "",
        "life::an_ended_job_leaves_nothing_but_its_record_which_expires",
    ),
    (
        "a lease that ends takes its checkpoint along",
        "  redis.call('HDEL', root .. ':checkpoints', id)\n",
        "",
        "life::an_ended_job_leaves_nothing_but_its_record_which_expires",
    ),
    (
        "a step writes only what it changes",
        "  redis.call('HSET', root .. ':steps', id,",
        "  redis.call('HSET', root .. ':leases', id, pack(lease))\n  redis.call('HSET', root .. ':steps', id,",
        "volume::a_step_writes_little_whatever_the_lease_holds",
    ),
    (
        "when the window closes, bulk work is asked back",
        "(over and 2 or 0)",
        "0",
        "window::when_the_window_closes_a_holder_is_asked_to_hand_back",
    ),
];

pub(super) const WATCHING: &[Rule] = &[
    (
        "a worker learns that somebody watches",
        "return is_watched(root, id, lease) and 2 or 1",
        "return 1",
        "watch::a_worker_learns_with_its_next_step_that_somebody_watches",
    ),
    (
        "who watches says so again and again",
        "redis.call('SET', watched_key(root, id), '1', 'PX', life)",
        "redis.call('SET', watched_key(root, id), '1')",
        "watch::a_worker_learns_with_its_next_step_that_somebody_watches",
    ),
    (
        "whoever follows a tenant does not watch its bulk work",
        "return lease.class == 'interactive' and redis.call('EXISTS', watching_key",
        "return redis.call('EXISTS', watching_key",
        "watch::whoever_follows_a_tenant_watches_what_is_drawn_for_people",
    ),
    (
        "a job that has ended is not watched",
        "if not record or record.state ~= 'queued' then return 0 end",
        "if not record then return 0 end",
        "watch::nobody_watches_what_has_ended_or_never_was",
    ),
    (
        "nor one that never was",
        "if not record or record.state ~= 'queued' then return 0 end",
        "if record and record.state ~= 'queued' then return 0 end",
        "watch::nobody_watches_what_has_ended_or_never_was",
    ),
    (
        "a job is wanted elsewhere only by a worker that is idle",
        "return lease.class == 'bulk' and has_idle_worker(at)",
        "return lease.class == 'bulk'",
        "wanted::a_bulk_job_is_wanted_elsewhere_while_a_worker_is_idle",
    ),
    (
        "a job with LoRAs is kept",
        " and not lease.loras",
        "",
        "wanted::a_job_whose_loras_an_idle_worker_may_lack_is_not_wanted_elsewhere",
    ),
    (
        "an interactive job is kept",
        "return lease.class == 'bulk' and has_idle_worker(at)",
        "return has_idle_worker(at)",
        "wanted::a_bulk_job_is_wanted_elsewhere_while_a_worker_is_idle",
    ),
    (
        "nobody takes a job of a class that is paused",
        "and not shard_of(at)['paused:bulk'] and not",
        "and not",
        "wanted::a_job_that_nobody_could_claim_is_not_wanted_elsewhere",
    ),
    (
        "nor one of a tenant that is",
        " and not limits_of(at, lease.tenant).paused",
        "",
        "wanted::a_job_that_nobody_could_claim_is_not_wanted_elsewhere",
    ),
    (
        "nor one outside its window",
        "has_idle_worker(at) and bulk_is_open(at)",
        "has_idle_worker(at)",
        "wanted::a_job_that_nobody_could_claim_is_not_wanted_elsewhere",
    ),
    (
        "a silent worker is not there",
        "now() - silence",
        "0",
        "watch::a_worker_that_falls_silent_is_not_there",
    ),
];
