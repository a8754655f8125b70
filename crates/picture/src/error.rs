/// Why bytes cannot be decoded as a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// They are of another format.
    #[error("neither PNG nor JPEG nor WebP")]
    OtherKind,
    /// The picture is larger than the limits allow; says by how much.
    #[error("{0}")]
    TooLarge(String),
    /// The data ends before the picture is complete.
    #[error("the file ends early")]
    EndsEarly,
    /// The data contradicts itself.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// An unsupported feature of the format.
    #[error("not supported: {0}")]
    NotSupported(&'static str),
}

impl Error {
    pub(crate) fn damaged(what: &str) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<png::DecodingError> for Error {
    fn from(error: png::DecodingError) -> Self {
        match error {
            png::DecodingError::IoError(error) if ends_early(&error) => Self::EndsEarly,
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<image_webp::DecodingError> for Error {
    fn from(error: image_webp::DecodingError) -> Self {
        match error {
            image_webp::DecodingError::IoError(error) if ends_early(&error) => Self::EndsEarly,
            other => Self::Damaged(other.to_string()),
        }
    }
}

fn ends_early(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}
