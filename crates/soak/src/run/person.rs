//! The kill switch, and the person who takes it back. Invariant: between the two nothing is asked of the sentinel but what is asked of it at any
//! other bar.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::world::{RESET_SECRET, World};
use crate::evidence::diary::{Death, KillWindow};
use crate::gateway::Mood;
use crate::schedule::{PERSON_BARS, Trouble};

impl World {
    /// By the file or by the signal.
    pub(super) fn throw_kill_switch(&mut self, trouble: &Trouble, bar: usize) -> Result<()> {
        if *trouble == Trouble::KillFile {
            fs::write(self.kill_file(), "").context("the kill file")?;
        } else if let Some(sentinel) = &self.sentinel {
            sentinel.signal_kill_switch()?;
        }
        self.person = Some((bar + PERSON_BARS, self.time.now_ms()));
        Ok(())
    }

    /// When its bar has come: what the switch did is looked at, and a person leaves halted.
    pub(super) fn person_resets(&mut self, bar: usize) -> Result<()> {
        let Some((_, from)) = self.person.take_if(|(until, _)| *until <= bar) else {
            return Ok(());
        };
        let said = self.sentinel.as_ref().map(|sentinel| sentinel.said.clone());
        if said.is_some_and(|said| said.trading == "halted") {
            self.diary.halted_seen += 1;
        }
        if let Some(sentinel) = self.sentinel.take() {
            sentinel.quit()?;
            self.diary.died(Death::Quit);
        }
        self.intents.read_if_there(&self.intents_dir())?;
        let _ = fs::remove_file(self.kill_file());
        self.gateway.kill()?;
        self.gateway.release_kill()?;
        self.gateway.start(Mood::Fills)?;
        self.reset("a secret that is not the one", false)?;
        self.reset(RESET_SECRET, true)?;
        self.diary.kill_windows.push(KillWindow {
            from,
            to: self.time.now_ms(),
        });
        Ok(())
    }

    /// `sentinel reset`, as a person calls it.
    fn reset(&mut self, secret: &str, is_right: bool) -> Result<()> {
        let attempt = self.settings.folder.join("attempt.secret");
        fs::write(&attempt, secret).context("the attempt")?;
        let status = Command::new(&self.launch.program)
            .arg("reset")
            .arg("--config")
            .arg(&self.launch.config)
            .arg("--attempt")
            .arg(&attempt)
            .arg("--clock")
            .arg(&self.launch.clock)
            .stderr(Stdio::null())
            .status()
            .context("resetting")?;
        if status.success() != is_right {
            let word = if is_right { "right" } else { "wrong" };
            let surprise = format!("a reset with the {word} secret ended with {status}");
            self.diary.surprises.push(surprise);
        }
        Ok(())
    }
}
