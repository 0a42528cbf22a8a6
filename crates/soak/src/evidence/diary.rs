//! What the soak itself did and saw. Invariant: only facts that do not come from the sentinel's own records. Must not touch: judgement.

use std::collections::BTreeMap;

/// From when to when trading was to be off, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillWindow {
    /// The switch was on.
    pub from: i64,
    /// A person has reset it.
    pub to: i64,
}

/// How a life of the sentinel ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Death {
    /// By itself, asked to.
    Quit,
    /// By its own SIGKILL, right behind that step.
    At(String),
    /// By SIGKILL at some moment of a cycle.
    InCycle,
    /// By SIGKILL while nothing was asked of it.
    AtRest,
}

/// The notes.
#[derive(Debug, Clone, Default)]
pub struct Diary {
    /// Bars that were gone through.
    pub bars: u64,
    /// Bars that were missed because the machine was too slow for the simulated time.
    pub bars_missed: u64,
    /// Cycles that were asked for and answered.
    pub cycles_answered: u64,
    /// Cycles in which the sentinel was killed.
    pub cycles_cut: u64,
    /// Lives of the sentinel, by how they ended.
    pub deaths: BTreeMap<Death, u64>,
    /// Kills behind the writing of a verdict that was found out later, before the execution was counted.
    pub executions_cut: u64,
    /// Starts in which it was killed before it was ready.
    pub starts_cut: u64,
    /// Troubles that met what they were for, and those that did not.
    pub met: BTreeMap<String, u64>,
    /// Ordered and never met: no order came, or a breaker kept the call back.
    pub unmet: BTreeMap<String, u64>,
    /// When trading was to be off.
    pub kill_windows: Vec<KillWindow>,
    /// How often the sentinel said `halted` while it was to be.
    pub halted_seen: u64,
    /// Resets that did not end as they should have.
    pub surprises: Vec<String>,
    /// Starts of the gateway.
    pub gateway_starts: u64,
}

impl Diary {
    /// Notes the end of a life.
    pub fn died(&mut self, death: Death) {
        *self.deaths.entry(death).or_default() += 1;
    }

    /// Notes whether a trouble met something.
    pub fn trouble(&mut self, name: String, has_met: bool) {
        let list = if has_met {
            &mut self.met
        } else {
            &mut self.unmet
        };
        *list.entry(name).or_default() += 1;
    }
}
