//! This program's own words, in each language. Invariant: every sentence exists in every language. Must not touch: alerts, networks.

use std::time::Duration;

use crate::config::Language;
use crate::payload::Status;

impl Language {
    fn pick<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self {
            Language::English => english,
            Language::Chinese => chinese,
        }
    }

    pub(super) fn status(self, status: Status) -> &'static str {
        match status {
            Status::Firing => self.pick("FIRING", "告警"),
            Status::Resolved => self.pick("RESOLVED", "恢复"),
        }
    }

    pub(super) fn status_in_digest(self, status: Status) -> &'static str {
        match status {
            Status::Firing => self.pick("firing", "告警"),
            Status::Resolved => self.pick("resolved", "恢复"),
        }
    }

    pub(super) fn runbook(self) -> &'static str {
        self.pick("Runbook", "处理手册")
    }

    pub(super) fn graph(self) -> &'static str {
        self.pick("Graph", "图表")
    }

    pub(super) fn silence(self) -> &'static str {
        self.pick("Silence", "静默")
    }

    pub(super) fn since(self, time: &str) -> String {
        match self {
            Language::English => format!("since {time}"),
            Language::Chinese => format!("开始于 {time}"),
        }
    }

    pub(super) fn resolved(self, time: &str, lasted: Option<Duration>) -> String {
        let lasted = lasted.map(|lasted| self.duration(lasted));
        match (self, lasted) {
            (Language::English, Some(lasted)) => format!("resolved {time}, after {lasted}"),
            (Language::English, None) => format!("resolved {time}"),
            (Language::Chinese, Some(lasted)) => format!("恢复于 {time},持续 {lasted}"),
            (Language::Chinese, None) => format!("恢复于 {time}"),
        }
    }

    pub(super) fn digest_title(self, firing: usize, resolved: usize) -> String {
        match self {
            Language::English => format!("[DIGEST] {firing} firing, {resolved} resolved"),
            Language::Chinese => format!("[汇总] 告警 {firing},恢复 {resolved}"),
        }
    }

    pub(super) fn more_wait(self, count: usize) -> String {
        match self {
            Language::English => format!("{count} more wait for the next message"),
            Language::Chinese => format!("另有 {count} 条将在下一条消息中发送"),
        }
    }

    pub(super) fn truncated(self, count: u64) -> String {
        match self {
            Language::English => format!("Alertmanager left out {count} more (max_alerts)"),
            Language::Chinese => format!("Alertmanager 另省略了 {count} 条(max_alerts)"),
        }
    }

    pub(super) fn left_out(self, characters: usize) -> String {
        match self {
            Language::English => format!(" … ({characters} characters left out)"),
            Language::Chinese => format!(" …(省略 {characters} 个字符)"),
        }
    }

    /// The two largest units that are not zero.
    pub(super) fn duration(self, time: Duration) -> String {
        let seconds = time.as_secs();
        let parts = [
            (seconds / 86_400, self.pick("d", " 天")),
            (seconds / 3_600 % 24, self.pick("h", " 小时")),
            (seconds / 60 % 60, self.pick("m", " 分")),
            (seconds % 60, self.pick("s", " 秒")),
        ];
        let begin = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let shown = parts[begin..].iter().take(2);
        let shown = shown.filter(|(count, _)| *count > 0 || begin == 3);
        let shown: Vec<String> = shown
            .map(|(count, unit)| format!("{count}{unit}"))
            .collect();
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, english, chinese) in [
            (0, "0s", "0 秒"),
            (59, "59s", "59 秒"),
            (725, "12m 5s", "12 分 5 秒"),
            (7_200, "2h", "2 小时"),
            (7_205, "2h", "2 小时"),
            (90_061, "1d 1h", "1 天 1 小时"),
        ] {
            let time = Duration::from_secs(seconds);
            assert_eq!(Language::English.duration(time), english);
            assert_eq!(Language::Chinese.duration(time), chinese);
        }
    }
}
