//! Answers of functions: lists whose places have fixed meanings.

use redis::{FromRedisValue, Value};

use crate::Error;

/// The values of an answer, in order.
pub(crate) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// The values of a list; none for Redis' nil.
    pub(crate) fn of(value: Value) -> Result<Option<Self>, Error> {
        match value {
            Value::Nil => Ok(None),
            Value::Array(values) => Ok(Some(Self(values.into_iter()))),
            other => Err(Error::Unreadable(format!("a list was expected, not {other:?}"))),
        }
    }

    /// The values of a list that must be there.
    pub(crate) fn list(value: Value) -> Result<Self, Error> {
        Self::of(value)?.ok_or_else(|| Error::Unreadable("a list was expected, not nil".into()))
    }

    /// The next value, which must be there.
    pub(crate) fn next<T: FromRedisValue>(&mut self) -> Result<T, Error> {
        let value = self.0.next().ok_or_else(|| Error::Unreadable("the answer is too short".into()))?;
        redis::from_redis_value(value).map_err(|error| Error::Unreadable(error.to_string()))
    }

    /// What is left, all of one kind.
    pub(crate) fn all<T: FromRedisValue>(self) -> Result<Vec<T>, Error> {
        let all = self.0.map(redis::from_redis_value).collect::<Result<_, _>>();
        all.map_err(|error| Error::Unreadable(error.to_string()))
    }

    /// What is left.
    pub(crate) fn rest(self) -> impl Iterator<Item = Value> {
        self.0
    }
}
