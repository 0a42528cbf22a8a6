//! Sessions: the processes behind the shards, for the daemon's own metrics. They decide nothing about what is served.
//!
//! Invariant: a session is live if any of its shards is open for writing, and ended if none is; procfs is asked only where the
//! kernel's leases cannot tell. Must not touch: files, the clock. What procfs says comes in through a closure.

use std::collections::{BTreeMap, HashMap};

use metricsd_shard::{BirthTime, Liveness, ShardName, WriterId};

use crate::collect::Process;

/// The program of a writer that does not say which one it is.
pub const UNNAMED_PROGRAM: &str = "python";

/// Programs that are told apart; a directory full of sidecars must not make a series of each.
const PROGRAMS_MAX: usize = 200;

/// Stands for the programs beyond that.
const OTHER_PROGRAMS: &str = "other";

/// One process that writes or wrote shards.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// What its sidecar calls it, else [`UNNAMED_PROGRAM`].
    pub program: String,
    /// Process ID in its own PID namespace, where the shard's name tells.
    pub pid: Option<u32>,
    /// The oldest of its shards.
    pub birth: Option<BirthTime>,
    /// Its sidecar.
    pub process: Option<Process>,
    shard_count: usize,
}

/// Every session, and which one each shard belongs to.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: Vec<Session>,
    of_shard: Vec<usize>,
}

/// What is known of the sessions of one program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgramTally {
    /// Sessions that still write.
    pub live: u64,
    /// Sessions that are over.
    pub ended: u64,
    /// Live ones that record into memory because they cannot write.
    pub degraded: u64,
    /// Whether the last collection saw a value of any of them move.
    pub moved: bool,
}

impl Sessions {
    /// Groups shards, given by name and birth, by the ID of their writer.
    pub fn new<'a>(
        shards: impl Iterator<Item = (&'a ShardName, Option<BirthTime>)>,
        processes: impl Iterator<Item = (&'a str, &'a Process)>,
    ) -> Sessions {
        let mut sessions = Sessions::default();
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for (id, process) in processes {
            by_id.insert(id, sessions.sessions.len());
            sessions.sessions.push(Session {
                program: process.program.clone(),
                pid: Some(process.pid),
                birth: None,
                process: Some(process.clone()),
                shard_count: 0,
            });
        }
        for (name, birth) in shards {
            let writer = name.writer_id();
            // Our own writers' IDs may end in a slot, which is not part of the session.
            let whole = writer.map(|writer| writer.to_string());
            let id = name.id.as_str();
            let id = whole.and_then(|whole| id.get(..whole.len())).unwrap_or(id);
            let index = *by_id.entry(id).or_insert_with(|| {
                sessions.sessions.push(Session::of_writer(id, writer));
                sessions.sessions.len() - 1
            });
            let session = &mut sessions.sessions[index];
            session.shard_count += 1;
            session.birth = match (session.birth, birth) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            sessions.of_shard.push(index);
        }
        sessions.bound_programs();
        sessions
    }

    /// Sums up by program. `answers` has what the kernel knows of each shard, `moved` says whether a shard's values moved, and
    /// `lives` what procfs says of a session.
    pub fn tally(
        &self,
        answers: &[Option<Liveness>],
        moved: impl Fn(usize) -> bool,
        lives: impl Fn(&Session) -> bool,
    ) -> BTreeMap<&str, ProgramTally> {
        let (mut busy, mut idle, mut any_moved) = (
            vec![false; self.sessions.len()],
            vec![0_usize; self.sessions.len()],
            vec![false; self.sessions.len()],
        );
        for (shard, (&session, answer)) in self.of_shard.iter().zip(answers).enumerate() {
            match answer {
                Some(Liveness::Busy) => busy[session] = true,
                Some(Liveness::Idle) => idle[session] += 1,
                Some(Liveness::Unknown(_)) | None => {}
            }
            any_moved[session] |= moved(shard);
        }
        let mut programs: BTreeMap<&str, ProgramTally> = BTreeMap::new();
        for (index, session) in self.sessions.iter().enumerate() {
            let all_idle = session.shard_count > 0 && idle[index] == session.shard_count;
            let live = busy[index] || (!all_idle && lives(session));
            let program = programs.entry(&session.program).or_default();
            *(if live {
                &mut program.live
            } else {
                &mut program.ended
            }) += 1;
            let degraded = session
                .process
                .as_ref()
                .is_some_and(|process| process.degraded);
            program.degraded += u64::from(live && degraded);
            program.moved |= any_moved[index];
        }
        programs
    }

    fn bound_programs(&mut self) {
        let mut programs: Vec<&str> = self
            .sessions
            .iter()
            .map(|session| session.program.as_str())
            .collect();
        programs.sort_unstable();
        programs.dedup();
        let Some(first_beyond) = programs
            .get(PROGRAMS_MAX)
            .map(|&program| program.to_owned())
        else {
            return;
        };
        for session in self
            .sessions
            .iter_mut()
            .filter(|session| session.program >= first_beyond)
        {
            OTHER_PROGRAMS.clone_into(&mut session.program);
        }
    }
}

