//! Everything that runs, and one bar of it.
//!
//! Invariant: when a bar is over, what is to be there is there again: gateway, feed, model server and sentinel, those that are away by
//! schedule apart.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{BEGIN, Settings};
use crate::evidence::Evidence;
use crate::evidence::book::Book;
use crate::evidence::diary::{Death, Diary};
use crate::evidence::intents::Intents;
use crate::evidence::page::Page;
use crate::gateway::{Gateway, Mood};
use crate::proxy::Proxy;
use crate::remotes::{INTERVAL, Remotes};
use crate::schedule::{CALM_BARS, Planned, Trouble};
use crate::sentinel_process::{Answer, Launch, Request, Sentinel};
use crate::simulated::SimulatedTime;
use crate::verdict::Verdict;

/// Simulated milliseconds from the close of a bar to its cycle, and to a second one.
const LOOKS_MS: [i64; 2] = [2_000, 30_000];

/// The secret with which a person leaves halted.
pub(super) const RESET_SECRET: &str = "the soak's person knows this one";

/// Everything that runs.
#[derive(Debug)]
pub struct World {
    pub(super) settings: Settings,
    pub(super) time: SimulatedTime,
    pub(super) remotes: Remotes,
    pub(super) proxy: Arc<Proxy>,
    pub(super) gateway: Gateway,
    pub(super) sentinel: Option<Sentinel>,
    pub(super) launch: Launch,
    pub(super) planned: Vec<Planned>,
    pub(super) diary: Diary,
    pub(super) intents: Intents,
    /// The bars at which feed, model server and gateway are back.
    pub(super) away: [Option<usize>; 3],
    /// Whether the feed comes back with rows that end a bar too early.
    pub(super) is_stale_on_return: bool,
    /// The bar until which nothing is said about an order.
    pub(super) silent_until: Option<usize>,
    /// Troubles that met nothing, to be tried again.
    pub(super) again: VecDeque<Trouble>,
    /// The bar at which a person resets the kill switch, and when it was thrown.
    pub(super) person: Option<(usize, i64)>,
}

impl World {
    /// Starts all but the sentinel.
    pub(super) fn begin(settings: &Settings) -> Result<World> {
        let folder = &settings.folder;
        let clock = folder.join("clock");
        let time = SimulatedTime::begin(&clock, BEGIN * 1_000).context("the simulated time")?;
        let now = time.clone();
        let proxy = Arc::new(Proxy::start(move || now.now_ms()).context("the proxy")?);
        let remotes = Remotes::start(settings.seed, time.clone()).context("the stand-ins")?;
        let mut gateway = Gateway::new(&settings.python, folder, &clock, Arc::clone(&proxy))?;
        gateway.set_price(Some(1.1))?;
        gateway.start(Mood::Fills)?;
        let launch = super::launch::launch(settings, &clock, &remotes, &proxy, &gateway)?;
        Ok(World {
            settings: settings.clone(),
            time,
            remotes,
            proxy,
            gateway,
            sentinel: None,
            launch,
            planned: super::plan(settings),
            diary: Diary::default(),
            intents: Intents::default(),
            away: [None; 3],
            is_stale_on_return: false,
            silent_until: None,
            again: VecDeque::new(),
            person: None,
        })
    }

    /// One bar, from its close to the next one's.
    pub(super) fn bar(&mut self, bar: usize) -> Result<()> {
        let open = BEGIN + i64::try_from(bar).unwrap_or(0) * INTERVAL;
        let close_ms = (open + INTERVAL) * 1_000;
        let [first, second] = LOOKS_MS.map(|look| close_ms + look);
        if self.time.now_ms() >= close_ms + INTERVAL * 1_000 {
            self.diary.bars_missed += 1;
            return Ok(());
        }
        self.time.jump_to(first).context("the simulated time")?;
        self.diary.bars += 1;
        self.come_back(bar)?;
        self.person_resets(bar)?;
        let price = self
            .remotes
            .true_bars(open, open)
            .first()
            .map(|bar| bar.close);
        self.gateway.set_price(price)?;
        self.stand_up()?;
        let side = Verdict::of(self.settings.seed, open).side();
        let troubles = self.troubles_of(bar, side.is_some());
        let armed = self.arm(&troubles, bar, price.zip(side))?;
        self.keep_silent(None);
        self.cycle(armed.assassin)?;
        self.settle(&troubles, &armed.before)?;
        self.keep_silent(Some(bar));
        self.gateway.set_price(price)?;
        self.stand_up()?;
        self.time.jump_to(second).context("the simulated time")?;
        self.beats(1)?;
        self.cycle(None)
    }

