//! What it costs to write a page, beside what it cannot cost less than: copying it, and copying what stands before its numbers.
//!
//! `cargo bench -p metricsd-exporter --bench render [SAMPLES...]`. All cases of one size run in turn, round by round, so that slow moments
//! of the machine hit all of them; each is the median of its rounds. Must not touch: anything but its own memory.
#![allow(missing_docs)]

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use metricsd_exporter::{
    Family, Kind, NameFilter, PreparedFamily, PreparedHistogram, Series, Value, write_text,
};

/// Bounds of the histograms: eleven and `+Inf`.
const BOUNDS: [f64; 12] = [
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    f64::INFINITY,
];

/// Lines of one histogram.
const HISTOGRAM_LINES: usize = BOUNDS.len() + 2;

type Case<'a> = (&'static str, Box<dyn FnMut(&mut Vec<u8>) + 'a>);

fn main() -> io::Result<()> {
    let mut sizes: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000, 1_000_000];
    }
    for size in sizes {
        for shape in [Shape::Alike, Shape::Whole, Shape::Fractional] {
            single_numbers(size, shape)?;
        }
        histograms(size)?;
    }
    Ok(())
}

/// What the numbers look like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// Five digits.
    Alike,
    /// One to nine digits.
    Whole,
    /// Sixteen or seventeen digits.
    Fractional,
}

fn single_numbers(size: usize, shape: Shape) -> io::Result<()> {
    let mut random = Random(42);
    let number = |random: &mut Random| match shape {
        Shape::Alike => (1e4 + random.fraction() * 9e4).floor(),
        Shape::Whole => 10_f64.powf(random.fraction() * 9.0).floor(),
        Shape::Fractional => random.fraction() * 1e4,
    };
    let numbers: Vec<f64> = (0..size).map(|_| number(&mut random)).collect();
    let mut prepared =
        PreparedFamily::new("http_requests".into(), "Requests".into(), Kind::Counter)
            .expect("a legal name");
    let mut values = Family {
        name: "http_requests".into(),
        help: "Requests".into(),
        kind: Kind::Counter,
        series: Vec::new(),
    };
    let mut prefixes = Vec::new();
    let mut lens = Vec::new();
    for (index, &number) in numbers.iter().enumerate() {
        let (method, path) = (
            ["GET", "PUT"][index % 2],
            format!("/api/v1/items/{index:07}"),
        );
        let labels = [
            ("method".to_owned(), method.to_owned()),
            ("path".to_owned(), path.clone()),
        ];
        prepared.push(&labels).expect("legal labels");
        values.series.push(Series {
            labels: labels.to_vec(),
            start_unix_seconds: None,
            value: Value::Single(number),
        });
        let before = prefixes.len();
        write!(
            prefixes,
            "http_requests_total{{method=\"{method}\",path=\"{path}\"}} "
        )?;
        lens.push(prefixes.len() - before);
    }
    let mut page = Vec::new();
    write_text(std::slice::from_ref(&values), &mut page);
    let mut again = Vec::new();
    prepared.write(
        numbers.iter().copied().map(Some),
        &NameFilter::all(),
        &mut again,
    );
    assert!(page == again, "both ways write the same");
    let mut room = vec![0; page.len() + 64];
    prefixes.resize(prefixes.len() + 64, 0);
    let (mut round, mut step) = (0_u64, 0.0);
    let (mut in_part, mut anew) = (prepared.clone(), prepared.clone());
    let cases: Vec<Case<'_>> = vec![
        (
            "limit: copy of the page",
            Box::new(|out| out.extend_from_slice(black_box(&page))),
        ),
        (
            "limit: prefixes alone, copied in steps",
            Box::new(|_| copy_prefixes(&prefixes, &lens, &numbers, black_box(&mut room))),
        ),
        (
            "prepared",
            Box::new(|out| {
                let numbers = numbers.iter().copied().map(Some);
                prepared.write(numbers, &NameFilter::all(), out);
            }),
        ),
        (
            "prepared, every tenth number is another",
            Box::new(|out| {
                round += 1;
                let numbers = numbers.iter().zip(round..);
                let numbers = numbers.map(|(number, at)| number + f64::from(at % 10 == 0));
                in_part.write(numbers.map(Some), &NameFilter::all(), out);
            }),
        ),
        (
            "prepared, every number is another",
            Box::new(|out| {
                step += 1.0;
                let numbers = numbers.iter().map(|number| Some(number + step));
                anew.write(numbers, &NameFilter::all(), out);
            }),
        ),
        (
            "from values",
            Box::new(|out| {
                write_text(std::slice::from_ref(&values), out);
            }),
        ),
    ];
    report(&format!("{size} samples, {shape:?}"), size, cases)
}

