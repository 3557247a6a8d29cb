//! Steps said aloud: what begins, what command it is, how long it took.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Says that a step begins.
pub(crate) fn say(text: &str) {
    println!("\n\u{2500}\u{2500} {text}");
}

/// Says what a step found or did.
pub(crate) fn note(text: &str) {
    println!("   {text}");
}

/// Seconds for people: tenths below ten.
pub(crate) fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// Says `what`, runs the command with its output shown, and says how long it took.
pub(crate) fn run(what: &str, command: &mut Command) -> anyhow::Result<()> {
    say(what);
    note(&format!("$ {}", shown(command)));
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{what}: `{}` failed ({status})", shown(command));
    }
    note(&format!("done in {}", seconds(begun.elapsed())));
    Ok(())
}

/// Runs the command, shows its standard output line by line, and gives each line to `see`. Whether it succeeded.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> anyhow::Result<bool> {
    note(&format!("$ {}", shown(command)));
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let output = child.stdout.take().context("the child's output was piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        see(&line);
    }
    Ok(child.wait()?.success())
}

/// Whether the command runs and succeeds; its output is not shown.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
