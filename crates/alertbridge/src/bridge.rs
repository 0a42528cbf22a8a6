//! What requests, workers and the main loop share: the configuration in force, the queue, the workers, the dead-man.
//!
//! Invariant: a configuration that cannot be used changes nothing. There is never more than one worker for a target: a new one waits for
//! the end of the old.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use crate::config::{Config, ConfigError, Target};
use crate::lane;
use crate::own_alert;
use crate::payload::{Alert, Labels, Notification, Status};
use crate::queue::{AcceptError, Accepted, Queue};
use crate::silence::{self, Signer};
use crate::telemetry::{Received, Taken, TargetKind, Telemetry};
use crate::worker::{Handle, Worker};

/// How often the disk is asked, while it refuses, whether it takes something again; at the second refusal people are told.
const DISK_LOOK: Duration = Duration::from_secs(5);

/// How long the end waits for messages that are being sent.
const END_TIME_MAX: Duration = Duration::from_millis(600);

/// Seconds since the Unix epoch, as the machine believes.
pub fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Reads the configuration anew.
pub type Load = dyn Fn() -> Result<Config, ConfigError> + Send + Sync;

/// What is shared. Clones are the same.
#[derive(Clone)]
pub struct Bridge(Arc<Shared>);

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}

struct Shared {
    config: RwLock<Arc<Config>>,
    load: Box<Load>,
    queue: Queue,
    telemetry: Telemetry,
    /// Of a key that nobody configured.
    own_signer: Signer,
    workers: Mutex<BTreeMap<String, Running>>,
    watchdog: Mutex<Watchdog>,
    disk: Mutex<Disk>,
}

/// What is known of the disk.
#[derive(Debug)]
struct Disk {
    looked: Instant,
    refused: bool,
}