/// What any writer has to do, whatever numbers cost: they take no time and no room, the end of the line does.
fn copy_prefixes(prefixes: &[u8], lens: &[usize], numbers: &[f64], room: &mut [u8]) {
    let (mut from, mut end) = (0, 0);
    for (&len, number) in lens.iter().zip(numbers) {
        let stepped = len.next_multiple_of(32);
        let steps = room[end..end + stepped].chunks_exact_mut(32);
        for (to, from) in steps.zip(prefixes[from..from + stepped].chunks_exact(32)) {
            to.copy_from_slice(from);
        }
        black_box(number);
        from += len;
        end += len;
        room[end] = b'\n';
        end += 1;
    }
}

fn histograms(size: usize) -> io::Result<()> {
    let mut random = Random(42);
    let mut prepared = PreparedHistogram::new("order_latency_seconds".into(), "Latency".into())
        .expect("a legal name");
    let mut values = Family {
        name: "order_latency_seconds".into(),
        help: "Latency".into(),
        kind: Kind::Histogram,
        series: Vec::new(),
    };
    for index in 0..size / HISTOGRAM_LINES {
        let labels = [
            ("strategy".to_owned(), format!("s{index:06}")),
            ("venue".to_owned(), format!("X{}", index % 7)),
        ];
        prepared.push(&labels, BOUNDS).expect("legal labels");
        let mut count = 0.0;
        let buckets = BOUNDS.map(|bound| {
            count += (random.fraction() * 1000.0).floor();
            (bound, count)
        });
        values.series.push(Series {
            labels: labels.to_vec(),
            start_unix_seconds: None,
            value: Value::Histogram {
                buckets: buckets.to_vec(),
                sum: random.fraction() * 1e4,
            },
        });
    }
    let numbers = |series: usize, counts: &mut [f64]| {
        let Value::Histogram { buckets, sum } = &values.series[series].value else {
            unreachable!("made so above");
        };
        for (to, &(_, count)) in counts.iter_mut().zip(buckets) {
            *to = count;
        }
        *sum
    };
    let mut page = Vec::new();
    write_text(std::slice::from_ref(&values), &mut page);
    let mut again = Vec::new();
    prepared.write(numbers, &NameFilter::all(), &mut again);
    assert!(page == again, "both ways write the same");
    let cases: Vec<Case<'_>> = vec![
        (
            "limit: copy of the page",
            Box::new(|out| out.extend_from_slice(black_box(&page))),
        ),
        (
            "prepared",
            Box::new(|out| {
                prepared.write(numbers, &NameFilter::all(), out);
            }),
        ),
        (
            "from values",
            Box::new(|out| {
                write_text(std::slice::from_ref(&values), out);
            }),
        ),
    ];
    report(&format!("{size} samples of histograms"), size, cases)
}

/// Runs every case once in each round and prints the medians.
fn report(title: &str, size: usize, mut cases: Vec<Case<'_>>) -> io::Result<()> {
    let rounds = (20_000_000 / size).clamp(9, 301);
    let mut out = Vec::new();
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for ((_, case), times) in cases.iter_mut().zip(&mut times) {
            out.clear();
            let begin = Instant::now();
            case(black_box(&mut out));
            times.push(begin.elapsed().as_nanos() as f64 / size as f64);
        }
    }
    let mut to = io::stdout().lock();
    writeln!(
        to,
        "{title}, {rounds} rounds: ns a sample, median and least"
    )?;
    for ((name, _), times) in cases.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        writeln!(
            to,
            "  {name:40} {:7.2} {:7.2}",
            times[times.len() / 2],
            times[0]
        )?;
    }
    Ok(())
}

/// Numbers, the same in every run.
struct Random(u64);

impl Random {
    /// From 0 up to 1.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
