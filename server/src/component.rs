//! Components: programs in any language that the server starts, watches, starts again and stops.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    error::{Error, Result},
    telemetry,
};

/// Longest line of output that is logged as one.
const LONGEST_LINE: usize = 4 * 1024;

/// A program that belongs to the server.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name in the log.
    pub name: String,
    /// The program and its arguments; no shell takes part.
    pub command: Vec<String>,
    /// Where it runs; the server's own folder if none.
    pub directory: Option<PathBuf>,
    /// Further variables of its environment, beside the server's own, `COATI_URL` and `COATI_REALM`.
    pub environment: BTreeMap<String, String>,
    /// Pause before it is started again for the first time; doubles with each time in a row.
    pub pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
    /// Having run for so long, it counts as healthy and the next pause is the first one again.
    pub healthy_after: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub stop_within: Duration,
}

impl Component {
    /// A component with usual times.
    #[must_use]
    pub fn new(name: impl Into<String>, command: Vec<String>) -> Self {
        Self {
            name: name.into(),
            command,
            directory: None,
            environment: BTreeMap::new(),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            healthy_after: Duration::from_secs(30),
            stop_within: Duration::from_secs(2),
        }
    }

    /// Refuses what cannot be started.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Configuration`], with a sentence that names the component.
    pub fn validate(&self) -> Result<()> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(Error::configuration(format!(
                "The component {:?} has no command",
                self.name
            )));
        }
        Ok(())
    }

    /// The pause before the next start, after so many ends in a row that came too early.
    fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self
            .pause
            .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        doubled.min(self.longest_pause)
    }
}

/// The running components of a server.
#[derive(Debug)]
pub(crate) struct Components {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Components {
    /// Starts them all, each with `environment`.
    pub(crate) fn start(components: Vec<Component>, environment: &BTreeMap<String, String>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for mut component in components {
            for (name, value) in environment {
                component
                    .environment
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
            tasks.spawn(watch(component, stop.clone()));
        }
        tasks.close();
        Self { stop, tasks }
    }

    /// Stops them all; completes when they are gone, each after its own time at the latest.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Keeps a component running until `stop`.
async fn watch(component: Component, stop: CancellationToken) {
    let name: Arc<str> = component.name.as_str().into();
    let mut failures = 0;
    loop {
        let started = Instant::now();
        match spawn(&component) {
            Ok(child) => {
                tracing::info!(component = %name, process = child.id(), "component started");
                if attend(child, &component, &name, &stop).await == Ended::Stopped {
                    return;
                }
            }
            Err(error) => tracing::error!(component = %name, %error, "the component cannot be started"),
        }
        if started.elapsed() >= component.healthy_after {
            failures = 0;
        }
        let pause = component.pause_after(failures);
        failures = failures.saturating_add(1);
        tracing::warn!(component = %name, ?pause, "the component is started again after a pause");
        metrics::counter!(telemetry::COMPONENT_RESTARTS, "component" => name.to_string()).increment(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn spawn(component: &Component) -> std::io::Result<Child> {
    let (program, arguments) = component
        .command
        .split_first()
        .ok_or_else(|| std::io::Error::other("it has no command"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(&component.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C reaches us alone, and what the component started can be ended with it.
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = &component.directory {
        command.current_dir(directory);
    }
    command.spawn()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// By us.
    Stopped,
    /// By itself.
    Alone,
}

/// Logs what a process says until it has ended or is to be stopped.
async fn attend(mut child: Child, component: &Component, name: &Arc<str>, stop: &CancellationToken) -> Ended {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let output = TaskTracker::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(log_lines(stdout, name.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(log_lines(stderr, name.clone()));
    }
    output.close();
    let ended = tokio::select! {
        status = child.wait() => {
            match status {
                Ok(status) => tracing::warn!(component = %name, %status, "component ended"),
                Err(error) => tracing::error!(component = %name, %error, "the component cannot be watched"),
            }
            Ended::Alone
        }
        () = stop.cancelled() => {
            signal(group, Signal::TERM);
            if tokio::time::timeout(component.stop_within, child.wait()).await.is_err() {
                tracing::warn!(component = %name, "the component does not end and is killed");
            }
            Ended::Stopped
        }
    };
    // What it started itself goes with it, or the next one would meet it. Then nobody holds the output open any more.
    signal(group, Signal::KILL);
    if let Err(error) = child.wait().await {
        tracing::error!(component = %name, %error, "the component cannot be waited for");
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), output.wait()).await;
    if ended == Ended::Stopped {
        tracing::info!(component = %name, "component stopped");
    }
    ended
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // An error means that nobody of the group is left.
        let _ = kill_process_group(group, signal);
    }
}

/// Logs what comes, line by line. Never stops reading: a component must not wait for the log.
async fn log_lines(mut pipe: impl AsyncRead + Unpin, name: Arc<str>) {
    let (mut line, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let read = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for octet in &chunk[..read] {
            let end = *octet == b'\n';
            if !end {
                line.push(*octet);
            }
            if end || line.len() >= LONGEST_LINE {
                log(&name, &line);
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        log(&name, &line);
    }
}

fn log(name: &str, line: &[u8]) {
    let text = printable(line);
    if !text.is_empty() {
        tracing::info!(component = name, "{text}");
    }
}

/// What a program wrote, with control characters escaped: a log line is one line, whatever it is about.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        if character.is_control() && character != '\t' {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let component = Component::new("c", vec!["true".to_owned()]);
        let pauses: Vec<u128> = [0, 1, 2, 5, 6, 7, 31, 32, 1000]
            .map(|failures| component.pause_after(failures).as_millis())
            .into();
        assert_eq!(
            pauses,
            [500, 1000, 2000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000]
        );
    }

    #[test]
    fn output_is_one_line_without_control_characters() {
        assert_eq!(printable(b"plain \xC3\xBC\r"), "plain \u{fc}");
        assert_eq!(printable(b"\x1b[31mred\rfake\x00"), "\\u{1b}[31mred\\rfake\\u{0}");
        assert_eq!(printable(b"\xFF"), "\u{FFFD}");
    }

    #[test]
    fn a_component_without_a_command_is_refused_by_name() {
        let refused = Component::new("worker", vec![]).validate().expect_err("refused");
        assert!(refused.to_string().contains("worker"), "{refused}");
    }
}
