//! One setting over its layers: flag, environment, file, default.
//!
//! Invariant: every layer that says something is checked, also where another one wins over it: the next start may be without the flag.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::Spanned;

use super::Environment;
use super::error::{ConfigError, Place, Placed};
use super::file::ConfigFile;

/// What a port may be.
pub(super) const PORT: &str = "a whole number from 1 to 65535";

/// Where settings come from, flags apart.
pub(super) struct Layers<'a> {
    pub(super) file: &'a ConfigFile,
    pub(super) environment: Environment<'a>,
}

impl<'a> Layers<'a> {
    /// A variable's text; blank is unset. Bytes that are no UTF-8 stay visible in the error that they cause.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.trim().is_empty())
    }

    /// A setting of that key, with its default.
    pub(super) fn setting(&'a self, key: &'static str, default: &'static str) -> Setting<'a> {
        Setting {
            layers: self,
            key,
            default,
            given: Vec::new(),
        }
    }
}

/// A setting under way. Layers are named from the strongest to the weakest.
pub(super) struct Setting<'a> {
    layers: &'a Layers<'a>,
    key: &'static str,
    default: &'static str,
    given: Vec<Placed<String>>,
}

impl Setting<'_> {
    pub(super) fn flag(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.given.extend(value.map(|value| Placed {
            value: value.to_owned(),
            place: Place::Flag(name),
        }));
        self
    }

    pub(super) fn variable(mut self, name: &'static str) -> Self {
        self.given
            .extend(self.layers.variable(name).map(|value| Placed {
                value: value.trim().to_owned(),
                place: Place::Variable(name),
            }));
        self
    }

    pub(super) fn key<T: Display>(mut self, key: &Option<Spanned<T>>) -> Self {
        self.given.extend(key.as_ref().map(|spanned| Placed {
            value: spanned.get_ref().to_string(),
            place: self.layers.file.place(spanned.span(), self.key),
        }));
        self
    }

    /// The strongest layer's value, or the default.
    pub(super) fn resolve<T>(
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
    pub(super) fn given<T>(
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
        Some(value) => Ok(Placed {
            value,
            place: given.place.clone(),
        }),
        None => Err(ConfigError::Value {
            place: given.place.clone(),
            found: cut(&given.value),
            accepted: accepted.to_owned(),
        }),
    }
}

/// A value that is right by itself and wrong together with others.
pub(super) fn refused(place: Place, found: String, accepted: &str) -> ConfigError {
    ConfigError::Value {
        place,
        found,
        accepted: accepted.to_owned(),
    }
}

/// What a message shows of a value: whoever wrote it knows the rest. Nothing of one with a user or a query, where a password or a token
/// would be.
fn cut(text: &str) -> String {
    const FOUND_LEN_MAX_CHARS: usize = 60;
    let may_hold_a_secret =
        text.contains('@') || (text.contains("://") && text.contains(['?', '#']));
    if may_hold_a_secret {
        return "***".to_owned();
    }
    match text.char_indices().nth(FOUND_LEN_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A port, not 0.
pub(super) fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port >= 1)
}

/// A whole number of a range, both ends included.
pub(super) fn whole<T: FromStr + PartialOrd>(min: T, max: T) -> impl Fn(&str) -> Option<T> {
    let range: RangeInclusive<T> = min..=max;
    move |text| {
        text.trim()
            .parse()
            .ok()
            .filter(|number| range.contains(number))
    }
}
