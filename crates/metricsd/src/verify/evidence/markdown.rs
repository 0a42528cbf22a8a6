//! The report as a person reads, signs and files it.
//!
//! Invariant: what came from outside stands in fences and tables without breaking out of them. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{Ended, Evidence, Exchange, Step};

/// Before the steps.
const HOW_TO_READ: &str = "Each console block is a command that asks the same, for whoever wants to repeat a step. metricsd needed none of \
these programs: it asked over HTTP and looked into procfs by itself. Processes, ports and scratch directories of a session or a drill \
that was started here are gone.\n";

/// The whole document.
pub fn markdown(evidence: &Evidence) -> String {
    let mut text = String::new();
    let verdict = evidence.result.word();
    push(
        &mut text,
        format!("# Verification of {}: {verdict}\n", evidence.subject.title),
    );
    subject(&mut text, evidence);
    summary(&mut text, &evidence.steps);
    push(&mut text, "## Steps\n");
    push(&mut text, HOW_TO_READ);
    for (index, step) in evidence.steps.iter().enumerate() {
        one_step(&mut text, index + 1, step);
    }
    raw_files(&mut text, evidence);
    signature(&mut text, evidence);
    text
}

fn subject(text: &mut String, evidence: &Evidence) {
    let subject = &evidence.subject;
    let began = utc(evidence.started);
    let took = evidence.ended.duration_since(evidence.started);
    let ended = format!("{} ({:.1} s)", utc(evidence.ended), took.as_secs_f64());
    let rows = [
        ("Command", code(&subject.command)),
        ("Run by", cell(&subject.user)),
        ("In directory", code(&subject.working_directory)),
        ("Begun", began),
        ("Ended", ended),
        ("Host", cell(&subject.host)),
        ("Kernel", cell(&subject.kernel)),
        ("metricsd that verified", cell(subject.version)),
    ];
    let verified = subject.verified.iter().map(|verified| {
        let value = verified.value.as_deref().unwrap_or("not asked");
        (verified.label, cell(value))
    });
    push(text, "| What | |\n|---|---|");
    for (what, is) in rows.into_iter().chain(verified) {
        push(text, format!("| {what} | {is} |"));
    }
    push(text, "");
}

fn summary(text: &mut String, steps: &[Step]) {
    push(text, "## Summary\n");
    push(text, "| # | Check | Outcome | Found |\n|---:|---|---|---|");
    for (index, step) in steps.iter().enumerate() {
        let outcome = match step.outcome {
            Ended::Pass => "PASS",
            Ended::Fail => "**FAIL**",
            Ended::Skip => "not checked",
        };
        push(
            text,
            format!(
                "| {} | `{}` | {outcome} | {} |",
                index + 1,
                step.id,
                cell(&step.text)
            ),
        );
    }
    push(text, "");
}

fn one_step(text: &mut String, number: usize, step: &Step) {
    push(text, format!("### {number}. {}\n", one_line(&step.title)));
    push(
        text,
        format!(
            "`{}`, **{}**: {}\n",
            step.id,
            step.outcome.word(),
            cell(&step.text)
        ),
    );
    if let Some(next) = &step.next {
        push(text, format!("To do: {}\n", cell(next)));
    }
    let attempts = match step.attempts {
        0 | 1 => String::new(),
        count => format!(", {count} attempts"),
    };
    push(
        text,
        format!(
            "Begun {}, took {}{attempts}.\n",
            utc(step.started),
            took(step.duration)
        ),
    );
    for exchange in &step.exchanges {
        one_exchange(text, exchange);
    }
}

fn one_exchange(text: &mut String, exchange: &Exchange) {
    push(text, fenced("console", &one_line(&exchange.asked)));
    if !exchange.answer.trim().is_empty() {
        push(text, fenced("text", exchange.answer.trim_end()));
    }
    let whole = match &exchange.raw_file {
        Some(name) => format!("; the whole answer is in [`{name}`]({name})"),
        None => String::new(),
    };
    push(
        text,
        format!(
            "Asked {}, answered after {}{whole}.\n",
            utc(exchange.at),
            took(exchange.duration)
        ),
    );
}

fn raw_files(text: &mut String, evidence: &Evidence) {
    if evidence.raw.is_empty() {
        return;
    }
    push(text, "## Files\n");
    for raw in &evidence.raw {
        push(
            text,
            format!("- [`{0}`]({0}), {1} bytes", raw.name, raw.content.len()),
        );
    }
    push(
        text,
        "- [`report.json`](report.json), this report for programs\n",
    );
}

fn signature(text: &mut String, evidence: &Evidence) {
    push(text, "## Verdict\n");
    let verdict = evidence.steps.last().map_or("", |step| step.text.as_str());
    push(
        text,
        format!("**{}**: {}\n", evidence.result.word(), cell(verdict)),
    );
    push(
        text,
        "| Checked by | Date | Signature |\n|---|---|---|\n| &nbsp; | | |",
    );
}

fn push(text: &mut String, line: impl AsRef<str>) {
    text.push_str(line.as_ref());
    text.push('\n');
}

/// To the millisecond; more is noise in a document.
fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

/// A fence that is longer than any run of backticks in the text.
fn fenced(language: &str, text: &str) -> String {
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let text: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '?'
            } else {
                c
            }
        })
        .collect();
    format!("{fence}{language}\n{text}\n{fence}")
}

/// Text that stays in its cell or paragraph and is not read as markup.
fn cell(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        if matches!(
            c,
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '#'
        ) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn code(text: &str) -> String {
    format!("`{}`", one_line(text).replace('`', "'").replace('|', "\\|"))
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
