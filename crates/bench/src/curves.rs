//! Growth curves as SVG: two axes, a line for each side, and the line that the claim would be.
//!
//! Invariant: plain text in, plain text out. Readable on white and on black, and without colours: every line is named where it ends and
//! has a mark of its own.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// Room of a name beside the end of its line.
const NAME_HEIGHT: f64 = 15.0;

/// Colours on white and on black, by the number of the line: told apart by people who do not see all colours.
const COLOURS: [(&str, &str); 8] = [
    ("#0060a8", "#6cb8f0"),
    ("#c04a00", "#f59b4c"),
    ("#00785a", "#3fd0a4"),
    ("#a03c80", "#e59ccb"),
    ("#6b6b00", "#d9d24a"),
    ("#555555", "#bbbbbb"),
    ("#5b3db0", "#b39df2"),
    ("#b00020", "#ff8a8a"),
];

/// One side.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// In the units of the axes.
    pub(crate) points: Vec<(f64, f64)>,
    /// What is claimed, not what was measured: dashed and without marks.
    pub(crate) is_claim: bool,
}

/// How the horizontal axis is divided. The vertical one is logarithmic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Powers of ten; 0 stands where 1 would.
    Logarithmic,
    /// Whole numbers.
    Linear,
}

/// A picture.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) horizontal: String,
    pub(crate) vertical: String,
    pub(crate) scale: Scale,
    pub(crate) curves: Vec<Curve>,
}

/// Where values come to lie.
struct Frame {
    scale: Scale,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn of(chart: &Chart) -> Frame {
        let points = || chart.curves.iter().flat_map(|curve| &curve.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(
                (f64::INFINITY, f64::NEG_INFINITY),
                |(least, most), value| (least.min(value), most.max(value)),
            )
        };
        let x = range(&mut points().map(|point| horizontal(chart.scale, point.0)));
        let y = range(&mut points().map(|point| point.1.log10()));
        Frame {
            scale: chart.scale,
            x,
            y: (y.0.floor(), y.1.ceil().max(y.0.floor() + 1.0)),
        }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let share =
            |value: f64, (least, most): (f64, f64)| (value - least) / (most - least).max(1e-9);
        (
            LEFT + share(horizontal(self.scale, x), self.x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - share(y.log10(), self.y) * (HEIGHT - TOP - BOTTOM),
        )
    }
}

fn horizontal(scale: Scale, x: f64) -> f64 {
    match scale {
        Scale::Logarithmic => x.max(1.0).log10(),
        Scale::Linear => x,
    }
}

impl Chart {
    /// The picture as SVG.
    pub(crate) fn svg(&self) -> String {
        let frame = Frame::of(self);
        let mut svg = String::new();
        let mut put = |text: std::fmt::Arguments<'_>| {
            let _ = svg.write_fmt(text);
            svg.push('\n');
        };
        put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{}",
            escaped(&self.title),
            style()
        ));
        put(format_args!(
            "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>"
        ));
        put(format_args!(
            "<text class=\"title\" x=\"{LEFT}\" y=\"24\">{}</text>",
            escaped(&self.title)
        ));
        for grid in self.grid(&frame) {
            put(format_args!("{grid}"));
        }
        for line in self.lines(&frame) {
            put(format_args!("{line}"));
        }
        put(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 14.0,
            escaped(&self.horizontal)
        ));
        put(format_args!(
            "<text x=\"18\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {y})\">{}</text>\n</svg>",
            escaped(&self.vertical),
            y = (TOP + HEIGHT - BOTTOM) / 2.0
        ));
        svg
    }

    /// Lines of the grid with their numbers.
    fn grid(&self, frame: &Frame) -> Vec<String> {
        let mut grid = Vec::new();
        for power in frame.y.0 as i32..=frame.y.1 as i32 {
            let (_, y) = frame.place((1.0, 10_f64.powi(power)));
            grid.push(format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                number(10_f64.powi(power))
            ));
        }
        let ticks: Vec<f64> = match self.scale {
            Scale::Linear => (frame.x.0 as i32..=frame.x.1 as i32)
                .map(f64::from)
                .collect(),
            Scale::Logarithmic => (frame.x.0.floor() as i32..=frame.x.1.ceil() as i32)
                .map(|power| 10_f64.powi(power))
                .collect(),
        };
        let has_zero = self
            .curves
            .iter()
            .any(|curve| curve.points.iter().any(|point| point.0 == 0.0));
        for tick in ticks {
            let (x, _) = frame.place((tick, 1.0));
            let shown = if has_zero && tick == 1.0 {
                "0".to_owned()
            } else {
                number(tick)
            };
            grid.push(format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{shown}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0
            ));
        }
        grid
    }

    /// The curves, and their names where they end, pushed apart where they would lie on each other.
    fn lines(&self, frame: &Frame) -> Vec<String> {
        let mut lines = Vec::new();
        let mut names: Vec<(f64, usize)> = Vec::new();
        for (number, curve) in self.curves.iter().enumerate() {
            let places: Vec<(f64, f64)> = curve
                .points
                .iter()
                .map(|&point| frame.place(point))
                .collect();
            let path: Vec<String> = places
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let class = if curve.is_claim { "claim" } else { "line" };
            lines.push(format!(
                "<polyline class=\"{class} c{}\" points=\"{}\"/>",
                number % COLOURS.len(),
                path.join(" ")
            ));
            if !curve.is_claim {
                lines.extend(places.iter().map(|&place| mark(number, place)));
            }
            if let Some(&(_, y)) = places.last() {
                names.push((y, number));
            }
        }
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut lowest = TOP;
        for (y, number) in names {
            let y = y.max(lowest);
            lowest = y + NAME_HEIGHT;
            lines.push(format!(
                "<text class=\"name t{}\" x=\"{}\" y=\"{:.1}\">{}</text>",
                number % COLOURS.len(),
                WIDTH - RIGHT + 12.0,
                y + 4.0,
                escaped(&self.curves[number].name)
            ));
        }
        lines
    }
}