impl Session {
    fn of_writer(id: &str, writer: Option<WriterId>) -> Session {
        let pid = writer.map(|writer| writer.pid).or_else(|| id.parse().ok());
        Session {
            program: UNNAMED_PROGRAM.to_owned(),
            pid,
            birth: None,
            process: None,
            shard_count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use metricsd_shard::UnknownReason;

    use super::*;

    const ID: &str = "41-aaaaaaaaaaaaaaaaaaaaaaaaaa";
    const UNKNOWN: Liveness = Liveness::Unknown(UnknownReason::NotOwner);

    fn process(program: &str, degraded: bool) -> Process {
        Process {
            program: program.to_owned(),
            version: "1".to_owned(),
            mode: "paper".to_owned(),
            pid: 41,
            started_at_unix_seconds: 0.0,
            start_ticks: 0,
            boot_id: String::new(),
            pid_namespace: None,
            labels: BTreeMap::new(),
            degraded,
        }
    }

    fn sessions(files: &[&str], processes: &[(&str, Process)]) -> Sessions {
        let names: Vec<ShardName> = files
            .iter()
            .map(|file| ShardName::parse(file).unwrap())
            .collect();
        let processes = processes.iter().map(|(id, process)| (*id, process));
        Sessions::new(names.iter().map(|name| (name, None)), processes)
    }

    /// Live and ended sessions of the one program that there is.
    fn counts(sessions: &Sessions, answers: &[Liveness], lives: bool) -> (u64, u64) {
        let answers: Vec<Option<Liveness>> = answers.iter().copied().map(Some).collect();
        let programs = sessions.tally(&answers, |_| false, |_| lives);
        assert_eq!(programs.len(), 1);
        programs
            .values()
            .map(|tally| (tally.live, tally.ended))
            .next()
            .unwrap()
    }

    #[test]
    fn a_session_is_all_shards_of_one_writer() {
        let slot = format!("gauge_max_{ID}-3.db");
        let counter = format!("counter_{ID}.db");
        let own = sessions(&[&counter, &slot], &[(ID, process("p", false))]);
        assert_eq!(
            counts(&own, &[Liveness::Idle, Liveness::Idle], true),
            (0, 1)
        );
        assert_eq!(
            counts(&own, &[Liveness::Idle, Liveness::Busy], false),
            (1, 0),
            "one shard is enough to live"
        );
        let python = sessions(&["counter_7.db", "gauge_all_7.db", "counter_8.db"], &[]);
        assert_eq!(
            counts(
                &python,
                &[Liveness::Idle, Liveness::Idle, Liveness::Busy],
                false
            ),
            (1, 1)
        );
    }

    #[test]
    fn procfs_decides_only_where_the_kernel_cannot_tell() {
        let python = sessions(&["counter_7.db", "gauge_all_7.db"], &[]);
        assert_eq!(counts(&python, &[Liveness::Idle, UNKNOWN], true), (1, 0));
        assert_eq!(counts(&python, &[Liveness::Idle, UNKNOWN], false), (0, 1));
        assert_eq!(counts(&python, &[Liveness::Busy, UNKNOWN], false), (1, 0));
        let without_shards = sessions(&[], &[(ID, process("p", true))]);
        assert_eq!(
            counts(&without_shards, &[], true),
            (1, 0),
            "it could not write a single shard"
        );
    }

    #[test]
    fn only_live_sessions_count_as_degraded_or_moved_by_their_shards() {
        let file = format!("counter_{ID}.db");
        let degraded = sessions(&[&file], &[(ID, process("p", true))]);
        let tally = |answer: Liveness| degraded.tally(&[Some(answer)], |_| true, |_| false)["p"];
        assert_eq!(
            (
                tally(Liveness::Busy).degraded,
                tally(Liveness::Idle).degraded
            ),
            (1, 0)
        );
        assert!(tally(Liveness::Idle).moved);
    }

    #[test]
    fn a_directory_full_of_programs_makes_a_bounded_number_of_series() {
        let ids: Vec<String> = (0..500)
            .map(|number| format!("{number}-aaaaaaaaaaaaaaaaaaaaaaaaaa"))
            .collect();
        let processes: Vec<(&str, Process)> = ids
            .iter()
            .enumerate()
            .map(|(number, id)| (id.as_str(), process(&format!("p{number:03}"), false)))
            .collect();
        let many = sessions(&[], &processes);
        let programs = many.tally(&[], |_| false, |_| false);
        assert_eq!(programs.len(), PROGRAMS_MAX + 1);
        assert_eq!(programs[OTHER_PROGRAMS].ended, 300);
    }
}
