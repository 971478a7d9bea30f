//! Classes of those who wait (C5), by name and in their order. How a class rises with the time waited, `fair` decides;
//! whose class is which, the configuration. Law: the order of declaration is the order of service.

/// A class of the waiting room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Served first.
    High,
    /// What a client has unless it is configured.
    #[default]
    Normal,
    /// Served last.
    Low,
}

impl Priority {
    /// All, the first served first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As the configuration and clients name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// By that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F9
    #[test]
    fn priorities_have_names_that_lead_back_and_the_higher_comes_first() {
        for priority in Priority::ALL {
            assert_eq!(Priority::parse(priority.name()), Some(priority));
        }
        assert_eq!(Priority::parse("urgent"), None);
        assert!(Priority::ALL.is_sorted());
        assert_eq!(Priority::ALL[1], Priority::default());
    }
}
