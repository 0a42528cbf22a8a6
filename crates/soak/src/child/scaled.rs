//! Budgets of simulated time in the machine's. Invariant: a budget is that much shorter and nothing else is changed.

use std::time::{Duration, Instant};

use market::eodhd::RawBar;
use sentinel::calls::{Calls, NoAnswer, Remotes};
use sentinel::clock::Clock;
use sentinel::features::Features;
use sentinel::gateway::link::{Ask, Exchange, Gateway, Link, LinkState};
use sentinel::model::{ModelIdentity, Probabilities};

use crate::simulated::real;

/// Feed and model server.
#[derive(Debug)]
pub(super) struct ScaledRemotes {
    calls: Calls,
    clock: Clock,
}

impl ScaledRemotes {
    pub(super) fn new(calls: Calls, clock: Clock) -> ScaledRemotes {
        ScaledRemotes { calls, clock }
    }

    fn real(&self, deadline: Instant) -> Instant {
        let left = deadline.saturating_duration_since(self.clock.now().monotonic);
        Instant::now() + real(left)
    }
}

impl Remotes for ScaledRemotes {
    fn fetch(&mut self, from: i64, to: i64, deadline: Instant) -> Result<Vec<RawBar>, NoAnswer> {
        let deadline = self.real(deadline);
        self.calls.fetch(from, to, deadline)
    }

    fn predict(
        &mut self,
        features: &Features,
        deadline: Instant,
    ) -> Result<Probabilities, NoAnswer> {
        let deadline = self.real(deadline);
        self.calls.predict(features, deadline)
    }

    fn identify(&mut self, deadline: Instant) -> Result<ModelIdentity, NoAnswer> {
        let deadline = self.real(deadline);
        self.calls.identify(deadline)
    }
}

/// The link.
#[derive(Debug)]
pub(super) struct ScaledGateway(pub(super) Link);

impl Gateway for ScaledGateway {
    fn exchange(&mut self, ask: Ask, budget: Duration) -> Exchange {
        self.0.exchange(ask, real(budget))
    }

    fn state(&self) -> LinkState {
        self.0.state()
    }
}
