//! Sessions of browsers that logged in with a key.

use std::time::Duration;

use super::keys::{KeyView, SHARD};
use super::secret::SessionToken;
use crate::{Error, Queue};

impl Queue {
    /// Opens a session for whoever showed the key with a prefix; none if the key is not valid now. A key may have
    /// [`MAX_SESSIONS`](crate::MAX_SESSIONS) at once: with one more, the one that would end first ends.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unreachable`].
    pub async fn open_session(&self, prefix: &str, life: Duration) -> Result<Option<SessionToken>, Error> {
        let token = SessionToken::new();
        let mut command = self.function(SHARD, "session_open");
        command.arg(&token.digest()[..]).arg(prefix).arg(life.as_millis() as u64);
        Ok(self.0.connection.accept::<bool>(&command).await?.then_some(token))
    }

    /// The key that opened a session, as long as both last.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn find_session(&self, token: &SessionToken) -> Result<Option<KeyView>, Error> {
        let mut command = self.function(SHARD, "session_find");
        KeyView::read_optional(self.0.connection.call(command.arg(&token.digest()[..])).await?)
    }

    /// Ends a session, if there is one.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn end_session(&self, token: &SessionToken) -> Result<(), Error> {
        let mut command = self.function(SHARD, "session_end");
        let _: u8 = self.0.connection.accept(command.arg(&token.digest()[..])).await?;
        Ok(())
    }
}
