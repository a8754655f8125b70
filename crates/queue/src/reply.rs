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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis::Value;

    use super::Reply;
    use crate::{Defaults, JobId, JobSpec, JobView};

    /// Values as a record has them, and others.
    fn values() -> impl Strategy<Value = Value> {
        let spec = JobSpec::parse(&serde_json::json!({}), &Defaults::default()).unwrap();
        let texts = ["queued", "running", "tenant", "5-0", "1", "{}", &serde_json::to_string(&spec).unwrap()];
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let leaf = prop_oneof![
            prop::sample::select(texts).prop_map(Value::BulkString),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::BulkString),
            any::<i64>().prop_map(Value::Int),
            Just(Value::Nil),
        ];
        leaf.prop_recursive(2, 80, 40, |inner| prop::collection::vec(inner, 0..40).prop_map(Value::Array))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn no_answer_makes_a_reader_panic(answer in values()) {
            if let Ok(Some(reply)) = Reply::of(answer) {
                let _ = JobView::read(JobId::new(0), reply);
            }
        }

        #[test]
        fn values_are_read_back_in_their_order(numbers in prop::collection::vec(any::<i64>(), 0..9)) {
            let answer = Value::Array(numbers.iter().copied().map(Value::Int).collect());
            let mut reply = Reply::list(answer).unwrap();
            for number in numbers {
                prop_assert_eq!(reply.next::<i64>().unwrap(), number);
            }
            prop_assert!(reply.next::<i64>().is_err());
        }
    }
}
