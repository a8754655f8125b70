//! The columns of a data set: fields of a [`Row`](super::Row) and their types, as row files and readers are told them.

/// A column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it may be null.
    pub(super) nullable: bool,
}

/// What a column holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    /// A list of texts.
    Texts,
    /// A list of structures.
    List(&'static [Column]),
    /// A structure.
    Group(&'static [Column]),
}

const fn always(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false }
}

const fn maybe(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: true }
}

const LORA: &[Column] =
    &[always("name", Kind::Text), always("weight", Kind::Float), maybe("digest", Kind::Text)];

const SCORES: &[Column] = &[
    maybe("clip_i", Kind::Float),
    maybe("dino", Kind::Float),
    maybe("csd", Kind::Float),
    maybe("clip_t", Kind::Float),
    maybe("siglip_subject", Kind::Float),
    maybe("siglip_style", Kind::Float),
    maybe("sharpness", Kind::Float),
    maybe("flatness", Kind::Float),
];

/// All columns, in order.
pub(super) const COLUMNS: &[Column] = &[
    always("row", Kind::Integer),
    always("key", Kind::Text),
    always("job", Kind::Text),
    always("file", Kind::Text),
    always("prompt", Kind::Text),
    maybe("content", Kind::Text),
    always("styles", Kind::Texts),
    always("loras", Kind::List(LORA)),
    always("width", Kind::Integer),
    always("height", Kind::Integer),
    always("keep_size", Kind::Boolean),
    always("seed", Kind::Integer),
    always("steps", Kind::Integer),
    always("guidance", Kind::Float),
    always("content_size", Kind::Integer),
    always("step_cache", Kind::Float),
    maybe("split", Kind::Text),
    always("sha256", Kind::Text),
    always("bytes", Kind::Integer),
    always("content_type", Kind::Text),
    always("model", Kind::Text),
    maybe("weights", Kind::Text),
    always("scripted", Kind::Boolean),
    always("device_ms", Kind::Integer),
    always("attempts", Kind::Integer),
    always("tries", Kind::Integer),
    always("scores", Kind::Group(SCORES)),
    maybe("phash", Kind::Text),
    maybe("metadata", Kind::Text),
    always("submitted_ms", Kind::Integer),
    maybe("started_ms", Kind::Integer),
    always("finished_ms", Kind::Integer),
];

/// Where a row's picture lies, for readers of ImageFolder.
pub(super) static FILE_NAME: Column = always("file_name", Kind::Text);
