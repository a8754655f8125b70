//! Where a waiting job stands.

use crate::answers::Fields;
use crate::{Class, Error, JobView, Queue, State};

/// What comes before a job. Within a call's bounds: of very long backlogs and of very many tenants it is an
/// estimate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueuePosition {
    /// Jobs of its class that are claimed before it, those of other tenants by their weights.
    pub ahead: u64,
    /// Interactive jobs that wait, of all tenants of its shard.
    pub interactive_waiting: u64,
    /// Interactive jobs that workers hold.
    pub interactive_running: u64,
    /// Bulk jobs that workers hold.
    pub bulk_running: u64,
    /// Whether a pause or the closed nightly window keeps it waiting, for a time that is not known here.
    pub paused: bool,
    /// Steps of the jobs of its tenant that come first, on average of those nearest to it; none if there are none.
    pub steps: Option<f64>,
}

impl Queue {
    /// Where a waiting job stands; none if it does not wait in a backlog.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn position(&self, job: &JobView) -> Result<Option<QueuePosition>, Error> {
        if job.state != State::Queued || job.due_ms.is_some() || job.blocked.is_some() {
            return Ok(None);
        }
        self.ask_position(&job.tenant, job.class, job.spec.priority, job.id.bytes()).await.map(Some)
    }

    /// Where a job would stand if it were submitted now.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn position_of_new(
        &self,
        tenant: &str,
        class: Class,
        priority: i32,
    ) -> Result<QueuePosition, Error> {
        self.ask_position(tenant, class, priority, &[]).await
    }

    async fn ask_position(
        &self,
        tenant: &str,
        class: Class,
        priority: i32,
        id: &[u8],
    ) -> Result<QueuePosition, Error> {
        let mut command = self.function(self.shard_of(tenant), "place");
        command.arg(tenant).arg(class.as_str()).arg(priority).arg(id);
        let mut place = Fields::read("place", self.0.connection.call(&command).await?)?;
        Ok(QueuePosition {
            ahead: place.take("ahead")?,
            interactive_waiting: place.take("interactive_waiting")?,
            interactive_running: place.take("interactive_running")?,
            bulk_running: place.take("bulk_running")?,
            paused: place.take("held")?,
            steps: place.take("steps")?,
        })
    }
}