/// A mark of another form for each line.
fn mark(number: usize, (x, y): (f64, f64)) -> String {
    let class = format!("mark f{}", number % COLOURS.len());
    match number % 3 {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => format!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>",
            x - 3.5,
            y - 3.5
        ),
        _ => format!(
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}l4.5 8h-9z\"/>",
            y - 5.0
        ),
    }
}

fn style() -> String {
    let mut light = String::new();
    let mut dark = String::new();
    for (number, (on_white, on_black)) in COLOURS.iter().enumerate() {
        for (sheet, colour) in [(&mut light, on_white), (&mut dark, on_black)] {
            let _ = write!(
                sheet,
                ".c{number}{{stroke:{colour}}}.f{number},.t{number}{{fill:{colour}}}"
            );
        }
    }
    format!(
        "<style>text{{font:12px sans-serif;fill:#333}}.title{{font-size:15px;font-weight:600;fill:#111}}.paper{{fill:#fff}}.grid{{stroke:#ddd}}\
         .line,.claim{{fill:none;stroke-width:2}}.claim{{stroke-dasharray:5 5;stroke-width:1.5}}{light}\
         @media(prefers-color-scheme:dark){{text{{fill:#ccc}}.title{{fill:#eee}}.paper{{fill:#0d1117}}.grid{{stroke:#30363d}}{dark}}}</style>"
    )
}

/// A power of ten or a small number as people write it.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let curve = |name: &str, factor: f64, is_claim| Curve {
            name: name.to_owned(),
            points: [0.0, 10.0, 100.0].map(|x| (x, factor * (x + 1.0))).to_vec(),
            is_claim,
        };
        Chart {
            title: "a < b & \"c\"".to_owned(),
            horizontal: "shards".to_owned(),
            vertical: "ms".to_owned(),
            scale: Scale::Logarithmic,
            curves: vec![
                curve("ours", 1.0, false),
                curve("theirs", 1.0, false),
                curve("linear", 1.0, true),
            ],
        }
    }

    #[test]
    fn every_side_has_a_line_and_a_name_and_only_what_was_measured_has_marks() {
        let svg = chart().svg();
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("class=\"mark").count(), 6);
        for name in ["ours", "theirs", "linear", "a &lt; b &amp; &quot;c&quot;"] {
            assert!(svg.contains(&format!(">{name}</text>")), "{name}: {svg}");
        }
        assert!(svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn a_point_lies_where_its_value_says_and_zero_stands_where_one_would() {
        let frame = Frame::of(&chart());
        let bottom = HEIGHT - BOTTOM;
        assert_eq!(frame.place((0.0, 1.0)), (LEFT, bottom));
        let (x, y) = frame.place((10.0, 10.0));
        assert_eq!(x, (LEFT + WIDTH - RIGHT) / 2.0);
        // The largest value is 101, so the axis ends at 1,000.
        assert!((y - (bottom - (bottom - TOP) / 3.0)).abs() < 1e-9);
    }

    #[test]
    fn names_of_lines_that_end_together_do_not_lie_on_each_other() {
        let svg = chart().svg();
        let mut heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("class=\"name"))
            .map(|line| {
                line.split("y=\"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        heights.sort_by(f64::total_cmp);
        assert!(
            heights
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= NAME_HEIGHT),
            "{heights:?}"
        );
    }
}
