//! From waiting to an end.

use super::Rule;

pub(super) const LIFE: &[Rule] = &[
    (
        "a hand-back spends no attempt",
        "record.attempt = lease.attempt > 1 and lease.attempt - 1 or nil\n      -- A job that was handed back",
        "record.attempt = lease.attempt\n      -- A job that was handed back",
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
        "letters.add(at, fault, id, redis.call('GET', records.key(at.root, id)) or '')",
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
        "if args[6] == '1' and not record.row then letters.add_job(at, 'attempts spent', id, record) end",
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
        "  local lease = leases.of(at.root, id)\n    if lease then\n      leases.close",
        "  local lease = leases.of(at.root, id)\n    if false then\n      leases.close",
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
        "if record.state == 'queued' or record.row then return 0 end",
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
        "pack(record), 'XX', 'KEEPTTL')\n  end\n\n  -- Adds a job whose record",
        "pack(record))\n  end\n\n  -- Adds a job whose record",
        "endings::a_forgotten_job_leaves_no_dead_letter_and_no_gap_in_its_list",
    ),
    (
        "deadlines are kept with no worker alive",
        "    reap_deadlines(at, retention, counts)\n    reap_delays",
        "    reap_delays",
        "endings::a_job_that_was_not_begun_in_time_expires_with_no_worker_alive",
    ),
    (
        "deadlines are kept at the claim",
        "  if ends and ends <= at.time then\n      outcome.expire",
        "  if false then\n      outcome.expire",
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
        "    if to then counters.add(batch, to, 1) end\n",
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
