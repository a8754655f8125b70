//! Text for the terminal. Prompts, metadata and broken records come from others: nothing in them may move the cursor,
//! ring the bell or reverse the text.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::Serialize;

/// The text with everything escaped that is not a visible character.
pub(super) fn safe(text: &str) -> String {
    // Rust also escapes quotes, which need no escape here.
    text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// The text with everything escaped that is not a visible character, line by line.
pub(super) fn safe_lines(text: &str) -> String {
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

/// A JSON document in which everything that is not a visible character is escaped the JSON way.
pub(super) fn json(document: &impl Serialize) -> anyhow::Result<String> {
    let mut text = String::new();
    for character in serde_json::to_string_pretty(document)?.chars() {
        if character == '\n' || character.is_ascii_graphic() || character.escape_debug().len() == 1 {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(text, "\\u{unit:04x}")?;
            }
        }
    }
    Ok(text)
}

/// A table with aligned columns. All cells are escaped.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(heads: &[&str]) -> Self {
        let mut table = Self::bare();
        table.row(heads);
        table
    }

    /// A table without column heads.
    pub(super) fn bare() -> Self {
        Self(Vec::new())
    }

    pub(super) fn row<C: ToString>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.push(cells.into_iter().map(|cell| safe(&cell.to_string())).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.0 {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.0 {
            let line: String =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A value, or the word `none`.
pub(super) fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".into(), |value| value.to_string())
}

/// Milliseconds since the epoch as a readable time in UTC.
pub(super) fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.to_string())
}

/// How long ago a time was, in its largest unit. Both are milliseconds since the epoch.
pub(super) fn age(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Bytes as text if they are text, else as a hex dump.
pub(super) fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => safe(text),
        _ => dump(bytes),
    }
}

fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, part) in bytes.chunks(16).enumerate() {
        let numbers: String = part.iter().map(|byte| format!("{byte:02x} ")).collect();
        let seen = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
        let letters: String = part.iter().map(seen).collect();
        text.push_str(&format!("{:08x}  {numbers:<48} {letters}\n", line * 16));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Table, age, bytes, json, safe, time};

    /// A clear-screen, a bell, a C1 control, a text turned around, a line separator.
    const HOSTILE: &str = "a\u{1b}[2J\u{7}\u{9b}\u{202e}\u{2028}\n\"'\\z";

    #[test]
    fn nothing_that_moves_the_cursor_comes_through() {
        assert_eq!(safe(HOSTILE), r#"a\u{1b}[2J\u{7}\u{9b}\u{202e}\u{2028}\n"'\\z"#);
        assert_eq!(safe("a fox's \"den\", schön, 狐"), "a fox's \"den\", schön, 狐");
        let text = json(&[HOSTILE]).unwrap();
        assert!(text.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '), "{text}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [HOSTILE]);
        assert_eq!(json(&["狐 😀 \u{e0001}"]).unwrap(), "[\n  \"狐 😀 \\udb40\\udc01\"\n]");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["id", "state"]);
        table.row(["a\tb", "x"]);
        table.row(["long name", ""]);
        assert_eq!(table.to_string(), "id         state\na\\tb       x\nlong name\n");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(u64::MAX), "18446744073709551615 ms");
        let ages = [0, 59, 60, 3599, 3600, 172_799, 172_800].map(|seconds| age(seconds * 1000, 0));
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
        assert_eq!(age(0, 5000), "0s");
    }

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        assert_eq!(bytes(b"{\"a\": 1}\n"), "{\"a\": 1}\\n");
        let dumped = bytes(b"\x83\xa5state\xa6queued\x1b[2J\x00");
        let expected = "00000000  83 a5 73 74 61 74 65 a6 71 75 65 75 65 64 1b 5b  ..state.queued.[\n\
                        00000010  32 4a 00                                         2J.\n";
        assert_eq!(dumped, expected);
    }
}
