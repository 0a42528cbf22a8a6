//! Test doubles of the archive, for the tests of whatever is built on it.

mod image;
mod simulated;

pub use image::Dice;
pub use simulated::{Fault, OpenFile, Simulated};
