use uso_queue::{LAYOUT, Queue};

use super::say;
use crate::args::MigrateArgs;

pub(crate) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let queue = Queue::connect(args.redis.config()).await?;
    queue.migrate().await?;
    say(&format!("the queue has layout {LAYOUT}; durability: {}", queue.durability()))
}
