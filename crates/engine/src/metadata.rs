//! Metadata of JPEG and WebP files: EXIF and XMP.

/// An EXIF block (a TIFF header, an empty picture directory that leads to the EXIF one) whose `UserComment` is `text`.
///
/// In big-endian order and UTF-16, as Automatic1111's web UI writes its parameters (through `piexif`) and as other
/// programs of the field read them. EXIF 2.32, section 4.6.5.
pub(crate) fn exif(text: &str) -> Vec<u8> {
    const EXIF_DIRECTORY: u16 = 0x8769;
    const VERSION: u16 = 0x9000;
    const USER_COMMENT: u16 = 0x9286;
    const LONG: u16 = 4;
    const UNDEFINED: u16 = 7;
    /// Bytes of a directory with this many entries.
    const fn directory(entries: u32) -> u32 {
        2 + 12 * entries + 4
    }
    const FIRST: u32 = 8;
    const SECOND: u32 = FIRST + directory(1);
    const COMMENT: u32 = SECOND + directory(2);
    let comment: Vec<u8> =
        b"UNICODE\0".iter().copied().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect();

    let mut block = b"MM\0\x2a".to_vec();
    block.extend(FIRST.to_be_bytes());
    let mut directory_of = |entries: &[(u16, u16, u32, [u8; 4])]| {
        block.extend((entries.len() as u16).to_be_bytes());
        for (tag, kind, count, value) in entries {
            block.extend(tag.to_be_bytes());
            block.extend(kind.to_be_bytes());
            block.extend(count.to_be_bytes());
            block.extend(value);
        }
        // No directory follows.
        block.extend([0; 4]);
    };
    directory_of(&[(EXIF_DIRECTORY, LONG, 1, SECOND.to_be_bytes())]);
    directory_of(&[
        (VERSION, UNDEFINED, 4, *b"0232"),
        (USER_COMMENT, UNDEFINED, comment.len() as u32, COMMENT.to_be_bytes()),
    ]);
    block.extend(comment);
    block
}

/// An XMP packet with the JSON text `json` as `uso:parameters`.
pub(crate) fn xmp(json: &str) -> String {
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
         <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
         <rdf:Description rdf:about=\"\" xmlns:uso=\"urn:uso-fleet:\"><uso:parameters>{}</uso:parameters>\
         </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>",
        in_xml(json)
    )
}

/// JSON as text of an XML element. Two characters that XML may not contain are written as JSON escapes; JSON has no
/// others.
fn in_xml(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\u{fffe}' => text.push_str("\\ufffe"),
            '\u{ffff}' => text.push_str("\\uffff"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_exif_lead_to_the_comment() {
        let block = exif("a\u{1f600}");
        let short = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
        let long = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
        let first = long(4) as usize;
        assert_eq!((short(first), short(first + 2)), (1, 0x8769));
        let second = long(first + 10) as usize;
        assert_eq!((short(second), short(second + 2), short(second + 14)), (2, 0x9000, 0x9286));
        let (count, at) = (long(second + 18) as usize, long(second + 22) as usize);
        assert_eq!(at + count, block.len());
        assert_eq!(&block[at..], b"UNICODE\0\0a\xd8\x3d\xde\x00");
    }

    #[test]
    fn json_becomes_text_that_xml_may_contain() {
        assert_eq!(in_xml(r#"{"a":"<&>é\u0001"}"#), r#"{"a":"&lt;&amp;&gt;é\u0001"}"#);
        assert_eq!(in_xml("\"\u{fffe}\u{ffff}\""), r#""\ufffe\uffff""#);
    }
}
