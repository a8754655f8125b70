//! The estimated memory of a sample grows with its sizes.

use uso_engine::{Engine, Footprint, Request};

use crate::engines::{mini, request};
use crate::mini::reference;

/// A request without references of `width` x `height` pixels.
fn plain(width: u32, height: u32) -> Request {
    Request { width, height, content: None, styles: Vec::new(), ..request() }
}

#[test]
fn larger_pictures_and_more_references_take_more() {
    let uso = mini();
    let style = || reference("style_sketch.png").into();
    let content = || Some(reference("content_heart.png").into());
    let growing = [
        plain(64, 64),
        Request { styles: vec![style()], ..plain(64, 64) },
        Request { styles: vec![style()], content: content(), content_size: 32, ..plain(64, 64) },
        Request { styles: vec![style(), style()], content: content(), content_size: 64, ..plain(64, 64) },
        plain(256, 256),
        plain(512, 512),
        Request { content: content(), content_size: 512, ..plain(512, 512) },
        plain(1024, 1024),
        plain(2048, 2048),
    ];
    let footprints: Vec<Footprint> = growing.iter().map(|request| uso.footprint(request)).collect();
    for pair in footprints.windows(2) {
        assert!(pair[0].kept < pair[1].kept && pair[0].working <= pair[1].working, "{pair:?}");
    }
    let longer = uso.footprint(&Request { steps: 60, ..plain(64, 64) });
    assert!(longer.kept > footprints[0].kept && longer.working == footprints[0].working);
    // Tall or wide: only the rows that the autoencoder computes at a time differ in length.
    let (tall, wide) = (uso.footprint(&plain(512, 1024)), uso.footprint(&plain(1024, 512)));
    assert_eq!(tall.kept, wide.kept);
    assert!(tall.working.abs_diff(wide.working) <= tall.working / 50, "{tall:?} {wide:?}");
    // The size is the reference's, as it is when the sample is made.
    let kept_size = Request { keep_size: true, content: content(), ..plain(16, 16) };
    assert_eq!(
        uso.footprint(&kept_size).working,
        uso.footprint(&Request { content: content(), ..plain(64, 64) }).working
    );
}

#[test]
fn memory_for_samples_leaves_room_for_the_cache() {
    let uso = mini();
    let with = uso.memory().unwrap();
    let without = uso.with_cache_bytes(0).memory().unwrap();
    assert!(with < without, "{with} with a cache, {without} without");
    assert_eq!(mini().with_cache_bytes(u64::MAX).memory(), Some(0));
}
