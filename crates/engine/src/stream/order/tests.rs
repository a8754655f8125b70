//! Two pretended streams that run as far ahead of each other as their waits allow, in every possible way.

use std::collections::{HashMap, HashSet};

use candle_core::bail;

use super::*;

/// What a stream has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Allocate(usize),
    Copy {
        layer: usize,
        slot: usize,
    },
    Compute {
        layer: usize,
        slot: usize,
    },
    /// All slots are given back.
    Release,
    /// Until so much of the other stream's work is done.
    Wait(usize),
}

/// The work of both streams in the order in which each does it.
#[derive(Default)]
struct Recorded {
    copying: Vec<Work>,
    computing: Vec<Work>,
    /// Where the last mark of each event is in the work of its stream.
    marks: HashMap<String, usize>,
    waits: usize,
    /// The wait that is left out.
    without: Option<usize>,
    /// The layer of which only a part can be copied.
    breaks: Option<usize>,
}

impl Recorded {
    fn of(&mut self, stream: Stream) -> &mut Vec<Work> {
        match stream {
            Stream::Copying => &mut self.copying,
            Stream::Computing => &mut self.computing,
        }
    }
}

impl Streams for Recorded {
    fn allocate(&mut self, slot: usize) -> Result<()> {
        self.computing.push(Work::Allocate(slot));
        Ok(())
    }

    fn copy(&mut self, layer: usize, slot: usize) -> Result<()> {
        self.copying.push(Work::Copy { layer, slot });
        if self.breaks == Some(layer) { bail!("layer {layer} breaks off") } else { Ok(()) }
    }

    fn record(&mut self, stream: Stream, event: Event) -> Result<()> {
        let done = self.of(stream).len();
        self.marks.insert(format!("{event:?}"), done);
        Ok(())
    }

    fn wait(&mut self, stream: Stream, event: Event) -> Result<()> {
        // As in CUDA, an event without a mark holds up nobody.
        let mark = self.marks.get(&format!("{event:?}")).copied().unwrap_or(0);
        self.waits += 1;
        if self.without != Some(self.waits - 1) {
            self.of(stream).push(Work::Wait(mark));
        }
        Ok(())
    }
}

/// What a sweep over these layers hands out, which ends by giving the slots back. `fails`: the layer that cannot be
/// computed.
fn recorded(layers: Range<usize>, fails: Option<usize>, mut streams: Recorded) -> Recorded {
    let swept = sweep(&mut streams, layers, |streams, layer| {
        if fails == Some(layer) {
            bail!("layer {layer} fails")
        }
        streams.computing.push(Work::Compute { layer, slot: slot_of(layer) });
        Ok(())
    });
    assert_eq!(swept.is_err(), fails.or(streams.breaks).is_some());
    streams.computing.push(Work::Release);
    streams
}

fn whole(layers: Range<usize>) -> Recorded {
    recorded(layers, None, Recorded::default())
}

fn broken(layers: Range<usize>, breaks: usize, without: Option<usize>) -> Recorded {
    recorded(layers, None, Recorded { breaks: Some(breaks), without, ..Recorded::default() })
}

/// How far both streams are: each piece of work counts two, one when it begins and one when it ends.
type At = (usize, usize);

/// What is wrong in some order of the two streams' work; nothing if it is right in all of them.
fn fault(streams: &Recorded) -> Option<String> {
    let ends = (2 * streams.copying.len(), 2 * streams.computing.len());
    let (mut seen, mut open) = (HashSet::from([(0, 0)]), vec![(0, 0)]);
    while let Some(at) = open.pop() {
        if let Some(fault) = fault_at(streams, at) {
            return Some(fault);
        }
        let next: Vec<At> = steps(streams, at).collect();
        if next.is_empty() && at != ends {
            return Some(format!("both wait for ever at {at:?}"));
        }
        open.extend(next.into_iter().filter(|at| seen.insert(*at)));
    }
    None
}

/// Where the streams can be next: one of them begins or ends a piece of work.
fn steps(streams: &Recorded, (copied, computed): At) -> impl Iterator<Item = At> {
    let may = |work: &[Work], at: usize, other: usize| match work.get(at / 2) {
        None => false,
        Some(Work::Wait(until)) => 2 * until <= other,
        Some(_) => true,
    };
    let copying = may(&streams.copying, copied, computed).then_some((copied + 1, computed));
    let computing = may(&streams.computing, computed, copied).then_some((copied, computed + 1));
    copying.into_iter().chain(computing)
}

