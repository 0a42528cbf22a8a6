//! The intraday interface of EODHD, from the candles that the project ships.
//!
//! Invariant: a bar that was once given as closed is given again with the same numbers as long as the stand-in runs, and the last row is
//! the bar that is forming, whose prices will be others when it is closed.
//!
//! Hourly bars keep their place in the week: they are shifted by whole weeks, so that weekends stay weekends. Bars of other intervals are
//! the same candles in the same order, one for each interval since the epoch and over again at the end, with no weekends: for a market that is always open.

use std::fmt::{self, Write as _};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;

use crate::fault::RowFault;
use crate::server::{Answer, Recorded, Server};

/// The shipped candles: `open_time,open,high,low,close,volume` behind a head of comments.
const CANDLES: &str = include_str!("../../../data/eurusd-1h-2017.csv");

const WEEK_SECONDS: i64 = 7 * 86_400;
const HOUR_SECONDS: i64 = 3_600;

/// 2017-11-03T21:00:00Z, a Friday: a replay begins in the week before it, with a year behind it and weeks without holidays ahead.
const LATEST_START: i64 = 1_509_742_800;

/// What a stand-in takes for the time, in Unix seconds.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Clock {
        Clock(Arc::new(|| Timestamp::now().as_second()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What is replayed, where and when.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the clock says decides which bar is the newest.
    pub clock: Clock,
    /// Whether the bar that is forming stands at the end.
    pub forming: bool,
}

impl Default for Replay {
    fn default() -> Replay {
        Replay {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clock: Clock::system(),
            forming: true,
        }
    }
}

/// Opening in Unix seconds; open, high, low, close; volume.
pub type PlainBar = (i64, [f64; 4], f64);

/// A running stand-in for EODHD.
pub struct Eodhd {
    server: Server,
    source: Arc<Source>,
}

impl fmt::Debug for Eodhd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Deref for Eodhd {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Eodhd {
    /// Starts it.
    ///
    /// # Errors
    /// When the address cannot be bound, or the shipped candles cannot be read.
    pub fn start(replay: Replay) -> io::Result<Eodhd> {
        let candles = read_candles().ok_or(io::ErrorKind::InvalidData)?;
        let now = (replay.clock.0)();
        let source = Arc::new(Source {
            candles,
            shift: (now - LATEST_START).div_euclid(WEEK_SECONDS) * WEEK_SECONDS + WEEK_SECONDS,
            forming: replay.forming,
        });
        let clock = replay.clock;
        let answering = Arc::clone(&source);
        let server = Server::start(replay.listen, move |request, fault| {
            answering.answer(request, fault, (clock.0)())
        })?;
        Ok(Eodhd { server, source })
    }

    /// The bars as they are once they are closed, whatever fault is on order: of `step` seconds (60, 300 or 3600), opening from and to Unix
    /// seconds. Each has its opening; open, high, low, close; and volume. What is given back outlives the stand-in.
    pub fn bars(&self) -> impl Fn(i64, i64, i64) -> Vec<PlainBar> + Send + Sync + 'static + use<> {
        let source = Arc::clone(&self.source);
        move |step, from, to| {
            let rows = source.rows(step, from, to).into_iter();
            rows.map(|row| (row.open_time, row.prices, row.volume))
                .collect()
        }
    }

    /// The base URL, as `EODHD_BASE_URL` takes it.
    pub fn url(&self) -> String {
        format!("http://{}/api", self.address())
    }
}

#[derive(Debug, Clone, Copy)]
struct Candle {
    open_time: i64,
    /// Open, high, low, close.
    prices: [f64; 4],
    volume: f64,
}

fn read_candles() -> Option<Vec<Candle>> {
    let lines = CANDLES.lines().filter(|line| !line.starts_with('#'));
    lines
        .skip(1)
        .map(|line| {
            let mut fields = line.split(',');
            let time: Timestamp = fields.next()?.parse().ok()?;
            let numbers: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
            let [open, high, low, close, volume] = numbers.try_into().ok()?;
            Some(Candle {
                open_time: time.as_second(),
                prices: [open, high, low, close],
                volume,
            })
        })
        .collect()
}

struct Source {
    /// Oldest first.
    candles: Vec<Candle>,
    /// What is added to the time of an hourly candle: whole weeks.
    shift: i64,
    forming: bool,
}

fn refusal(status: u16, text: &str) -> Answer {
    Answer {
        status,
        content_type: "text/plain",
        body: text.as_bytes().to_vec(),
    }
}

impl Source {
    fn answer(&self, request: &Recorded, fault: Option<RowFault>, now: i64) -> Answer {
        let Some(symbol) = request.path.strip_prefix("/api/intraday/") else {
            return refusal(404, "Not Found");
        };
        if request.query_value("api_token").unwrap_or("").is_empty() {
            return refusal(401, "Unauthenticated");
        }
        if symbol != "EURUSD.FOREX" {
            return refusal(404, "Ticker Not Found.");
        }
        let step = match (request.query_value("interval"), request.query_value("fmt")) {
            (Some("1m"), Some("json")) => 60,
            (Some("5m"), Some("json")) => 300,
            (Some("1h"), Some("json")) => HOUR_SECONDS,
            _ => return refusal(422, "Unprocessable: interval or fmt"),
        };
        let bound = |name| request.query_value(name).map(str::parse::<i64>);
        let (Ok(from), Ok(to)) = (
            bound("from").unwrap_or(Ok(now - 120 * 86_400)),
            bound("to").unwrap_or(Ok(now)),
        ) else {
            return refusal(422, "Unprocessable: from or to");
        };
        let mut rows = self.rows(step, from, to.min(now));
        if !self.forming {
            rows.retain(|row| row.open_time + step <= now);
        }
        if let Some(fault) = fault {
            rows = spoil(rows, fault, step, now);
        }
        Answer {
            status: 200,
            content_type: "application/json",
            body: render(&rows, step, now, fault).into_bytes(),
        }
    }

    /// Bars that open from `from` to `to`.
    fn rows(&self, step: i64, from: i64, to: i64) -> Vec<Candle> {
        if step == HOUR_SECONDS {
            let shifted = self.candles.iter().map(|candle| Candle {
                open_time: candle.open_time + self.shift,
                ..*candle
            });
            return shifted
                .filter(|candle| (from..=to).contains(&candle.open_time))
                .collect();
        }
        let count = i64::try_from(self.candles.len()).unwrap_or(i64::MAX);
        (from.div_euclid(step)..=to.div_euclid(step))
            .filter(|slot| slot * step >= from)
            .filter_map(|slot| {
                let index = usize::try_from(slot.rem_euclid(count)).ok()?;
                Some(Candle {
                    open_time: slot * step,
                    ..self.candles[index]
                })
            })
            .collect()
    }
}

/// Rows as they should not be.
fn spoil(mut rows: Vec<Candle>, fault: RowFault, step: i64, now: i64) -> Vec<Candle> {
    let closed = rows
        .iter()
        .take_while(|row| row.open_time + step <= now)
        .count();
    if closed == 0 {
        return rows;
    }
    match fault {
        RowFault::Stale(count) => rows.truncate(closed.saturating_sub(count)),
        RowFault::Short(count) => rows = rows.split_off(closed.saturating_sub(count)),
        RowFault::Duplicate => rows.insert(closed, rows[closed - 1]),
        RowFault::OutOfOrder if closed > 1 => rows.swap(closed - 1, closed - 2),
        RowFault::Gap if closed > 10 => {
            rows.remove(closed - 10);
        }
        RowFault::Ohlc => rows[closed - 1].prices.swap(1, 2),
        RowFault::Restated => {
            let prices = &mut rows[closed - 1].prices;
            prices[3] = (prices[1] + prices[2]) / 2.0 + 1e-7;
        }
        RowFault::Future => {
            let last = rows[rows.len() - 1];
            let open_time = (now + 86_400).div_euclid(step) * step;
            rows.push(Candle { open_time, ..last });
        }
        RowFault::OutOfOrder
        | RowFault::Gap
        | RowFault::Null
        | RowFault::NotANumber
        | RowFault::WithoutTime => {}
    }
    rows
}

fn render(rows: &[Candle], step: i64, now: i64, fault: Option<RowFault>) -> String {
    let newest_closed = rows.iter().rposition(|row| row.open_time + step <= now);
    let mut text = String::from("[");
    for (index, row) in rows.iter().enumerate() {
        let is_forming = row.open_time <= now && row.open_time + step > now;
        let [open, high, low, close] = match row.prices {
            // What has begun is flat so far: whoever uses it gets other prices than the closed bar has.
            [open, ..] if is_forming => [open; 4],
            prices => prices,
        };
        let volume = if is_forming { 0.0 } else { row.volume };
        let close = match fault {
            Some(RowFault::Null) if newest_closed == Some(index) => "null".to_owned(),
            Some(RowFault::NotANumber) if newest_closed == Some(index) => "\"NaN\"".to_owned(),
            _ => close.to_string(),
        };
        let datetime = Timestamp::from_second(row.open_time).unwrap_or_default();
        let datetime = datetime.strftime("%Y-%m-%d %H:%M:%S");
        let time = match fault {
            Some(RowFault::WithoutTime) => String::new(),
            _ => format!("\"timestamp\":{},", row.open_time),
        };
        let comma = if index == 0 { "" } else { "," };
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "{comma}{{{time}\"gmtoffset\":0,\"datetime\":\"{datetime}\",\"open\":{open},\"high\":{high},\"low\":{low},\"close\":{close},\"volume\":{volume}}}"
        );
    }
    text.push(']');
    text
}
