//! Records what a computation allocates, moves and multiplies, from sizes alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Serialize;

use crate::weights::StoredType;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    /// Name of the operation.
    pub(crate) name: &'static str,
    /// Bytes that it allocates, including its own working memory.
    pub(crate) allocates: u64,
    /// Bytes that are freed between it and the next operation.
    pub(crate) frees: u64,
    /// Operations of products; a multiplication with its addition counts as two.
    pub(crate) flops: u64,
    /// Whether its products are in float32.
    pub(crate) wide: bool,
    /// The type of the numbers of its products, if they have eight bits.
    pub(crate) eight_bits: Option<StoredType>,
    /// Bytes that it reads and writes.
    pub(crate) moves: u64,
    /// How often it runs, with the same memory each time.
    pub(crate) times: u64,
    /// Whether it belongs to attention over all tokens.
    pub(crate) in_attention: bool,
    /// Kernels that it launches each time.
    pub(crate) launches: u64,
    /// Whether a kernel of our own does it, at the speed of the memory.
    pub(crate) is_own: bool,
}

/// The operations of a computation in their order.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    ops: RefCell<Vec<Op>>,
    times: Cell<u64>,
    in_attention: Cell<bool>,
}

/// The most bytes that are held at a time, and the operation that needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Peak {
    /// Bytes, including what was held before.
    pub bytes: u64,
    /// The operation that needs them.
    pub at: &'static str,
}

impl Tape {
    /// Sets how many times the following operations run.
    pub(crate) fn repeat(&self, times: u64) {
        self.times.set(times);
    }

    /// Sets whether the following operations belong to attention.
    pub(crate) fn attend(&self, in_attention: bool) {
        self.in_attention.set(in_attention);
    }

    /// Records an operation that makes `count` numbers of `size` bytes beside `working` bytes of its own.
    pub(crate) fn make(&self, op: Op, count: u64, size: u64, working: u64) -> Values<'_> {
        let bytes = count * size;
        let times = self.times.get().max(1);
        let in_attention = self.in_attention.get();
        self.ops.borrow_mut().push(Op {
            allocates: bytes + working,
            frees: working,
            times,
            in_attention,
            ..op
        });
        Values { count, size, storage: Rc::new(Storage { bytes, tape: self }) }
    }

    /// Records an operation without products whose result has `count` numbers of `size` bytes.
    pub(crate) fn moved(&self, name: &'static str, reads: u64, count: u64, size: u64) -> Values<'_> {
        let moves = reads + count * size;
        self.make(Op::named(name, moves), count, size, 0)
    }

    /// Records an operation that allocates `bytes` and frees them.
    pub(crate) fn borrowed(&self, name: &'static str, bytes: u64) {
        self.make(Op::idle(name), 0, 1, bytes);
    }

    /// Number of operations.
    pub(crate) fn len(&self) -> usize {
        self.ops.borrow().len()
    }

    /// The operations from `first` on.
    pub(crate) fn since(&self, first: usize) -> Vec<Op> {
        self.ops.borrow().iter().skip(first).copied().collect()
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> u64 {
        self.ops.borrow().iter().fold(0, |held, op| held + op.allocates - op.frees)
    }

    fn free(&self, bytes: u64) {
        if let Some(last) = self.ops.borrow_mut().last_mut() {
            last.frees += bytes;
        }
    }
}

impl Op {
    pub(super) const fn named(name: &'static str, moves: u64) -> Self {
        let (allocates, frees, flops, times, launches) = (0, 0, 0, 1, 1);
        let (wide, eight_bits, in_attention, is_own) = (false, None, false, false);
        Self { name, allocates, frees, flops, wide, eight_bits, moves, times, in_attention, launches, is_own }
    }

    /// Something that launches no kernel.
    pub(super) const fn idle(name: &'static str) -> Self {
        Self { launches: 0, ..Self::named(name, 0) }
    }
}

/// Peak of these operations, which begin with `held` bytes.
pub(crate) fn peak(ops: &[Op], held: u64) -> Peak {
    let mut now = held;
    let mut peak = Peak { bytes: held, at: "nothing" };
    for op in ops {
        now += op.allocates;
        if now > peak.bytes {
            peak = Peak { bytes: now, at: op.name };
        }
        now -= op.frees;
    }
    peak
}

/// A tensor without numbers. Its memory is freed when the last tensor that shares it is dropped, as in candle.
#[derive(Debug, Clone)]
pub(crate) struct Values<'t> {
    /// How many numbers it has.
    pub(crate) count: u64,
    /// Bytes of a number.
    pub(crate) size: u64,
    storage: Rc<Storage<'t>>,
}

#[derive(Debug)]
struct Storage<'t> {
    bytes: u64,
    tape: &'t Tape,
}

impl Drop for Storage<'_> {
    fn drop(&mut self) {
        self.tape.free(self.bytes);
    }
}

impl<'t> Values<'t> {
    pub(crate) fn bytes(&self) -> u64 {
        self.count * self.size
    }

    /// Whether it was recorded on this tape.
    pub(crate) fn is_on(&self, tape: &Tape) -> bool {
        std::ptr::eq(self.storage.tape, tape)
    }

    /// As many numbers in memory of their own.
    pub(crate) fn another(&self) -> Self {
        self.storage.tape.moved("another", 0, self.count, self.size)
    }

    /// Some of its numbers, without a copy.
    pub(crate) fn part(&self, count: u64) -> Self {
        Self { count, ..self.clone() }
    }

    /// A function of all numbers in one kernel of our own, which also reads `reads` bytes of others.
    pub(crate) fn own(&self, name: &'static str, reads: u64) -> Self {
        let op = Op { is_own: true, ..Op::named(name, 2 * self.bytes() + reads) };
        self.storage.tape.make(op, self.count, self.size, 0)
    }

    /// A function of each number, or a copy.
    pub(crate) fn map(&self, name: &'static str) -> Self {
        self.storage.tape.moved(name, self.bytes(), self.count, self.size)
    }

    /// A function of each number and one of another tensor, which may be shorter.
    pub(crate) fn with(&self, other: &Self, name: &'static str) -> Self {
        self.storage.tape.moved(name, self.bytes() + other.bytes(), self.count, self.size)
    }

    /// The numbers in another type; the same tensor if they already have it.
    pub(crate) fn cast(&self, size: u64) -> Self {
        if size == self.size {
            return self.clone();
        }
        self.storage.tape.moved("cast", self.bytes(), self.count, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_freed_with_the_last_tensor_that_shares_it() {
        let tape = Tape::default();
        let x = tape.moved("x", 0, 100, 4);
        let half = x.part(50);
        let doubled = x.map("double");
        drop(x);
        assert_eq!(tape.held(), 800, "half of it is still in use");
        drop(half);
        assert_eq!(tape.held(), 400);
        let narrow = doubled.cast(2);
        assert_eq!(tape.held(), 600);
        drop(doubled.cast(4));
        assert_eq!(tape.held(), 600, "a cast to the same type is no copy");
        drop((doubled, narrow));
        assert_eq!(tape.held(), 0);
        assert_eq!(peak(&tape.since(0), 7), Peak { bytes: 807, at: "double" });
    }

    #[test]
    fn working_memory_counts_while_the_operation_lasts() {
        let tape = Tape::default();
        let made = tape.make(Op::named("make", 0), 10, 4, 1000);
        tape.borrowed("borrow", 500);
        assert_eq!((tape.held(), peak(&tape.since(0), 0).bytes), (40, 1040));
        assert_eq!(peak(&tape.since(1), 40), Peak { bytes: 540, at: "borrow" });
        drop(made);
    }
}
