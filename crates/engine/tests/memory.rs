//! What plans for the CPU say of a sample's memory, against every byte that it allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device};
use uso_engine::plan::{Hardware, Outline, Picture, Plan, PlanOptions, T5Place, Terms};
use uso_engine::{
    Engine as _, Image, Model, ModelFiles, PositionShift, Reference, Request, Setup, Tier, Uso,
};

/// Counts the bytes that are allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: the system's allocator does all of it.
#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        taken(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `work`, and the most bytes that it had more than before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let result = work();
    (result, MOST.load(Ordering::Relaxed).saturating_sub(before) as u64)
}

fn request(picture: &Picture) -> Request {
    let grey = |side: u32| {
        Reference::from(Image { width: side, height: side, rgb: vec![90; 3 * (side * side) as usize] })
    };
    Request {
        prompt: "a red star".into(),
        content: picture.content.map(|(side, _)| grey(side)),
        styles: (0..picture.styles).map(|_| grey(384)).collect(),
        width: picture.width,
        height: picture.height,
        keep_size: false,
        content_size: picture.content.map_or(512, |(side, _)| side),
        steps: picture.steps,
        guidance: 4.0,
        seed: 1,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    }
}

#[test]
fn plans_count_what_a_sample_allocates() {
    let model = Model::open(&ModelFiles::Bundled).unwrap();
    let outline = Outline::of(&model).unwrap();
    let hardware = Hardware::of_device(&Device::Cpu, None, Some(64 << 30)).unwrap();
    for tier in [Tier::Bf16, Tier::Fp8, Tier::Q8_0] {
        let options = PlanOptions { tier: Some(tier), t5: Some(T5Place::Device), stream: false };
        let plan = |picture| {
            let terms = Terms { picture, slots: 1, reserve: Some(0), dtype: DType::F32, options };
            Plan::new(&outline, &hardware, &terms).unwrap()
        };
        let picture = |side, styles, content: u32| {
            let content = (content > 0).then_some((content, content));
            Picture { width: side, height: side, content, styles, steps: 3 }
        };
        let setup = Setup::planned(Device::Cpu, DType::F32, &plan(picture(64, 0, 0)));
        let mut uso = Uso::load_with(&ModelFiles::Bundled, &setup).unwrap().with_cache_bytes(0);
        for picture in [picture(256, 0, 0), picture(512, 0, 0), picture(512, 1, 512), picture(768, 1, 512)] {
            let planned = plan(picture).device;
            let request = request(&picture);
            // Threads, tables and the like are made once.
            let mut sample = uso.encode(&request).unwrap();
            uso.step(&mut sample).unwrap();
            drop(sample);
            let (mut sample, encode) = peak(|| uso.encode(&request).unwrap());
            uso.step(&mut sample).unwrap();
            let ((), step) = peak(|| uso.step(&mut sample).unwrap());
            let (_, decode) = peak(|| uso.decode(&sample).unwrap());
            let kept = planned.kept_bytes;
            let about = format!("{tier} {picture:?}");
            near("a step", planned.step.bytes - kept, step, 1.05, &about);
            near("encoding", planned.encode.bytes, encode, 1.6, &about);
            near("decoding", planned.decode.bytes - kept, decode, 1.6, &about);
        }
    }
}

/// Plans count nothing of single vectors, of a picture's bytes and of the room in which each thread lays out the operands of
/// products, all of which are the same for pictures of every size.
fn near(what: &str, planned: u64, measured: u64, most: f64, about: &str) {
    const OF_A_THREAD: u64 = 256 << 10;
    let uncounted = OF_A_THREAD * std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let line = format!("{what} of {about}: {planned} bytes planned, {measured} measured");
    assert!(measured <= planned + uncounted, "{line}");
    assert!(planned as f64 <= most * measured as f64 + uncounted as f64, "{line}");
}
