//! What a collector keeps, seen from inside.

use std::fs;

use metricsd_shard::{HEADER_LEN_BYTES, encode_entry, encode_header};

use super::*;

/// Without an archive nobody shows what was in a file that is gone, so nothing of it may stay: sessions with label values of their own
/// come and go for months.
#[test]
fn the_keys_of_shards_that_are_gone_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |number: usize| {
        let key = format!(r#"["a", "a_total", {{"n": "{number}"}}, "h"]"#);
        encode_entry(key.as_bytes(), 1.0, 0.0)
    };
    let write = |name: &str, numbers: std::ops::Range<usize>| {
        let body: Vec<u8> = numbers.flat_map(entry).collect();
        let header = encode_header(HEADER_LEN_BYTES + body.len());
        fs::write(folder.path().join(name), [&header[..], &body].concat()).unwrap();
    };
    let directory = ShardDirectory::open(folder.path()).unwrap();
    let mut collector = Collector::new(directory, Locking::None, Policy::default(), 10);
    let series = |collector: &mut Collector| {
        collector.collect(&Answers::new()).1.unwrap();
        collector
            .families()
            .iter()
            .map(|it| it.series.len())
            .sum::<usize>()
    };
    write("counter_kept.db", 0..5);
    for _ in 0..3 {
        write("counter_passing.db", 0..18_000);
        assert_eq!(series(&mut collector), 18_000);
        fs::remove_file(folder.path().join("counter_passing.db")).unwrap();
        assert_eq!(series(&mut collector), 5);
        assert_eq!(collector.catalog.len(), 5);
    }
}
