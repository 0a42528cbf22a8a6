//! What a shard is called from the moment its process has ended until it is deleted: `counter_ID.db.retiring-INSTANCE`.
//! Pure; the random bits come from whoever renames.
//!
//! Invariant: a retiring name leads back to exactly one original name, is never a shard's name itself, so that no reader of
//! Python's lists it and no writer opens it by chance, and is never made of another retiring name.

use super::writer_id::Instance;

/// Stands between the original name and the random part.
const MARK: &str = ".retiring-";

/// The name under which the shard `original` is retired. The random part keeps it from meeting any other file, also one that
/// a killed daemon left.
///
/// A name that is a retiring one already stays what it is.
pub fn retiring_file_name(original: &str, random: Instance) -> String {
    match original_of_retiring(original) {
        Some(_) => original.to_owned(),
        None => format!("{original}{MARK}{random}"),
    }
}

/// The name that a retiring shard had before; `None` for every other name. The kind and the writer are in it.
pub fn original_of_retiring(file_name: &str) -> Option<&str> {
    let (original, random) = file_name.rsplit_once(MARK)?;
    random.parse::<Instance>().ok()?;
    (original.ends_with(".db") && !original.starts_with('.')).then_some(original)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{NameError, ShardName};

    const RANDOM: Instance = Instance::from_bits(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);

    #[test]
    fn retiring_name_leads_back_to_the_original_and_is_no_shard() {
        for original in [
            "counter_4242.db",
            "gauge_livemax_77-aerukz4jvpg677w4xkmhmvbsca.db",
            "histogram_web_7.db",
            "counter_.retiring-x.db",
        ] {
            let retiring = retiring_file_name(original, RANDOM);
            assert_eq!(
                retiring,
                format!("{original}.retiring-aerukz4jvpg677w4xkmhmvbsca")
            );
            assert_eq!(original_of_retiring(&retiring), Some(original));
            assert_eq!(ShardName::parse(&retiring), Err(NameError::NotAShard));
        }
    }

    #[test]
    fn retiring_twice_changes_nothing() {
        let once = retiring_file_name("counter_1.db", RANDOM);
        assert_eq!(retiring_file_name(&once, Instance::from_bits(7)), once);
    }

    #[test]
    fn other_names_have_no_original() {
        let random = RANDOM.to_string();
        for name in [
            "counter_1.db".to_owned(),
            "counter_1.db.retiring-".to_owned(),
            "counter_1.db.retiring-0f".to_owned(),
            format!("counter_1.db.retiring-{}", random.to_uppercase()),
            format!("counter_1.db.retiring-{random}x"),
            format!("counter_1.db.retiring-{random}.db"),
            format!("counter_1.db.retiring-{random}.retiring-{random}"),
            format!("counter_1.retiring-{random}"),
            format!(".counter_1.db.retiring-{random}"),
            format!(".retiring-{random}"),
            String::new(),
        ] {
            assert_eq!(original_of_retiring(&name), None, "{name}");
        }
    }
}
