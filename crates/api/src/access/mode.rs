//! Who may call the API.

/// Who may call the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Everyone, as the one tenant of the settings and with all scopes. Keys are ignored.
    #[default]
    Open,
    /// As `Open`, but only from this machine, and not through a proxy.
    Local,
    /// Everyone with a key, as the key's tenant.
    Keys,
}

impl Access {
    /// The word used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open | Self::Local => "open",
            Self::Keys => "keys",
        }
    }
}
