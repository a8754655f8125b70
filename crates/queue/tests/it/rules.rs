//! Each rule of the protocol, broken once in the function library: its test must fail.
//!
//! The test binary runs itself, one test a rule, and tells it by the environment what to break
//! ([`Broken::from_environment`]). A rule whose test passes all the same is not tested.

use std::process::Stdio;

use tokio::process::Command;
use tokio::task::JoinSet;

const FROM: &str = "USO_TEST_BREAK";
const TO: &str = "USO_TEST_BREAK_INTO";

/// Rules at work at the same time: as many as a small machine has cores.
const AT_ONCE: usize = 2;

/// A text of the library and what stands there instead.
pub(crate) struct Broken {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Broken {
    /// What this process is to break, if anything.
    pub(crate) fn from_environment() -> Option<Self> {
        Some(Self { from: std::env::var(FROM).ok()?, to: std::env::var(TO).ok()? })
    }
}

/// The rule, the text that keeps it, what breaks it, and the test that must notice.
type Rule = (&'static str, &'static str, &'static str, &'static str);

const ORDER: &[Rule] = &[
    (
        "interactive before bulk",
        "local order = CLASSES",
        "local order = { 'bulk', 'interactive' }",
        "order::interactive_work_goes_before_bulk_then_priority_then_age",
    ),
    (
        "a higher priority before a lower",
        "-priority, priority)",
        "priority, priority)",
        "order::interactive_work_goes_before_bulk_then_priority_then_age",
    ),
    (
        "bulk gets one claim in twenty",
        "(shard.streak or 0) + 1 >= bulk_every",
        "false",
        "fairness::bulk_gets_one_claim_in_twenty_under_an_endless_interactive_flood",
    ),
    (
        "tenants share by weight",
        "STRIDE / (limits_of(at, tenant).weight or 1)",
        "STRIDE",
        "fairness::tenants_share_by_weight_over_any_hundred_claims",
    ),
    (
        "leaving and coming back gains nothing",
        "math.max(own, shard_of(at)['pass:' .. class] or 0)",
        "own",
        "fairness::leaving_and_coming_back_gains_nothing",
    ),
    (
        "a job that comes back keeps its age",
        "returned and 'LPUSH' or 'RPUSH'",
        "'RPUSH'",
        "order::a_job_that_comes_back_keeps_its_age",
    ),
    (
        "no more jobs in flight than the tenant may have",
        "counted(at, 'running', tenant) >= limits.max_running",
        "false",
        "fairness::a_tenant_runs_no_more_than_it_may_and_others_go_on",
    ),
    (
        "a paused tenant waits",
        "return not limits.paused",
        "return true",
        "fairness::a_paused_tenant_or_class_waits_until_it_may_go_on",
    ),
    (
        "a paused class waits",
        " or shard['paused:' .. class]",
        "",
        "fairness::a_paused_tenant_or_class_waits_until_it_may_go_on",
    ),
    (
        "a job too big for a worker is not offered to it again",
        "'-inf', capacity, 'LIMIT'",
        "'-inf', '+inf', 'LIMIT'",
        "fairness::a_job_too_big_for_one_worker_goes_to_a_larger_one_and_holds_up_nobody",
    ),
    (
        "a job too big for all is blocked",
        "record.best = best_capacity(root)",
        "record.best = record.need",
        "fairness::a_job_too_big_for_one_worker_goes_to_a_larger_one_and_holds_up_nobody",
    ),
    (
        "one submission wakes one idle worker",
        "math.min(WAKE_TOKENS, waiting + jobs)",
        "WAKE_TOKENS",
        "order::one_submission_wakes_one_idle_worker",
    ),
    (
        "interactive work wakes a busy worker",
        "local urgent = class == 'interactive' and not has_idle_worker(at)",
        "local urgent = false",
        "order::interactive_work_leaves_busy_workers_alone_while_one_is_idle",
    ),
    (
        "but none while one is idle",
        "local urgent = class == 'interactive' and not has_idle_worker(at)",
        "local urgent = class == 'interactive'",
        "order::interactive_work_leaves_busy_workers_alone_while_one_is_idle",
    ),
    (
        "bulk work waits for its window",
        "if class == 'bulk' and not bulk_is_open(at) then return nil end",
        "",
        "window::bulk_work_waits_for_its_window_and_interactive_work_does_not",
    ),
    (
        "a closed window opens again",
        "(shard_of(at).closes or 0) <= at.time",
        "false",
        "window::a_closed_window_opens_again_on_the_next_day_because_the_reaper_says_when",
    ),
    (
        "a late leader does not bring an old window back",
        "if args[5] == '1' and",
        "if false and",
        "window::a_leader_that_is_late_does_not_bring_an_old_window_back",
    ),
    (
        "bulk work fills an idle fleet only where it may",
        "return shard.fill and",
        "return",
        "window::bulk_work_waits_for_its_window_and_interactive_work_does_not",
    ),
    (
        "and only while no interactive work waits",
        "return shard.fill and redis.call('EXISTS', at.root .. ':ring:interactive') == 0",
        "return shard.fill",
        "window::an_operator_may_let_bulk_work_fill_an_idle_fleet",
    ),
];

const LEASES: &[Rule] = &[
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

const WATCHING: &[Rule] = &[
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

const LIFE: &[Rule] = &[
    (
        "a hand-back spends no attempt",
        "record.attempt = lease.attempt > 1 and lease.attempt - 1 or nil",
        "record.attempt = lease.attempt",
        "life::a_released_job_waits_again_and_has_spent_no_attempt",
    ),
    (
        "a settlement may be repeated",
        "if record and record.settled == mark then return 1 end",
        "",
        "life::a_settlement_whose_answer_was_lost_may_be_repeated",
    ),
    (
        "a settlement deletes its entry",
        "redis.call('XDEL', ready, lease.entry)",
        "",
        "life::an_ended_job_leaves_nothing_but_its_record_which_expires",
    ),
    (
        "records of ended jobs expire",
        ", 'PXAT', record.expires)",
        ")",
        "life::an_ended_job_leaves_nothing_but_its_record_which_expires",
    ),
    (
        "every event has the next version",
        "local version = (job.version or 0) + 1",
        "local version = (job.version or 0) + 2",
        "life::a_job_goes_from_submission_to_its_picture_and_tells_so",
    ),
    (
        "attempts are limited",
        "if args[6] == '1' and record.attempt < attempts then",
        "if args[6] == '1' then",
        "life::a_retryable_failure_is_tried_three_times",
    ),
    (
        "a permanent failure is not tried again",
        "if args[6] == '1' and record.attempt < attempts then",
        "if record.attempt < attempts then",
        "life::a_permanent_failure_ends_the_job",
    ),
    (
        "what is broken goes to the dead letters with its bytes",
        "bury(at, fault, id, redis.call('GET', job_key(at.root, id)) or '')",
        "",
        "life::a_broken_entry_goes_aside_alone_and_holds_up_nobody",
    ),
    (
        "retries wait",
        "record.due = delay > 0 and at.time + delay or nil",
        "record.due = nil",
        "endings::a_failed_attempt_is_followed_by_a_pause",
    ),
    (
        "spent jobs go to the dead letters",
        "if args[6] == '1' then bury_job(at, 'attempts spent', id, record) end",
        "",
        "endings::a_job_whose_attempts_are_spent_is_a_dead_letter_that_can_be_tried_again",
    ),
    (
        "a job is repeated once",
        "if record.retried_by then return record.retried_by end",
        "",
        "endings::an_ended_job_can_be_repeated_once",
    ),
    (
        "canceling again gives the same answer",
        "if record.state ~= 'queued' then return { record.state, 0 } end",
        "if record.state ~= 'queued' then return { 'failed', 0 } end",
        "endings::a_waiting_job_is_canceled_at_once_and_again",
    ),
    (
        "a running job's lease ends with its cancellation",
        "  local lease = lease_of(at.root, id)\n  if lease then\n    close",
        "  local lease = lease_of(at.root, id)\n  if false then\n    close",
        "endings::a_running_job_is_canceled_at_once_and_its_worker_learns_of_it",
    ),
    (
        "what never started is told apart",
        "if not record.started then record.aborted = true end",
        "",
        "endings::a_waiting_job_is_canceled_at_once_and_again",
    ),
    (
        "only a job that has ended is forgotten",
        "if record.state == 'queued' then return 0 end",
        "",
        "endings::only_a_job_that_has_ended_can_be_forgotten",
    ),
    (
        "its dead letter goes along",
        "if record.letter then redis.call('XDEL', root .. ':dead', record.letter) end",
        "",
        "endings::a_forgotten_job_leaves_no_dead_letter_and_no_gap_in_its_list",
    ),
    (
        "a record that names its letter still expires",
        "pack(record), 'XX', 'KEEPTTL')\nend\n\n-- ARGS: id, fence, token, step",
        "pack(record))\nend\n\n-- ARGS: id, fence, token, step",
        "endings::a_forgotten_job_leaves_no_dead_letter_and_no_gap_in_its_list",
    ),
    (
        "deadlines are kept with no worker alive",
        "  reap_deadlines(at, retention, counts)\n  reap_delays",
        "  reap_delays",
        "endings::a_job_that_was_not_begun_in_time_expires_with_no_worker_alive",
    ),
    (
        "deadlines are kept at the claim",
        "  if ends and ends <= at.time then\n    expire",
        "  if false then\n    expire",
        "endings::a_job_that_comes_too_late_to_a_worker_expires_at_the_claim",
    ),
    (
        "deadlines are kept between steps",
        "if lease.finish_by and lease.finish_by <= now() then",
        "if false then",
        "endings::a_running_job_expires_at_its_finish_by",
    ),
    (
        "a job waits for its time",
        "record.due = due and due > time and due or nil",
        "record.due = nil",
        "endings::a_job_waits_for_its_time",
    ),
    (
        "a batch is paused",
        "if batch and batch.paused then",
        "if false then",
        "batches::a_paused_batch_lets_others_go_first_and_goes_on_in_its_old_order",
    ),
    (
        "a canceled batch takes no more",
        "if batch and batch.stopped and not earlier then",
        "if false then",
        "batches::a_batch_of_any_size_is_canceled",
    ),
    (
        "a batch counts its jobs",
        "    if to then add(batch, to, 1) end\n",
        "",
        "batches::a_batch_counts_its_jobs_and_its_events_name_it",
    ),
    (
        "the reaper ends what a dead process began",
        "if redis.call('EXISTS', root .. ':sweeps') == 1 then counts.again = 1 end",
        "",
        "batches::what_a_dead_process_began_the_reaper_ends",
    ),
    (
        "a batch is its tenant's",
        "if batch and batch.tenant ~= name then",
        "if false then",
        "batches::a_batch_is_its_tenants_alone",
    ),
];

const SUBMISSIONS: &[Rule] = &[
    (
        "a key is one job",
        "if job.key then remember_key(at, name, job) end",
        "",
        "submit::the_same_key_and_body_is_the_same_job",
    ),
    (
        "a key with another body is refused",
        "return earlier[1], earlier[2] ~= job.digest",
        "return earlier[1], false",
        "submit::the_same_key_with_another_body_is_refused",
    ),
    (
        "a key is kept for a day",
        "if earlier[3] + KEY_LIFE_MS <= at.time then return nil end",
        "",
        "submit::a_key_is_forgotten_after_a_day",
    ),
    (
        "no more jobs wait than may",
        "if queued and queued + #fresh > limits.max_queued then",
        "if false then",
        "submit::a_tenant_queues_no_more_than_it_may",
    ),
    (
        "no more jobs come per second than may",
        "if wait > 0 then return",
        "if false then return",
        "submit::a_tenant_submits_no_faster_than_it_may",
    ),
    (
        "a full server refuses new work",
        "local NEW_WORK, ALWAYS, READ = {}",
        "local NEW_WORK, ALWAYS, READ = { 'allow-oom' }",
        "functions::a_full_server_refuses_new_work_and_finishes_the_old",
    ),
    (
        "and finishes the old",
        "{}, { 'allow-oom' }",
        "{}, {}",
        "functions::a_full_server_refuses_new_work_and_finishes_the_old",
    ),
    (
        "all names have the prefix",
        "redis.call('SET', root .. ':reaper'",
        "redis.call('SET', 'reaper'",
        "functions::the_library_runs_for_a_user_who_may_touch_only_its_prefix",
    ),
    (
        "a call is checked before its first write",
        "  if class ~= 'interactive' and class ~= 'bulk' then invalid('unknown class') end\n  if #id",
        "  if #id",
        "functions::a_call_with_wrong_arguments_writes_nothing",
    ),
];

const LISTS: &[Rule] = &[
    (
        "every accepted job is listed",
        "  table.insert(at.fresh[record.tenant], id)\n",
        "",
        "browse::the_newest_job_comes_first_and_each_filter_leaves_the_others_out",
    ),
    (
        "a list loses the ids of jobs that are gone",
        "  shed(at, tenant, 2 * #ids)\n",
        "",
        "browse::pages_stay_in_step_while_jobs_come_and_go",
    ),
    (
        "what it lost is counted",
        "if lost > 0 then redis.call('HINCRBY'",
        "if false then redis.call('HINCRBY'",
        "browse::pages_stay_in_step_while_jobs_come_and_go",
    ),
    (
        "also where nothing is submitted any more",
        "    shed(at, tenant, SHED)\n",
        "",
        "browse::the_list_of_a_tenant_who_has_left_is_cleared_by_the_reaper",
    ),
    (
        "a batch is shown to its tenant alone",
        "if not record or record.tenant ~= tenant then return nil end",
        "if not record then return nil end",
        "browse::the_jobs_of_a_batch_are_found_newest_first",
    ),
    (
        "a job that runs does not wait",
        " or redis.call('HEXISTS', root .. ':leases', id) == 1) then return nil end",
        ") then return nil end",
        "browse::the_newest_job_comes_first_and_each_filter_leaves_the_others_out",
    ),
    (
        "a batch with a known key is the earlier one",
        "if earlier and earlier[3] + KEY_LIFE_MS > at.time then",
        "if false then",
        "batches::a_batch_is_accepted_as_a_whole_and_its_repetition_is_the_same",
    ),
    (
        "but only for the same request",
        "earlier[2] == digest and 'repeated' or 'batch_key_reused'",
        "'repeated'",
        "batches::a_batch_is_accepted_as_a_whole_and_its_repetition_is_the_same",
    ),
    (
        "and only for a day",
        "earlier and earlier[3] + KEY_LIFE_MS > at.time",
        "earlier",
        "batches::a_batch_is_accepted_as_a_whole_and_its_repetition_is_the_same",
    ),
];

/// Whether the rule's test fails once the rule is broken.
async fn is_noticed((rule, from, to, test): Rule) -> Result<(), String> {
    let run = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads", "1"])
        .envs([(FROM, from), (TO, to)])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    if said.contains("the library has no") || !said.contains("running 1 test") {
        Err(format!("{rule}: it could not be broken, or {test} is not there"))
    } else if run.status.success() {
        Err(format!("{rule}: {test} does not notice"))
    } else {
        Ok(())
    }
}

#[tokio::test]
async fn each_broken_rule_is_noticed_by_its_test() {
    let mut faults = Vec::new();
    let mut checks: JoinSet<Result<(), String>> = JoinSet::new();
    for rule in [ORDER, LEASES, WATCHING, LIFE, SUBMISSIONS, LISTS].concat() {
        if checks.len() == AT_ONCE {
            faults.extend(checks.join_next().await.unwrap().unwrap().err());
        }
        checks.spawn(is_noticed(rule));
    }
    faults.extend(checks.join_all().await.into_iter().filter_map(Result::err));
    assert!(faults.is_empty(), "{faults:#?}");
}
