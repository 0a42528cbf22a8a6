//! One setting over its layers: flag, environment, file, default.
//!
//! Invariant: every layer that says something is checked, also where another one wins over it: the next start may be without the flag.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::Spanned;

use super::{ConfigError, ConfigFile, Keys, Place, Placed};

/// The variables of the environment, by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What a port may be.
pub const PORT: &str = "a whole number from 1 to 65535";

/// Where settings come from, flags apart.
pub struct Layers<'a, K> {
    /// The file, or none.
    pub file: &'a ConfigFile<K>,
    /// The variables.
    pub environment: Environment<'a>,
}

impl<K> fmt::Debug for Layers<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layers")
    }
}

impl<'a, K: Keys> Layers<'a, K> {
    /// A variable's text; blank is unset. Bytes that are no UTF-8 stay visible in the error that they cause.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.trim().is_empty())
    }

    /// A setting of that key, with its default.
    pub fn setting(&'a self, key: &'static str, default: &'static str) -> Setting<'a, K> {
        Setting {
            layers: self,
            key,
            default,
            given: Vec::new(),
        }
    }
}

/// A setting under way. Layers are named from the strongest to the weakest.
#[derive(Debug)]
pub struct Setting<'a, K> {
    layers: &'a Layers<'a, K>,
    key: &'static str,
    default: &'static str,
    given: Vec<Placed<String>>,
}

impl<K: Keys> Setting<'_, K> {
    /// A flag of the command line, if it was given.
    pub fn flag(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.given.extend(value.map(|value| Placed {
            value: value.to_owned(),
            place: Place::Flag(name),
        }));
        self
    }

    /// A variable of the environment; blank is unset.
    pub fn variable(mut self, name: &'static str) -> Self {
        self.given
            .extend(self.layers.variable(name).map(|value| Placed {
                value: value.trim().to_owned(),
                place: Place::Variable(name),
            }));
        self
    }

    /// The key of the file.
    pub fn key<T: Display>(mut self, key: &Option<Spanned<T>>) -> Self {
        self.given.extend(key.as_ref().map(|spanned| Placed {
            value: spanned.get_ref().to_string(),
            place: self.layers.file.place(spanned.span(), self.key),
        }));
        self
    }

    /// The strongest layer's value, or the default.
    ///
    /// # Errors
    /// A layer says something that `parse` makes nothing of; `accepted` is what the message says would be.
    pub fn resolve<T>(
        self,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Placed<T>, ConfigError> {
        let default = Placed {
            value: self.default.to_owned(),
            place: Place::Default(self.key),
        };
        match self.given(accepted, &parse)? {
            Some(given) => Ok(given),
            None => checked(&default, accepted, &parse),
        }
    }

    /// The strongest layer's value, if any layer says something.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn given<T>(
        self,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Placed<T>>, ConfigError> {
        let all = self.given.iter().map(|one| checked(one, accepted, &parse));
        let all: Vec<Placed<T>> = all.collect::<Result<_, _>>()?;
        Ok(all.into_iter().next())
    }
}

fn checked<T>(
    given: &Placed<String>,
    accepted: &str,
    parse: &impl Fn(&str) -> Option<T>,
) -> Result<Placed<T>, ConfigError> {
    match parse(&given.value) {
        Some(value) => Ok(given.placed(value)),
        None => Err(given.refused(accepted)),
    }
}

/// A port, not 0.
pub fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port >= 1)
}

/// A whole number of a range, both ends included.
pub fn whole<T: FromStr + PartialOrd>(min: T, max: T) -> impl Fn(&str) -> Option<T> {
    let range: RangeInclusive<T> = min..=max;
    move |text| {
        text.trim()
            .parse()
            .ok()
            .filter(|number| range.contains(number))
    }
}
