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
        "return note ~= 0 or row >= dataset.high",
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
];
