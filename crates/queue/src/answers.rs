//! What functions answer: lists whose values have names, read from the text from which the functions make them
//! (`migrations/0001_jobs/answers.lua`), so that the two sides cannot drift apart.

use std::collections::HashMap;
use std::sync::LazyLock;

use redis::{FromRedisValue, Value};

use crate::Error;
use crate::reply::Reply;

const TEXT: &str = include_str!("../../../migrations/0001_jobs/answers.lua");

/// The names of each answer's values, in their order.
static NAMES: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| read(TEXT));

/// Finds each `answers.NAME = { 'value', ... }` of a text.
fn read(text: &str) -> HashMap<&str, Vec<&str>> {
    let parts = text.split("  answers.").skip(1);
    parts
        .filter_map(|part| {
            let (name, rest) = part.split_once(" = {")?;
            let (values, _) = rest.split_once('}')?;
            Some((name, values.split('\'').skip(1).step_by(2).collect()))
        })
        .collect()
}

/// The values of an answer by their names.
pub(crate) struct Fields {
    names: &'static [&'static str],
    values: Vec<Value>,
}

impl Fields {
    /// The values of an answer that has its name in `answers.lua`.
    pub(crate) fn of(answer: &str, reply: Reply) -> Result<Self, Error> {
        let names = NAMES.get(answer).ok_or_else(|| Error::Unreadable(format!("no answer is {answer:?}")))?;
        Ok(Self { names, values: reply.rest().collect() })
    }

    /// The same of a value that is such an answer.
    pub(crate) fn read(answer: &str, value: Value) -> Result<Self, Error> {
        Self::of(answer, Reply::list(value)?)
    }

    /// Takes the value of this name, which is nil if it is not known, or was not when the functions were written.
    pub(crate) fn take<T: FromRedisValue>(&mut self, name: &str) -> Result<T, Error> {
        let index = self.names.iter().position(|known| *known == name);
        let index = index.ok_or_else(|| Error::Unreadable(format!("an answer has no {name:?}")))?;
        let value =
            self.values.get_mut(index).map_or(Value::Nil, |value| std::mem::replace(value, Value::Nil));
        redis::from_redis_value(value).map_err(|error| Error::Unreadable(format!("{name}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{Fields, NAMES};

    fn answer(values: Vec<Value>) -> Fields {
        Fields::read("attempt", Value::Array(values)).unwrap()
    }

    #[test]
    fn values_are_found_by_their_names() {
        let mut attempt =
            answer(vec![Value::Int(5), Value::Nil, Value::BulkString(b"gone".into()), Value::Int(7)]);
        assert_eq!(attempt.take::<u64>("took").unwrap(), 7);
        assert_eq!(attempt.take::<Option<u16>>("status").unwrap(), None);
        assert_eq!(attempt.take::<String>("error").unwrap(), "gone");
        assert!(attempt.take::<u64>("when").is_err());
        assert!(Fields::read("nothing", Value::Array(vec![])).is_err());
    }

    #[test]
    fn a_version_before_tells_less_and_a_later_one_more() {
        let mut before = answer(vec![Value::Int(5)]);
        assert_eq!(before.take::<u64>("at").unwrap(), 5);
        assert_eq!(before.take::<Option<u64>>("took").unwrap(), None);
        let mut later = answer(vec![Value::Int(5), Value::Nil, Value::Nil, Value::Int(7), Value::Int(9)]);
        assert_eq!(later.take::<u64>("took").unwrap(), 7);
    }

    /// Two versions work side by side, and one of them may know the order alone.
    #[test]
    fn what_is_there_keeps_its_place() {
        for (name, first) in [
            (
                "view",
                "state tenant spec submitted version event attempt fence step of started due start_by finish_by batch \
                 retry_of retried_by need checkpoint error output aborted finished expires worker best lacking",
            ),
            ("lease", "id fence attempt claimed submitted tenant spec checkpoint finish_by batch alone"),
            ("key", "prefix digest tenant scopes note created expires revoked"),
            ("hook", "id url events secret old created disabled"),
            ("delivery", "id hook tenant job state made attempts due ended log url"),
            ("attempt", "at status error took"),
            ("claimed_delivery", "delivery claims url secret old shape endpoint"),
            ("batch", "tenant created counts paused stopped metadata expires"),
            ("batch_counts", "total queued running succeeded failed canceled expired"),
            ("limits", "tenant weight max_queued max_running rate burst paused max_stored"),
            ("allowance", "rate burst left"),
            ("depth", "delayed sized paused"),
            ("place", "ahead interactive_waiting interactive_running bulk_running held steps"),
            (
                "standing",
                "state class attempt fence version expires lease_fence lease_attempt lease_version pending \
                 shard_fence delayed apart listed",
            ),
        ] {
            let names: Vec<&str> = first.split(' ').collect();
            assert!(NAMES[name].starts_with(&names), "{name}: {:?}", NAMES[name]);
        }
    }
}