struct Running {
    handle: Arc<Handle>,
    kind: TargetKind,
    lane: lane::Shared,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Watchdog {
    last: Instant,
    last_unix: f64,
    /// Since when it is missing, if it is.
    missing_since: Option<Timestamp>,
}

/// Since when a target believes that an alert of this program fires, if it does.
fn told_since(queue: &Queue, target: &str, group: &str, fingerprint: &str) -> Option<Timestamp> {
    match queue.last(target, group, fingerprint)? {
        (Status::Firing, since) => Some(since.parse().unwrap_or_else(|_| Timestamp::now())),
        (Status::Resolved, _) => None,
    }
}

impl Bridge {
    /// Shares these, and starts the workers.
    pub fn start(
        config: Config,
        load: Box<Load>,
        queue: Queue,
        telemetry: Telemetry,
        own_signer: Signer,
    ) -> Bridge {
        let config = Arc::new(config);
        let missing_since = config.dead_man.as_ref().and_then(|dead_man| {
            let fingerprint = own_alert::watchdog_fingerprint(&dead_man.alertname);
            let mut targets = dead_man.targets.iter();
            targets.find_map(|target| {
                told_since(&queue, target, own_alert::WATCHDOG_GROUP, &fingerprint)
            })
        });
        telemetry.record_reload(Some(unix_now()));
        let bridge = Bridge(Arc::new(Shared {
            config: RwLock::new(Arc::clone(&config)),
            load,
            queue,
            telemetry,
            own_signer,
            workers: Mutex::default(),
            watchdog: Mutex::new(Watchdog {
                last: Instant::now(),
                last_unix: unix_now(),
                missing_since,
            }),
            disk: Mutex::new(Disk {
                looked: Instant::now(),
                refused: false,
            }),
        }));
        bridge.start_workers(&config);
        bridge
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// The metrics.
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// What signs links under this configuration.
    pub fn signer(&self, config: &Config) -> Signer {
        let key = config
            .silence
            .as_ref()
            .and_then(|silence| silence.key.clone());
        key.map_or_else(|| self.0.own_signer.clone(), Signer::new)
    }

    /// A link that offers to silence alerts with these labels, if there are such links.
    pub fn silence_link(&self, config: &Config, labels: &Labels) -> Option<String> {
        let settings = config.silence.as_ref()?;
        let now = unix_now() as i64;
        silence::link(
            &self.signer(config),
            settings,
            &config.external_url,
            labels,
            now,
        )
    }

    /// Takes in a body for a target. Status and text of the answer: 200 when everything in it is on disk, 400 when it is no notification,
    /// 503 when it has to come again.
    pub fn receive(&self, target: &str, body: Option<&[u8]>) -> (u16, String) {
        let (result, status, text) = self.received(target, body);
        self.0.telemetry.record_received(result);
        (status, text)
    }

    fn received(&self, target: &str, body: Option<&[u8]>) -> (Received, u16, String) {
        let config = self.config();
        let Some(body) = body else {
            let text = "the notification is too large; set max_alerts of the receiver, or group differently";
            warn!(target, text);
            return (Received::TooLarge, 503, text.to_owned());
        };
        let notification = match Notification::parse(body) {
            Ok(notification) => notification,
            Err(error) => {
                warn!(target, error, "a body that is no notification was refused");
                return (
                    Received::Unparsable,
                    400,
                    format!("not a notification: {error}"),
                );
            }
        };
        // The always-firing alert needs no target: nobody is sent it.
        let is_watchdog = config.dead_man.as_ref().is_some_and(|dead_man| {
            let alerts = &notification.alerts;
            let is_one = |alert: &Alert| alert.label("alertname") == dead_man.alertname;
            !alerts.is_empty() && alerts.iter().all(is_one)
        });
        if !is_watchdog && !config.targets.contains_key(target) {
            warn!(
                target,
                "a notification for a target that is not in the configuration was refused; it comes again"
            );
            let names: Vec<&str> = config.targets.keys().map(String::as_str).collect();
            let text = format!("no target of that name; there are {}", names.join(" "));
            return (Received::UnknownTarget, 503, text);
        }
        match self.accept(&config, target, notification) {
            Ok(accepted) => {
                debug!(
                    target,
                    queued = accepted.queued,
                    duplicates = accepted.duplicates,
                    "a notification was taken in"
                );
                (Received::Accepted, 200, "accepted".to_owned())
            }
            Err(error @ AcceptError::Full { .. }) => (Received::QueueFull, 503, error.to_string()),
            Err(AcceptError::Disk(error)) => {
                let text = format!("the queue cannot be written: {error}");
                (Received::DiskError, 503, text)
            }
        }
    }

    /// Takes in a notification: the always-firing alert is noted, the others wait for the target.
    ///
    /// # Errors
    /// See [`Queue::accept`].
    pub fn accept(
        &self,
        config: &Config,
        target: &str,
        mut notification: Notification,
    ) -> Result<Accepted, AcceptError> {
        if let Some(dead_man) = &config.dead_man {
            let count = notification.alerts.len();
            let mut is_alive = false;
            notification.alerts.retain(|alert| {
                let is_watchdog = alert.label("alertname") == dead_man.alertname;
                is_alive |= is_watchdog && alert.status == Status::Firing;
                !is_watchdog
            });
            let taken = count - notification.alerts.len();
            if taken > 0 {
                self.0.telemetry.record_taken(Taken::Watchdog, taken);
            }
            if is_alive {
                self.watchdog_came(config);
            }
        }
        let accepted = self.0.queue.accept(
            target,
            notification,
            unix_now(),
            config.deduplicate_for,
            config.queue_max_bytes,
        )?;
        let telemetry = &self.0.telemetry;
        telemetry.record_taken(Taken::Queued, accepted.queued);
        telemetry.record_taken(Taken::Duplicate, accepted.duplicates);
        Ok(accepted)
    }

    fn watchdog_came(&self, config: &Config) {
        let was_missing = {
            let mut watchdog = self.watchdog();
            watchdog.last = Instant::now();
            watchdog.last_unix = unix_now();
            watchdog.missing_since
        };
        if let Some(since) = was_missing {
            self.tell_of_watchdog(config, Status::Resolved, since);
            info!("the always-firing alert arrives again");
            self.watchdog().missing_since = None;
        }
    }

    /// To be called often: says so when the always-firing alert has stayed away for too long, and looks after the workers.
    pub fn look_after(&self) {
        let config = self.config();
        self.tend_workers();
        let (last_unix, missing_since, age) = {
            let watchdog = self.watchdog();
            (
                watchdog.last_unix,
                watchdog.missing_since,
                watchdog.last.elapsed(),
            )
        };
        let mut is_missing = missing_since.is_some();
        if let Some(dead_man) = &config.dead_man
            && !is_missing
            && age > dead_man.after
        {
            let since = Timestamp::now();
            self.tell_of_watchdog(&config, Status::Firing, since);
            error!(
                seconds = age.as_secs(),
                alertname = dead_man.alertname,
                "the always-firing alert does not arrive any more"
            );
            self.watchdog().missing_since = Some(since);
            is_missing = true;
        }
        let is_shown = is_missing && config.dead_man.is_some();
        self.0.telemetry.record_watchdog(last_unix, is_shown);
        self.look_at_disk(&config);
        self.show_orphans(&config);
        self.0.queue.forget(unix_now());
    }

    fn tell_of_watchdog(&self, config: &Config, status: Status, since: Timestamp) {
        let Some(dead_man) = &config.dead_man else {
            return;
        };
        let notification = own_alert::watchdog(&dead_man.alertname, status, Some(since));
        for target in &dead_man.targets {
            self.keep(target, notification.clone());
        }
    }

    /// What cannot be taken in cannot say so: while the disk refuses, no alert of Prometheus on it arrives either.
    fn look_at_disk(&self, config: &Config) {
        let mut disk = self.0.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.looked.elapsed() < DISK_LOOK {
            return;
        }
        disk.looked = Instant::now();
        let ready = self.0.queue.ready(config.queue_max_bytes);
        let again = std::mem::replace(&mut disk.refused, ready.is_err());
        drop(disk);
        let Some(dead_man) = &config.dead_man else {
            return;
        };
        let (status, text) = match &ready {
            Err(_) if !again => return,
            Err(text) => (Status::Firing, text.as_str()),
            Ok(()) => (Status::Resolved, ""),
        };
        for target in &dead_man.targets {
            let fingerprint = own_alert::queue_fingerprint();
            self.tell(
                target,
                (own_alert::QUEUE_GROUP, &fingerprint),
                status,
                |since| own_alert::queue(status, since, text),
            );
        }
    }

    /// Tells a target that a target refuses what it is sent, or takes it again.
    pub fn tell_of_refusal(&self, fallback: &str, name: &str, text: Option<&str>) {
        let status = match text {
            Some(_) => Status::Firing,
            None => Status::Resolved,
        };
        let fingerprint = own_alert::refused_fingerprint(name);
        self.tell(
            fallback,
            (own_alert::REFUSED_GROUP, &fingerprint),
            status,
            |since| own_alert::refused_target(name, status, since, text.unwrap_or_default()),
        );
    }

    /// Tells a target of an alert of this program, unless that is what it was told last. The queue knows that, so reloads and restarts begin and end
    /// nothing.
    fn tell(
        &self,
        target: &str,
        (group, fingerprint): (&str, &str),
        status: Status,
        notification: impl FnOnce(Option<Timestamp>) -> Notification,
    ) {
        let since = told_since(&self.0.queue, target, group, fingerprint);
        if since.is_some() != (status == Status::Firing) {
            self.keep(target, notification(since));
        }
    }

    fn keep(&self, target: &str, notification: Notification) {
        let kept = self.0.queue.keep(target, notification, unix_now());
        self.0.telemetry.record_taken(Taken::Queued, kept.queued);
    }

    /// Reads the configuration anew and works with it, or says why not and goes on with the old one.
    ///
    /// # Errors
    /// What is wrong with the new one, in one sentence.
    pub fn reload(&self) -> Result<(), String> {
        let config = match (self.0.load)() {
            Ok(config) => Arc::new(config),
            Err(error) => {
                let sentence = program::sentence(&error);
                self.0.telemetry.record_reload(None);
                error!(
                    error = sentence,
                    "the configuration cannot be used; the old one stays in force"
                );
                return Err(sentence);
            }
        };
        let old = self.config();
        if old.listen != config.listen || old.queue_path != config.queue_path {
            warn!(
                "the listen address and the directory of the queue stay as they are until a restart"
            );
        }
        *self
            .0
            .config
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
        self.start_workers(&config);
        self.0.telemetry.record_reload(Some(unix_now()));
        info!(
            targets = config.targets.len(),
            "the configuration was read anew"
        );
        for warning in &config.warnings {
            warn!("{warning}");
        }
        for (name, count) in self.orphans(&config) {
            warn!(
                target = name,
                alerts = count,
                "alerts wait for a target that is not in the configuration; they stay until it is again"
            );
        }
        Ok(())
    }

    /// Brings the number of targets that refuse what they are sent up to date.
    pub fn show_refused(&self) {
        let workers = self.workers();
        for kind in TargetKind::ALL {
            let refusing = workers
                .values()
                .filter(|worker| worker.kind == *kind && worker.handle.refuses());
            self.0
                .telemetry
                .record_refused_targets(*kind, refusing.count());
        }
    }

    /// Lets messages that are being sent be sent, for a moment at most.
    pub fn end(&self) {
        let mut workers = self.workers();
        for worker in workers.values() {
            worker.handle.end();
        }
        let threads: Vec<JoinHandle<()>> = std::mem::take(&mut *workers)
            .into_values()
            .map(|worker| worker.thread)
            .collect();
        drop(workers);
        self.0.queue.wake();
        let begin = Instant::now();
        while begin.elapsed() < END_TIME_MAX && threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn start_workers(&self, config: &Arc<Config>) {
        let mut workers = self.workers();
        for worker in workers.values() {
            worker.handle.end();
        }
        let mut before = std::mem::take(&mut *workers);
        let lanes = lane::lanes(config, Instant::now(), |key| self.attempt_ages(key));
        for target in config.targets.values() {
            let previous = before.remove(&target.name).map(|worker| worker.thread);
            let Some(lane) = lanes.get(&lane::key(target)) else {
                continue;
            };
            if let Some(running) = self.start_worker(config, target, lane, previous) {
                workers.insert(target.name.clone(), running);
            }
        }
        drop(workers);
        self.0.queue.wake();
        self.show_refused();
    }

    fn start_worker(
        &self,
        config: &Arc<Config>,
        target: &Arc<Target>,
        lane: &lane::Shared,
        previous: Option<JoinHandle<()>>,
    ) -> Option<Running> {
        let (lane, its_lane) = (Arc::clone(lane), Arc::clone(lane));
        let handle = Arc::<Handle>::default();
        let (bridge, its_config) = (self.clone(), Arc::clone(config));
        let (its_target, its_handle) = (Arc::clone(target), Arc::clone(&handle));
        let spawned = std::thread::Builder::new()
            .name(format!("to {}", target.name))
            .spawn(move || {
                if let Some(previous) = previous {
                    // It ends after the message it is about to send; a panic of it is over with it.
                    let _ = previous.join();
                }
                Worker::new(bridge, its_config, its_target, its_handle, its_lane).run();
            });
        match spawned {
            Ok(thread) => Some(Running {
                handle,
                kind: target.kind.label(),
                lane,
                thread,
            }),
            Err(error) => {
                error!(target = target.name, %error, "no thread for a target; its alerts wait, it is tried again");
                None
            }
        }
    }

    /// Starts workers that are not there: one that ended by a fault of this program must not keep alerts for ever.
    fn tend_workers(&self) {
        let mut workers = self.workers();
        // Asked for while the workers are held: a reload puts its configuration in force before it takes them.
        let config = &self.config();
        for target in config.targets.values() {
            if workers
                .get(&target.name)
                .is_some_and(|running| !running.thread.is_finished())
            {
                continue;
            }
            error!(
                target = target.name,
                "a target's thread ended; it is started again"
            );
            let (lane, previous) = match workers.remove(&target.name) {
                Some(running) => (Some(running.lane), Some(running.thread)),
                None => (None, None),
            };
            let lane = lane.or_else(|| {
                let mut lanes = lane::lanes(config, Instant::now(), |key| self.attempt_ages(key));
                lanes.remove(&lane::key(target))
            });
            let Some(lane) = lane else { continue };
            if let Some(running) = self.start_worker(config, target, &lane, previous) {
                workers.insert(target.name.clone(), running);
            }
        }
    }

    /// How many seconds ago messages were sent on a lane.
    fn attempt_ages(&self, key: &str) -> Vec<f64> {
        let now = unix_now();
        let attempts = self.0.queue.attempts(key);
        attempts.iter().map(|at| now - at).collect()
    }

    fn orphans(&self, config: &Config) -> Vec<(String, usize)> {
        let mut waiting = self.0.queue.targets();
        waiting.retain(|(name, _)| !config.targets.contains_key(name));
        waiting
    }

    fn show_orphans(&self, config: &Config) {
        let orphans = self.orphans(config);
        let count = orphans.iter().map(|(_, count)| count).sum();
        self.0.telemetry.record_orphaned(count);
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.0
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn watchdog(&self) -> MutexGuard<'_, Watchdog> {
        self.0
            .watchdog
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
