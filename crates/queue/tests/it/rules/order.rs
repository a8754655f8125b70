//! Who is served next.

use super::Rule;

pub(super) const ORDER: &[Rule] = &[
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
        "LIMITS.STRIDE / (change.limits_of(at, tenant).weight or 1)",
        "LIMITS.STRIDE",
        "fairness::tenants_share_by_weight_over_any_hundred_claims",
    ),
    (
        "leaving and coming back gains nothing",
        "math.max(own, change.shard_of(at)['pass:' .. class] or 0)",
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
        "counters.counted(at, 'running', tenant) >= limits.max_running",
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
        "a job too big for all is blocked",
        "record.best = fleet.best_capacity(root, heard)",
        "record.best = record.need",
        "fairness::a_job_too_big_for_one_worker_goes_to_a_larger_one_and_holds_up_nobody",
    ),
    (
        "a worker gets no job whose LoRAs it lacks",
        "if not has[name] then return name end",
        "",
        "loras::a_job_goes_to_a_worker_that_has_its_loras_and_holds_up_nobody",
    ),
    (
        "a job whose LoRAs nobody has is blocked",
        "if not best[name] then table.insert(missing, name) end",
        "",
        "loras::a_job_whose_loras_no_live_worker_has_is_blocked_and_names_them",
    ),
    (
        "whoever has the LoRAs is woken",
        "if loras.holds(at.root, id, record) then wakeups.wake(at, 1, class) end",
        "",
        "loras::the_worker_that_has_them_is_woken_by_the_one_that_has_not",
    ),
    (
        "those laid aside keep their order",
        "record.submitted - record.priority * loras.PRIORITY_MS",
        "0",
        "loras::those_laid_aside_keep_their_order_of_priority_and_age",
    ),
    (
        "size and LoRAs must both fit",
        "elseif given and record.need and record.need > offer.capacity then",
        "elseif false then",
        "loras::size_and_loras_must_both_fit",
    ),
    (
        "one submission wakes one idle worker",
        "math.min(LIMITS.WAKE_TOKENS, tokens + jobs)",
        "LIMITS.WAKE_TOKENS",
        "order::one_submission_wakes_one_idle_worker",
    ),
    (
        "interactive work wakes a busy worker",
        "local urgent = class == 'interactive' and not wakeups.has_idle_worker(at)",
        "local urgent = false",
        "order::interactive_work_leaves_busy_workers_alone_while_one_is_idle",
    ),
    (
        "but none while one is idle",
        "local urgent = class == 'interactive' and not wakeups.has_idle_worker(at)",
        "local urgent = class == 'interactive'",
        "order::interactive_work_leaves_busy_workers_alone_while_one_is_idle",
    ),
    (
        "bulk work waits for its window",
        "if class == 'bulk' and not bulk_window.is_open(at) then return nil end",
        "",
        "window::bulk_work_waits_for_its_window_and_interactive_work_does_not",
    ),
    (
        "a closed window opens again",
        "(change.shard_of(at).closes or 0) <= at.time",
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
