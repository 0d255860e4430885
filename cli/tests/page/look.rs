//! How a visitor sees the page.

/// The size of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    Phone,
    Desk,
}

/// What the system prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scripts {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) screen: Screen,
    pub(crate) scheme: Scheme,
    pub(crate) scripts: Scripts,
}

impl Screen {
    pub(crate) const fn size(self) -> (u32, u32) {
        match self {
            Self::Phone => (390, 844),
            Self::Desk => (1280, 900),
        }
    }
}

impl Look {
    pub(crate) const DESK: Self = Self::of(Screen::Desk, Scheme::Light, Scripts::On);
    pub(crate) const PHONE: Self = Self::of(Screen::Phone, Scheme::Light, Scripts::On);
    /// Each screen and scheme, once with scripts and once without.
    pub(crate) const ALL: [Self; 8] = [
        Self::of(Screen::Phone, Scheme::Light, Scripts::On),
        Self::of(Screen::Phone, Scheme::Dark, Scripts::On),
        Self::of(Screen::Desk, Scheme::Light, Scripts::On),
        Self::of(Screen::Desk, Scheme::Dark, Scripts::On),
        Self::of(Screen::Phone, Scheme::Light, Scripts::Off),
        Self::of(Screen::Phone, Scheme::Dark, Scripts::Off),
        Self::of(Screen::Desk, Scheme::Light, Scripts::Off),
        Self::of(Screen::Desk, Scheme::Dark, Scripts::Off),
    ];

    const fn of(screen: Screen, scheme: Scheme, scripts: Scripts) -> Self {
        Self { screen, scheme, scripts }
    }

    pub(crate) const fn without_scripts(self) -> Self {
        Self { scripts: Scripts::Off, ..self }
    }
}
