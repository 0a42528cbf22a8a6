//! Which shards somebody still has open for writing. One thread asks the kernel, by taking and dropping a lease on each.
//!
//! Invariant: only this thread takes leases, it does nothing else, and it holds each for two adjacent system calls, because a
//! writer's `open` waits for it. Shards are asked about when they are new, when a writer closed them, when events were lost, and
//! in a slow sweep; never all of them at every scrape. Whether the answers may decide over a file is tested in each directory that
//! is followed. Must not open any shard for writing.

mod answers;
mod life;
mod mode;
mod prober;
mod tester;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use metricsd_shard::{Identity, Liveness, ShardFile, UnknownReason};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, openat};

use crate::collect::{FileTimes, Shard};
use crate::directory::ShardDirectory;

pub use self::answers::Answers;
pub use self::life::{Claim, Looked, Outlook, is_live, look};
pub use self::mode::{LivenessMode, OffReason};

/// Longest that [`LivenessWatch::ask`] waits. Asking takes microseconds a file; whoever waits longer has a thread that is stuck in
/// a file system.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// What the kernel said of a shard, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What it said.
    pub liveness: Liveness,
    /// Before it was asked, by the clock that files' times are taken from.
    pub asked_at: SystemTime,
    /// After it had answered.
    pub answered_at: Instant,
    /// The file's times right after a granted lease; none with any other answer.
    pub times: Option<FileTimes>,
}

impl Answer {
    /// Nobody asked, as of now.
    fn not_asked() -> Answer {
        Answer {
            liveness: Liveness::Unknown(UnknownReason::NotAsked),
            asked_at: SystemTime::now(),
            answered_at: Instant::now(),
            times: None,
        }
    }

    /// Asks about a file now.
    fn about(file: &ShardFile) -> Answer {
        let asked_at = SystemTime::now();
        let liveness = file.probe();
        // A store between lease and `fstat` shows in other times than those before it, or is read later like everything else.
        let times = match liveness {
            Liveness::Idle => file.stat().ok().map(|stat| FileTimes::of(&stat)),
            Liveness::Busy | Liveness::Unknown(_) => None,
        };
        Answer {
            liveness,
            asked_at,
            answered_at: Instant::now(),
            times,
        }
    }
}

/// A shard to ask about.
#[derive(Debug, Clone)]
struct Watched {
    identity: Identity,
    file_name: String,
    /// Open already; else it is opened for each question.
    kept: Option<Arc<ShardFile>>,
}

/// The directory and the shards in it that the thread shall ask about from now on.
#[derive(Debug)]
struct Order {
    number: u64,
    directory: OwnedFd,
    shards: Vec<Watched>,
}

/// Files to ask about once, now, and who waits for the answers.
#[derive(Debug)]
struct Question {
    number: u64,
    files: Vec<(Identity, Arc<ShardFile>)>,
    reply: SyncSender<Vec<Answer>>,
}

#[derive(Debug, Default)]
struct State {
    /// Not yet taken by the thread.
    order: Option<Order>,
    /// The same, oldest first.
    questions: VecDeque<Question>,
    /// Number of the last question.
    questioned: u64,
    mode: LivenessMode,
    ordered: u64,
    /// Number of the last order that every shard was asked about for.
    answered: u64,
    answers: Arc<Answers>,
    stopping: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    answered: Condvar,
    /// Wakes the thread out of its poll.
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Any number above 0 wakes, whatever the byte order. It fails only when a wake is pending already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_le_bytes());
    }
}

/// The thread that asks. Dropping it ends the thread.
#[derive(Debug)]
pub struct LivenessWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LivenessWatch {
    /// Starts the thread. The process must have ignored SIGIO.
    ///
    /// # Errors
    /// The system's: no thread, no descriptor.
    pub fn start() -> io::Result<LivenessWatch> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            answered: Condvar::new(),
            wake,
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("liveness".into())
            .spawn(move || prober::run(&for_thread))?;
        Ok(LivenessWatch {
            shared,
            thread: Some(thread),
        })
    }

    /// From now on these shards of this directory are asked about, and no others. A directory that was not followed just before is
    /// tested first, so the daemon calls this at its start, however empty the directory is.
    ///
    /// # Errors
    /// No descriptor for the directory.
    pub fn follow(&self, directory: &ShardDirectory, shards: &[Shard]) -> io::Result<()> {
        // Opened anew, because a duplicate would share the lock, and hold it for as long as the thread keeps the descriptor.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(directory, c".", flags, Mode::empty())?;
        let watched = |shard: &Shard| Watched {
            identity: shard.identity(),
            file_name: shard.file_name().to_owned(),
            kept: shard.kept_file().cloned(),
        };
        let shards = shards.iter().map(watched).collect();
        let mut state = self.shared.lock();
        state.ordered += 1;
        state.order = Some(Order {
            number: state.ordered,
            directory,
            shards,
        });
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Waits until every shard that is followed has been asked about, at most `patience`; true if so.
    pub fn settle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.answered < state.ordered {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .shared
                .answered
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Has the thread ask about each of these files now, in this order, and waits for the answers. The files need not be followed,
    /// nor have a name any more. Whatever was not answered within five seconds is unknown.
    pub fn ask(&self, files: &[(Identity, Arc<ShardFile>)]) -> Vec<Answer> {
        if files.is_empty() {
            return Vec::new();
        }
        let (reply, answers) = sync_channel(1);
        let mut state = self.shared.lock();
        state.questioned += 1;
        let number = state.questioned;
        state.questions.push_back(Question {
            number,
            files: files.to_vec(),
            reply,
        });
        drop(state);
        self.shared.wake();
        answers.recv_timeout(ASK_PATIENCE).unwrap_or_else(|_| {
            let mut state = self.shared.lock();
            state.questions.retain(|question| question.number != number);
            vec![Answer::not_asked(); files.len()]
        })
    }

    /// Whether answers about the directory that is followed may decide over a file.
    pub fn mode(&self) -> LivenessMode {
        self.shared.lock().mode
    }

    /// The latest answers; a shard that has none was not asked about yet.
    pub fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.shared.lock().answers)
    }
}

impl Drop for LivenessWatch {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by its hook; the answers stay what they were.
            let _ = thread.join();
        }
    }
}