fn running(work: &[Work], at: usize) -> Option<Work> {
    (at % 2 == 1).then(|| work[at / 2])
}

fn fault_at(streams: &Recorded, (copied, computed): At) -> Option<String> {
    let done = &streams.computing[..computed / 2];
    let (copy, compute) = (running(&streams.copying, copied), running(&streams.computing, computed));
    if let Some(Work::Copy { layer, slot }) = copy {
        let is_there = done.contains(&Work::Allocate(slot)) && !done.contains(&Work::Release);
        if !is_there || compute == Some(Work::Release) {
            return Some(format!("layer {layer} is copied into memory that is not slot {slot}'s"));
        }
        if matches!(compute, Some(Work::Compute { slot: used, .. }) if used == slot) {
            return Some(format!("layer {layer} is copied into slot {slot} while it is read"));
        }
        // Who was there before, and is it used up?
        let before = &streams.copying[..copied / 2];
        let unread = before.iter().rev().find_map(|work| match work {
            Work::Copy { layer, slot: other } if *other == slot => Some(*layer),
            _ => None,
        });
        if let Some(unread) = unread.filter(|unread| !done.contains(&Work::Compute { layer: *unread, slot }))
        {
            return Some(format!("layer {unread} is overwritten before it is read"));
        }
    }
    if let Some(Work::Compute { layer, slot }) = compute {
        let arrived = streams.copying[..copied / 2].iter().rev().find_map(|work| match work {
            Work::Copy { layer, slot: other } if *other == slot => Some(*layer),
            _ => None,
        });
        if arrived != Some(layer) {
            return Some(format!("layer {layer} computes with {arrived:?} in slot {slot}"));
        }
    }
    None
}

#[test]
fn no_layer_is_read_before_it_arrived_or_overwritten_while_it_is_read() {
    for layers in [0..0, 0..1, 0..2, 0..7, 1..2, 1..6, 37..40] {
        assert_eq!(fault(&whole(layers.clone())), None, "{layers:?}");
        for layer in layers.clone() {
            let fails = recorded(layers.clone(), Some(layer), Recorded::default());
            assert_eq!(fault(&fails), None, "{layers:?}, {layer} fails");
            assert_eq!(fault(&broken(layers.clone(), layer, None)), None, "{layers:?}, {layer} breaks off");
        }
    }
}

#[test]
fn every_wait_is_needed() {
    let waits = whole(0..5).waits;
    assert_eq!(waits, 2 * 5 + 1);
    for without in 0..waits - 1 {
        let streams = recorded(0..5, None, Recorded { without: Some(without), ..Recorded::default() });
        assert!(fault(&streams).is_some(), "nothing depends on wait {without}");
    }
    // The last one matters if a copy was handed out that nobody waits for.
    for layer in 0..5 {
        let last = broken(0..5, layer, None).waits - 1;
        assert!(fault(&broken(0..5, layer, Some(last))).is_some(), "a part of layer {layer}");
    }
}

#[test]
fn a_layer_is_copied_while_the_one_before_it_computes() {
    let streams = whole(0..6);
    for layer in 0..5 {
        let (slot, next) = (slot_of(layer), layer + 1);
        let computes = streams.computing.iter().position(|work| *work == Work::Compute { layer, slot });
        let copies = Work::Copy { layer: next, slot: slot_of(next) };
        let copied = streams.copying.iter().position(|work| *work == copies).unwrap();
        // The layer has begun and does not end: how far does the copying stream come?
        let computed = 2 * computes.unwrap() + 1;
        let mut at = 0;
        while steps(&streams, (at, computed)).any(|(copied, _)| copied > at) {
            at += 1;
        }
        assert_eq!(at / 2, copied + 1, "the copy of layer {next} does not end while layer {layer} computes");
    }
}

#[test]
fn a_panic_leaves_no_copy_behind() {
    let mut streams = Recorded::default();
    let swept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sweep(&mut streams, 0..4, |_, layer| if layer == 1 { panic!("broken") } else { Ok(()) })
    }));
    assert!(swept.is_err());
    streams.computing.push(Work::Release);
    // The layers that came before it have computed nothing here: only the memory is looked at.
    let copies = streams.copying.iter().filter(|work| matches!(work, Work::Copy { .. })).count();
    assert_eq!(copies, 2);
    assert_eq!(streams.computing[streams.computing.len() - 2], Work::Wait(streams.copying.len()));
}
