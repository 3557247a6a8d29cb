//! What was found, as lines and as JSON.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It works.
    Ok,
    /// It does not.
    Failed,
    /// It was not tried, or says nothing about whether the server works.
    Skipped,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// Which of the server's addresses; none for what concerns its name.
    pub(crate) address: Option<IpAddr>,
    /// What was checked.
    pub(crate) check: &'static str,
    pub(crate) outcome: Outcome,
    /// What was seen.
    pub(crate) says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

/// All checks of one URI.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) uri: String,
    pub(crate) checks: Vec<Check>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    ok: bool,
    servers: Vec<Server>,
}

impl Report {
    pub(crate) fn new(servers: Vec<Server>) -> Self {
        let ok = servers.iter().flat_map(|server| &server.checks).all(|c| c.outcome != Outcome::Failed);
        Self { ok, servers }
    }

    /// Whether all that was asked for works.
    pub(crate) fn is_ok(&self) -> bool {
        self.ok
    }

    #[cfg(test)]
    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(f, "{}", server.uri)?;
            let mut shown = None;
            for check in &server.checks {
                if check.address.is_some() && check.address != shown {
                    shown = check.address;
                    writeln!(f, "  {}", shown.map(|ip| ip.to_string()).unwrap_or_default())?;
                }
                writeln!(f, "{check}")?;
            }
            writeln!(f)?;
        }
        let failed = self.servers.iter().flat_map(|server| &server.checks);
        match failed.filter(|check| check.outcome == Outcome::Failed).count() {
            0 => writeln!(f, "All of it works."),
            1 => writeln!(f, "1 check failed."),
            failed => writeln!(f, "{failed} checks failed."),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "–",
        };
        write!(f, "    {outcome:<7} {:<12} {}", self.check, self.says)?;
        match &self.advice {
            Some(advice) => write!(f, "\n{:25}→ {advice}", ""),
            None => Ok(()),
        }
    }
}
