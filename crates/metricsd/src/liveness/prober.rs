//! The thread that takes the leases: what it waits for, and when it asks about which shard.
//!
//! Invariant: nothing but waiting, asking and testing happens here; answers are published after the leases are dropped. Must not open
//! any shard for writing.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use metricsd_shard::{Identity, Liveness, ShardFile};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answers::News;
use super::tester::Tester;
use super::watch::Watch;
use super::{Answer, Question, Shared, Watched};

/// How often everything is asked about anyway: a writer that opens an old file causes no event that is waited for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// The same where the kernel has no watch to give.
const SWEEP_INTERVAL_UNWATCHED: Duration = Duration::from_secs(2);

/// The kernel tells of a close before the file counts as closed, so a shard found busy then is asked about again after these.
const AGAIN_AFTER: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// A question that is due later.
#[derive(Debug, Clone, Copy)]
struct Again {
    due: Instant,
    /// How often it was asked again already.
    step: usize,
}

#[derive(Debug)]
struct Prober {
    directory: Option<OwnedFd>,
    watch: Option<Watch>,
    shards: HashMap<Identity, Watched>,
    by_name: HashMap<String, Identity>,
    again: HashMap<Identity, Again>,
    next_sweep: Instant,
    tester: Tester,
    /// Answers that are not published yet, in the order in which they were given.
    fresh: Vec<(Identity, News)>,
}

pub(super) fn run(shared: &Shared) {
    let mut prober = Prober {
        directory: None,
        watch: None,
        shards: HashMap::new(),
        by_name: HashMap::new(),
        again: HashMap::new(),
        next_sweep: Instant::now() + SWEEP_INTERVAL,
        tester: Tester::default(),
        fresh: Vec::new(),
    };
    loop {
        let mut state = shared.lock();
        if state.stopping {
            return;
        }
        let order = state.order.take();
        let questions = std::mem::take(&mut state.questions);
        drop(state);
        let number = order.map(|order| {
            prober.obey(order.directory, order.shards);
            order.number
        });
        prober.ask_what_is_due();
        let replies: Vec<_> = questions
            .into_iter()
            .map(|question| prober.answer(question))
            .collect();
        prober.publish(shared, number);
        for (reply, answers) in replies {
            // Whoever asked may have lost patience.
            let _ = reply.send(answers);
        }
        prober.wait(shared);
    }
}

impl Prober {
    fn obey(&mut self, directory: OwnedFd, shards: Vec<Watched>) {
        if !self
            .directory
            .as_ref()
            .is_some_and(|known| is_same(known, &directory))
        {
            self.watch = match Watch::new(directory.as_fd()) {
                Ok(watch) => Some(watch),
                Err(err) => {
                    tracing::warn!(error = %err, "the kernel gives no watch on the shard directory; ended sessions are noticed later");
                    None
                }
            };
            self.tester.test(&directory);
        }
        self.directory = Some(directory);
        self.by_name = shards
            .iter()
            .map(|shard| (shard.file_name.clone(), shard.identity))
            .collect();
        let known = std::mem::replace(
            &mut self.shards,
            shards
                .into_iter()
                .map(|shard| (shard.identity, shard))
                .collect(),
        );
        let new: Vec<Identity> = self
            .shards
            .keys()
            .filter(|identity| !known.contains_key(*identity))
            .copied()
            .collect();
        for identity in new {
            // Its writer may have closed it before there was a name to connect the event with.
            self.ask(identity, AGAIN_AFTER.len() - 1, false);
        }
    }

    /// Asks about files that somebody waits for.
    fn answer(&mut self, question: Question) -> (SyncSender<Vec<Answer>>, Vec<Answer>) {
        let answers = question
            .files
            .iter()
            .map(|(identity, file)| {
                let answer = Answer::about(file);
                self.note(*identity, answer, false);
                answer
            })
            .collect();
        (question.reply, answers)
    }

    /// Has an answer published, if it is about a shard that is followed.
    fn note(&mut self, identity: Identity, answer: Answer, was_closed: bool) {
        if self.shards.contains_key(&identity) {
            self.fresh.push((identity, News { answer, was_closed }));
        }
    }

    fn ask_what_is_due(&mut self) {
        let happened = self.watch.as_ref().map(Watch::take).unwrap_or_default();
        let closed: HashSet<Identity> = happened
            .names
            .iter()
            .filter_map(|name| self.by_name.get(name).copied())
            .collect();
        for identity in closed {
            self.ask(identity, 0, true);
        }
        let now = Instant::now();
        if let Some(directory) = &self.directory {
            self.tester.test_again(directory, now);
        }
        if happened.overflow || now >= self.next_sweep {
            for identity in self.shards.keys().copied().collect::<Vec<_>>() {
                self.ask(identity, AGAIN_AFTER.len(), false);
            }
            let watched = self.watch.is_some();
            self.next_sweep = now
                + if watched {
                    SWEEP_INTERVAL
                } else {
                    SWEEP_INTERVAL_UNWATCHED
                };
        }
        let due: Vec<_> = self.again.extract_if(|_, again| again.due <= now).collect();
        for (identity, again) in due {
            self.ask(identity, again.step + 1, false);
        }
    }

    /// Asks about one shard; if somebody has it open, again later, beginning with the given step.
    fn ask(&mut self, identity: Identity, step: usize, was_closed: bool) {
        let Some(shard) = self.shards.get(&identity) else {
            return;
        };
        let opened;
        let file = match (&shard.kept, &self.directory) {
            (Some(file), _) => Some(file.as_ref()),
            (None, Some(directory)) => {
                opened = ShardFile::open_at(directory.as_fd(), &shard.file_name).ok();
                opened.as_ref().filter(|file| file.identity() == identity)
            }
            (None, None) => None,
        };
        let answer = file.map_or_else(Answer::not_asked, Answer::about);
        if let (Liveness::Busy, Some(delay)) = (answer.liveness, AGAIN_AFTER.get(step)) {
            let due = answer.answered_at + *delay;
            self.again.insert(identity, Again { due, step });
        }
        self.note(identity, answer, was_closed);
    }

    fn publish(&mut self, shared: &Shared, number: Option<u64>) {
        let mut state = shared.lock();
        state.mode = self.tester.mode();
        if self.fresh.is_empty() && number.is_none() {
            return;
        }
        // Whoever looks at the answers just now keeps the old ones.
        let answers = Arc::make_mut(&mut state.answers);
        for (identity, news) in self.fresh.drain(..) {
            answers.take(identity, news);
        }
        if let Some(number) = number {
            answers.retain(|identity| self.shards.contains_key(identity));
            state.answered = number;
        }
        drop(state);
        shared.answered.notify_all();
    }

    fn wait(&self, shared: &Shared) {
        let next = self
            .again
            .values()
            .map(|again| again.due)
            .chain(self.tester.due())
            .fold(self.next_sweep, Instant::min);
        let timeout = next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut events = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        events.extend(
            self.watch
                .as_ref()
                .map(|watch| PollFd::new(watch, PollFlags::IN)),
        );
        // An interrupted wait is a wait that is over.
        if poll(&mut events, Some(&timeout)).is_ok() && !events[0].revents().is_empty() {
            let mut count = [0; 8];
            let _ = rustix::io::read(&shared.wake, &mut count);
        }
    }
}

/// Whether two descriptors are of one directory.
fn is_same(a: &OwnedFd, b: &OwnedFd) -> bool {
    let place = |fd: &OwnedFd| -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(fd)?;
        Ok((stat.st_dev, stat.st_ino))
    };
    place(a)
        .ok()
        .zip(place(b).ok())
        .is_some_and(|(a, b)| a == b)
}
