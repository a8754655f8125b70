//! Memory for preparing the largest references, against the estimate.

use std::io::Write;
use std::process::Command;

use uso_engine::{DecodeLimits, Image, Preparation, Purpose};

use crate::golden::fixture;

const MIB: u64 = 1 << 20;
/// Together 50 megapixels.
const WIDTH: u32 = 10_000;
const HEIGHT: u32 = 5_000;

fn purpose() -> Purpose {
    Purpose::Content { content_size: 512 }
}

/// RGBA of 16 bits: 400 MB of pixels.
fn png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.set_compression(png::Compression::Fastest);
    let mut header = encoder.write_header().unwrap();
    let mut writer = header.stream_writer().unwrap();
    let row = vec![200; 8 * WIDTH as usize];
    (0..HEIGHT).for_each(|_| writer.write_all(&row).unwrap());
    writer.finish().unwrap();
    drop(header);
    bytes
}

fn jpeg() -> Vec<u8> {
    let rgb = vec![90; 3 * WIDTH as usize * HEIGHT as usize];
    Image { width: WIDTH, height: HEIGHT, rgb }.to_jpeg(90).unwrap()
}

fn webp() -> Vec<u8> {
    let (mut bytes, rgb) = (Vec::new(), vec![90; 3 * WIDTH as usize * HEIGHT as usize]);
    let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
    encoder.encode(&rgb, WIDTH, HEIGHT, image::ExtendedColorType::Rgb8).unwrap();
    bytes
}

fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

/// Growth of this process's memory at its peak while it prepares a file, in bytes.
fn growth(file: &str) -> u64 {
    let status = || std::fs::read_to_string("/proc/self/status").unwrap();
    let bytes = std::fs::read(file).unwrap();
    let before = kilobytes(&status(), "VmRSS:");
    let reference = Preparation::new(&bytes, purpose(), &DecodeLimits::default()).unwrap().run().unwrap();
    assert_eq!((reference.width(), reference.height()), (WIDTH, HEIGHT));
    1024 * kilobytes(&status(), "VmHWM:").saturating_sub(before)
}

/// It runs itself again for each file, because a process has only one peak.
#[cfg(target_os = "linux")]
#[test]
fn preparing_takes_no_more_than_is_said_before() {
    const FILE: &str = "USO_TEST_REFERENCE";
    const NAME: &str = "reference_memory::preparing_takes_no_more_than_is_said_before";
    if let Ok(file) = std::env::var(FILE) {
        std::io::Write::write_all(&mut std::io::stdout(), format!("growth {}\n", growth(&file)).as_bytes())
            .unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, most) in [("png", png(), 32), ("jpeg", jpeg(), 32), ("webp", webp(), 448)] {
        let file = folder.path().join(name);
        std::fs::write(&file, &bytes).unwrap();
        let said = Preparation::new(&bytes, purpose(), &DecodeLimits::default()).unwrap().bytes();
        assert!(said <= most * MIB, "{name}: {said} bytes are said to be needed");
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", NAME, "--nocapture"]).env(FILE, &file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let grown = text.lines().find_map(|line| line.split_once("growth ")?.1.parse::<u64>().ok());
        let grown = grown.unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(grown <= said + 8 * MIB, "{name}: {grown} bytes were taken, {said} were said to be needed");
    }
}

/// No memory for the announced pixels is allocated before the caller knows how much it is.
#[test]
fn what_hostile_files_announce_is_said_before_it_is_taken() {
    let said = |bytes: &[u8]| Preparation::new(bytes, purpose(), &DecodeLimits::default()).unwrap().bytes();
    let empty = std::fs::read(fixture("pictures/files/empty.webp")).unwrap();
    assert!(empty.len() <= 34);
    assert!(said(&empty) >= 8 * 7_000 * 7_000);
    // The same scans for a picture that is much larger.
    let mut progressive = std::fs::read(fixture("pictures/files/progressive_1x1.jpg")).unwrap();
    let frame = progressive.windows(2).position(|pair| pair == [0xff, 0xc2]).unwrap();
    progressive[frame + 5..frame + 9].copy_from_slice(&[0x1b, 0x58, 0x1b, 0x58]);
    assert!(said(&progressive) >= 6 * 7_000 * 7_000);
    let mut interlaced = std::fs::read(fixture("pictures/files/rgba_16_interlaced.png")).unwrap();
    interlaced[16..24].copy_from_slice(&[0, 0, 0x1b, 0x58, 0, 0, 0x1b, 0x58]);
    assert!(said(&interlaced) >= 3 * 7_000 * 7_000);
    // A profile that is mostly air is not even unpacked.
    let [profile, plain] = ["profile.png", "rgb.png"]
        .map(|name| std::fs::read(fixture(&format!("pictures/files/{name}"))).unwrap());
    assert_eq!(said(&profile), said(&plain));
}
