//! Rows of data sets, and the tasks that they need.

use super::Rule;

pub(super) const DATASETS: &[Rule] = &[
    (
        "a name is one data set",
        "if redis.call('HSETNX', names_key(at.root, tenant), name, id) == 0 then",
        "if redis.call('HSET', names_key(at.root, tenant), name, id) == 7 then",
        "datasets::a_name_is_made_once_and_a_chunk_is_added_once",
    ),
    (
        "a chunk is added behind the rows that its sender knows",
        "if dataset.rows ~= before or after <= before then return dataset.rows end",
        "",
        "datasets::a_name_is_made_once_and_a_chunk_is_added_once",
    ),
    (
        "a task is one process's",
        "return lease and lease.expires > at.time and lease or nil",
        "return nil",
        "datasets::a_task_is_one_process_at_a_time_and_a_late_one_changes_nothing",
    ),
    (
        "a late process queues nothing",
        "if not dataset or not holds_task(at, id, 'run', args[2]) then return { 'lost' } end",
        "",
        "datasets::a_task_is_one_process_at_a_time_and_a_late_one_changes_nothing",
    ),
    (
        "what is queued is not queued again",
        "if dataset.cursor ~= from then return { 'moved', dataset.cursor } end",
        "",
        "datasets::a_task_is_one_process_at_a_time_and_a_late_one_changes_nothing",
    ),
    (
        "a segment has one number",
        "if dataset.segments ~= input.number(args[4], 'segment') then return 0 end",
        "",
        "datasets::a_row_goes_from_the_store_to_a_segment_and_leaves_nothing_but_two_bits",
    ),
    (
        "what is in a segment leaves the queue",
        "redis.call('DEL', unpack(ids))",
        "",
        "datasets::a_row_goes_from_the_store_to_a_segment_and_leaves_nothing_but_two_bits",
    ),
    (
        "an outcome waits for its segment",
        "redis.call('RPUSH', rows.outcomes_key(at.root, record.batch), id)",
        "",
        "datasets::a_row_goes_from_the_store_to_a_segment_and_leaves_nothing_but_two_bits",
    ),
    (
        "a window is never overfull",
        "local free = window - (batch.queued or 0)",
        "local free = window",
        "datasets::a_window_and_the_tenants_limits_are_waited_for",
    ),
    (
        "a tenant's limit holds",
        "free = math.min(free, limits.max_queued - counters.counted(at, 'queued', batch.tenant))",
        "",
        "datasets::a_window_and_the_tenants_limits_are_waited_for",
    ),
    (
        "a budget of pictures counts what is under way",
        "local left = dataset.pictures - (batch.succeeded or 0) - datasets.in_flight(batch)",
        "local left = dataset.pictures - (batch.succeeded or 0)",
        "datasets::a_budget_stops_it_and_a_larger_one_lets_it_go_on",
    ),
    (
        "a row that succeeded is not queued again",
        "if note == 1 then return false end",
        "",
        "datasets::a_retry_queues_the_failed_rows_alone_and_they_count_once",
    ),
    (
        "a row that has not ended is not queued again",
        "return note ~= 0 and (not dataset.selective or rows.is_marked(at.root, id, row))",
        "return true",
        "datasets::a_retry_queues_the_failed_rows_alone_and_they_count_once",
    ),
    (
        "a shard is committed by the holder of its task",
        "if not holds_task(at, id, 'pack:' .. number, args[2]) then return 'lost' end",
        "",
        "datasets::a_shard_is_committed_by_whoever_holds_its_task_and_then_cleared",
    ),
    (
        "a shard is what was intended",
        "if not shard or shard.intent ~= args[3] then return 0 end",
        "if not shard then return 0 end",
        "datasets::a_shard_is_committed_by_whoever_holds_its_task_and_then_cleared",
    ),
    (
        "a data set with nothing left to do is looked at no more",
        "if not dataset or is_finished(at, id, batch, dataset) then redis.call('ZREM', datasets.active_key(at.root), id) end",
        "",
        "datasets::a_data_set_with_nothing_left_to_do_asks_for_no_task",
    ),
    (
        "a worker stays at its group",
        "local id = own and take_row(at, batch, own, backlog)",
        "local id = nil",
        "datasets::rows_of_a_group_go_to_one_worker_while_there_are_others_to_begin",
    ),
    (
        "a worker begins a group that nobody is at",
        "if group ~= own and not others[group] then",
        "if group ~= own then",
        "datasets::rows_of_a_group_go_to_one_worker_while_there_are_others_to_begin",
    ),
    (
        "a pass over some rows queues no other",
        "return note ~= 0 and (not dataset.selective or rows.is_marked(at.root, id, row))",
        "return note ~= 0",
        "dataset_passes::replaced_rows_are_queued_anew_and_the_other_failed_ones_are_not",
    ),
    (
        "a pass over some rows forgets none of a pass over all",
        "dataset.selective = only_marked and is_over or nil",
        "dataset.selective = only_marked or nil",
        "dataset_passes::a_pass_over_some_rows_does_not_cut_one_over_all_short",
    ),
    (
        "a row with a picture is not replaced",
        "if note == 1 then return 'succeeded' end",
        "",
        "dataset_passes::rows_that_are_made_or_being_made_are_kept_and_named",
    ),
    (
        "a row that is being made is not replaced",
        "if not record or leases.of(at.root, job) then return 'running' end",
        "",
        "dataset_passes::rows_that_are_made_or_being_made_are_kept_and_named",
    ),
    (
        "a chunk is replaced by whoever knows it",
        "if there ~= args[3] then return { 'moved' } end",
        "",
        "dataset_passes::rows_that_are_made_or_being_made_are_kept_and_named",
    ),
    (
        "whoever has read a chunk that was replaced queues nothing of it",
        "redis.call('HDEL', datasets.tasks_key(at.root, id), 'run')",
        "",
        "dataset_passes::replaced_rows_are_queued_anew_and_the_other_failed_ones_are_not",
    ),
    (
        "all segments tell of the rows that are retried",
        "if dataset.retries ~= args[3] or dataset.segments ~= input.number(args[4], 'segments') then return 0 end",
        "",
        "dataset_passes::one_reason_is_retried_once_its_rows_are_marked",
    ),
    (
        "started rows are not dropped",
        "keep = math.max(keep, dataset.sealed)",
        "",
        "dataset_passes::rows_go_by_chunks_while_none_of_them_may_be_queued",
    ),
];