    /// What is planned, and one more that met nothing before, where nothing planned stands in its way.
    fn troubles_of(&mut self, bar: usize, has_order: bool) -> Vec<Trouble> {
        let mut troubles = self.planned[bar].troubles.clone();
        let is_calm = bar + CALM_BARS >= self.planned.len();
        let is_away = self.away.iter().any(Option::is_some)
            || self.person.is_some()
            || self.silent_until.is_some();
        let is_in_the_way = troubles
            .iter()
            .any(|one| one.is_long() || !one.needs_order());
        if has_order && !is_calm && !is_away && !is_in_the_way {
            troubles.extend(self.again.pop_front());
        }
        troubles
    }

    /// Starts what is not running and not away.
    pub(super) fn stand_up(&mut self) -> Result<()> {
        if self.away[2].is_none() && !self.gateway.is_running()? {
            self.gateway.kill()?;
            self.gateway.start(Mood::Fills)?;
        }
        while self.sentinel.is_none() {
            self.intents.read_if_there(&self.intents_dir())?;
            self.sentinel = Sentinel::start(&self.launch)?;
            match self.sentinel {
                None => self.diary.starts_cut += 1,
                // Before anything else it finds out what became of what.
                Some(_) => self.beats(1)?,
            }
        }
        Ok(())
    }

    /// One cycle of the sentinel, in which it may be killed.
    pub(super) fn cycle(&mut self, killed_after: Option<std::time::Duration>) -> Result<()> {
        let Some(sentinel) = &mut self.sentinel else {
            return Ok(());
        };
        let assassin = killed_after
            .map(|time| crate::sentinel_process::Assassin::after(time, sentinel.id()))
            .transpose()?;
        self.time.run().context("the simulated time")?;
        let answer = sentinel.ask(&Request::Cycle)?;
        self.time.pause().context("the simulated time")?;
        if let Some(assassin) = assassin {
            assassin.cancel();
        }
        match answer {
            Answer::Did(_) => self.diary.cycles_answered += 1,
            Answer::Died => {
                self.diary.cycles_cut += 1;
                self.sentinel = None;
            }
        }
        Ok(())
    }

    /// Signs of life of the sentinel.
    pub(super) fn beats(&mut self, count: u32) -> Result<()> {
        let Some(sentinel) = &mut self.sentinel else {
            return Ok(());
        };
        self.time.run().context("the simulated time")?;
        let answer = sentinel.ask(&Request::Beats(count))?;
        self.time.pause().context("the simulated time")?;
        if answer == Answer::Died {
            self.diary.died(Death::AtRest);
            self.sentinel = None;
        }
        Ok(())
    }

    /// Asks until nothing is open, ends everything, and takes the evidence.
    pub(super) fn end(mut self, asks: u32) -> Result<Evidence> {
        for _ in 0..asks {
            let said = self.sentinel.as_ref().map(|sentinel| &sentinel.said);
            if said.is_some_and(|said| said.is_reconciled && said.open + said.placed == 0) {
                break;
            }
            self.time
                .jump_to(self.time.now_ms() + 5_000)
                .context("the simulated time")?;
            self.stand_up()?;
            self.beats(2)?;
        }
        let last_said = self.sentinel.as_ref().map(|sentinel| sentinel.said.clone());
        if let Some(sentinel) = self.sentinel.take() {
            sentinel.quit()?;
            self.diary.died(Death::Quit);
        }
        self.intents.read_if_there(&self.intents_dir())?;
        self.gateway.kill()?;
        self.diary.gateway_starts = self.gateway.starts;
        let folder = &self.settings.folder;
        Ok(Evidence {
            book: Book::parse(&self.gateway.book()?)?,
            page: Page::render(&folder.join("shards"), &folder.join("metricsd"))?,
            seen: self.proxy.seen(),
            asked: self.remotes.asked(),
            audit: folder.join("state/live/audit"),
            planned: crate::schedule::counts(&self.planned),
            last_said,
            seed: self.settings.seed,
            intents: self.intents,
            diary: self.diary,
        })
    }

    /// Where it stands, in a few words.
    pub fn in_short(&self) -> String {
        let starts = self.diary.deaths.values().sum::<u64>() + 1;
        format!(
            "{} orders sent, {} lives of the sentinel, {} of the gateway",
            self.proxy.seen().orders.len(),
            starts,
            self.gateway.starts
        )
    }

    pub(super) fn intents_dir(&self) -> PathBuf {
        self.settings.folder.join("state/live/intents")
    }

    pub(super) fn kill_file(&self) -> PathBuf {
        self.settings.folder.join("state/kill")
    }
}
