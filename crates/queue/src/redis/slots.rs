//! Which node of a cluster has which keys.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Arg, Cmd, Value};

/// Host and port.
pub(super) type NodeName = (String, u16);

const SLOTS: u16 = 16384;

/// The primaries of a cluster, and their slots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// By its last slot: the first slot of a range, and whose it is.
    ranges: BTreeMap<u16, (u16, NodeName)>,
    /// What nodes have said since.
    moved: BTreeMap<u16, NodeName>,
    /// All nodes, replicas too: whom to ask who is a primary now.
    pub(super) nodes: BTreeSet<NodeName>,
}

impl Slots {
    /// Reads the answer to `CLUSTER SLOTS` of the node at `host`. Each entry has the first and the last slot
    /// of a range, then its nodes, the primary first, each with host and port.
    pub(super) fn read(answer: Value, host: &str) -> Option<Self> {
        let Value::Array(entries) = answer else { return None };
        let mut slots = Self::default();
        for entry in entries {
            let Value::Array(entry) = entry else { return None };
            let mut entry = entry.into_iter();
            let (Some(Value::Int(first)), Some(Value::Int(last))) = (entry.next(), entry.next()) else {
                return None;
            };
            let nodes: Vec<Option<NodeName>> = entry.map(|node| node_name(node, host)).collect();
            slots.nodes.extend(nodes.iter().flatten().cloned());
            // A primary that the node itself does not know how to reach is no help.
            if let Some(Some(primary)) = nodes.into_iter().next() {
                slots.ranges.insert(u16::try_from(last).ok()?, (u16::try_from(first).ok()?, primary));
            }
        }
        Some(slots)
    }

    /// Who has a slot.
    pub(super) fn primary(&self, slot: u16) -> Option<&NodeName> {
        let range = || self.ranges.range(slot..).next().filter(|(_, (first, _))| *first <= slot);
        self.moved.get(&slot).or_else(|| range().map(|(_, (_, primary))| primary))
    }

    pub(super) fn primaries(&self) -> BTreeSet<&NodeName> {
        self.ranges.values().map(|(_, primary)| primary).collect()
    }

    /// Takes in what a node says with `MOVED`: the slot, and who has it now. An empty host is the host of
    /// the node that says so.
    pub(super) fn note_moved(&mut self, slot: u16, address: &str, host: &str) {
        let Some((named, port)) = address.rsplit_once(':') else { return };
        let named = if named.is_empty() { host } else { named.trim_matches(['[', ']']) };
        if let Ok(port) = port.parse() {
            self.moved.insert(slot, (named.to_owned(), port));
        }
    }
}

fn node_name(node: Value, host: &str) -> Option<NodeName> {
    let Value::Array(node) = node else { return None };
    let mut node = node.into_iter();
    let named: Option<String> = redis::from_redis_value(node.next()?).ok()?;
    let port = redis::from_redis_value(node.next()?).ok()?;
    match named.as_deref() {
        Some("?") => None,
        None | Some("") => Some((host.to_owned(), port)),
        Some(named) => Some((named.to_owned(), port)),
    }
}

/// The slot of a command: that of its first key. Our functions are given one key; all other commands
/// that are routed have theirs in the first place.
pub(super) fn slot_of(command: &Cmd) -> u16 {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(word) => word,
        _ => &b""[..],
    });
    let function = words.next() == Some(b"FCALL");
    slot_of_key(words.nth(if function { 2 } else { 0 }).unwrap_or_default())
}

/// Only what is between the first braces counts, where there is something between them.
pub(super) fn slot_of_key(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as Redis' cluster specification asks for.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, nodes: &[(Value, i64)]) -> Value {
        let node = |(host, port): &(Value, i64)| {
            Value::Array(vec![host.clone(), Value::Int(*port), text("id"), Value::Array(vec![])])
        };
        let mut entry = vec![Value::Int(first), Value::Int(last)];
        entry.extend(nodes.iter().map(node));
        Value::Array(entry)
    }

    fn name(host: &str, port: u16) -> NodeName {
        (host.into(), port)
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in
            [("foo", 12182), ("bar", 5061), ("{foo}.x", 12182), ("a{foo}{bar}", 12182), ("{}foo", 9500)]
        {
            assert_eq!(slot_of_key(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn a_command_goes_where_its_key_is() {
        let mut call = redis::cmd("FCALL");
        call.arg("uso_1_claim").arg(1).arg("{foo}").arg("bar");
        assert_eq!(slot_of(&call), 12182);
        assert_eq!(slot_of(redis::cmd("XRANGE").arg("{foo}:dead").arg("-").arg("+")), 12182);
    }

    #[test]
    fn the_map_is_read_and_corrected() {
        let answer = Value::Array(vec![
            range(0, 5460, &[(text("one"), 1), (text("four"), 4)]),
            range(5461, 10922, &[(Value::Nil, 2), (text("?"), 5)]),
            range(10923, 16000, &[(text(""), 3)]),
        ]);
        let mut slots = Slots::read(answer, "asked").unwrap();
        assert_eq!(slots.primary(0), Some(&name("one", 1)));
        assert_eq!(slots.primary(5460), Some(&name("one", 1)));
        assert_eq!(slots.primary(5461), Some(&name("asked", 2)));
        assert_eq!(slots.primary(16000), Some(&name("asked", 3)));
        assert_eq!(slots.primary(16001), None, "nobody has it");
        assert_eq!(slots.primaries().len(), 3);
        assert_eq!(slots.nodes.len(), 4, "replicas too");

        slots.note_moved(7, "two:2", "one");
        slots.note_moved(8, ":9", "one");
        slots.note_moved(9, "[::1]:9", "one");
        assert_eq!(slots.primary(7), Some(&name("two", 2)));
        assert_eq!(slots.primary(8), Some(&name("one", 9)));
        assert_eq!(slots.primary(9), Some(&name("::1", 9)));
        assert_eq!(slots.primary(10), Some(&name("one", 1)));
        assert_eq!(Slots::read(Value::Nil, "asked"), None);
    }
}
