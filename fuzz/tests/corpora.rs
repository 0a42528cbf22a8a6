//! Every input that was ever kept holds what is claimed of any: the corpora of the fuzz targets, replayed without a fuzzer, and
//! each input once more with every one of its bytes cut off or changed, within a budget.

use std::fs;
use std::path::Path;

#[test]
fn shards() {
    replay("shard", fuzz::shard::check);
}

#[test]
fn journals() {
    replay("journal", fuzz::journal::check);
}

#[test]
fn configurations() {
    replay("configuration", fuzz::configuration::check);
}

/// Inputs of a longer length are replayed as they are, but not mutated at every place.
const MUTATED_LEN_MAX_BYTES: usize = 600;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut names: Vec<_> = fs::read_dir(&corpus)
        .expect("a committed corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    assert!(
        names.len() >= 20,
        "{}: a corpus of {} is none",
        corpus.display(),
        names.len()
    );
    for path in names {
        let input = fs::read(&path).expect("an input");
        holds(check, &input, &path, "as it is");
        if input.len() > MUTATED_LEN_MAX_BYTES {
            continue;
        }
        for place in 0..input.len() {
            holds(check, &input[..place], &path, "cut");
            let mut changed = input.clone();
            changed[place] = changed[place].wrapping_add(1);
            holds(check, &changed, &path, "changed");
            changed[place] ^= 0xff;
            holds(check, &changed, &path, "changed");
        }
    }
}

fn holds(check: fn(&[u8]), input: &[u8], path: &Path, how: &str) {
    if let Err(panic) = std::panic::catch_unwind(|| check(input)) {
        eprintln_input(path, how, input);
        std::panic::resume_unwind(panic);
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a failing test says which input it was"
)]
fn eprintln_input(path: &Path, how: &str, input: &[u8]) {
    eprintln!("{}, {how}: {input:02x?}", path.display());
}
