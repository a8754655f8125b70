//! Work in, and the lists it can be found by.

use super::Rule;

pub(super) const SUBMISSIONS: &[Rule] = &[
    (
        "a key is one job",
        "if job.key then remember_key(at, name, job) end",
        "",
        "submit::the_same_key_and_body_is_the_same_job",
    ),
    (
        "a key with another body is refused",
        "return earlier[1], not same",
        "return earlier[1], false",
        "submit::the_same_key_with_another_body_is_refused",
    ),
    (
        "a key is kept for a day",
        "if earlier[3] + LIMITS.KEY_LIFE_MS <= at.time then return nil end",
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
        "  if class ~= 'interactive' and class ~= 'bulk' then input.invalid('unknown class') end\n    if #id",
        "  if #id",
        "functions::a_call_with_wrong_arguments_writes_nothing",
    ),
];

pub(super) const LISTS: &[Rule] = &[
    (
        "every accepted job is listed",
        "  table.insert(at.fresh[record.tenant], id)\n",
        "",
        "browse::the_newest_job_comes_first_and_each_filter_leaves_the_others_out",
    ),
    (
        "a list loses the ids of jobs that are gone",
        "  listing.trim(at, tenant, 2 * #ids)\n",
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
        "    listing.trim(at, tenant, TRIM)\n",
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
        " or redis.call('HEXISTS', root .. ':leases', id) == 1)",
        ")",
        "browse::the_newest_job_comes_first_and_each_filter_leaves_the_others_out",
    ),
    (
        "a batch with a known key is the earlier one",
        "if earlier and earlier[3] + LIMITS.KEY_LIFE_MS > at.time then",
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
        "earlier and earlier[3] + LIMITS.KEY_LIFE_MS > at.time",
        "earlier",
        "batches::a_batch_is_accepted_as_a_whole_and_its_repetition_is_the_same",
    ),
];
