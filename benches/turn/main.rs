//! What relaying costs: our server beside coturn, each in a process of its own, under the same client, on loopback, in
//! turns, in one run. CPU time by the kernel's own account of each process, memory by its PSS.
//!
//! `cargo bench --bench turn`. Debian's package `coturn` must be installed. What is compared with what, and why, stands
//! in docs/performance.md.

#[path = "../common.rs"]
mod common;
mod load;
mod memory;
mod report;
mod servers;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::load::{Flight, Framing, Rig, Shape};
use crate::memory::Allocations;
use crate::servers::{Kind, Server};

const HELP: &str = "\
cargo bench --bench turn -- [--rounds N] [--packets N] [--relay-only] [--save]

--rounds N      measures N times, 15 without
--packets N     relayed packets a round and measurement, 20000 without
--relay-only    CPU a packet alone; no allocations
--save          writes the result to docs/performance.md as well

TRUNKLINE_BINARY names another binary than the one that Cargo has built.";

/// Opus, and video.
const PAYLOAD_BYTES: [usize; 2] = [160, 1_200];

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    rounds: usize,
    packets: usize,
    allocations: bool,
    save: bool,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut read = Self { rounds: 15, packets: 20_000, allocations: true, save: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize> {
                let text = arguments.next().with_context(|| format!("{argument} takes a number"))?;
                text.parse().ok().filter(|&n| n > 0).with_context(|| format!("{argument} {text}"))
            };
            match argument.as_str() {
                "--rounds" => read.rounds = number()?,
                "--packets" => read.packets = number()?,
                "--relay-only" => read.allocations = false,
                "--save" => read.save = true,
                // Cargo's own.
                "--bench" => {}
                _ => bail!("{argument} is not known\n\n{HELP}"),
            }
        }
        Ok(read)
    }
}

fn compare() -> Result<()> {
    let arguments = Arguments::read()?;
    rlimit::increase_nofile_limit(u64::MAX).context("descriptors")?;
    let version = servers::coturn_version()?;
    let busy = common::load();
    let mut costs = Vec::new();
    for framing in Framing::ALL {
        costs.extend(relaying(framing, &arguments)?);
    }
    let mut allocations = Vec::new();
    if arguments.allocations {
        for count in [1_000, 10_000] {
            allocations.push(Allocations::compare(count, arguments.rounds.min(3))?);
        }
    }
    let text = report::tables(&version, arguments.rounds, busy.max(common::load()), &costs, &allocations);
    println!("{text}");
    if arguments.save { common::save("turn", &text) } else { Ok(()) }
}

/// What one shape of traffic costs: CPU ns a relayed packet.
pub(crate) struct Cost {
    shape: Shape,
    /// Of each round.
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

fn relaying(framing: Framing, arguments: &Arguments) -> Result<Vec<Cost>> {
    let mut pair = Vec::new();
    for kind in Kind::ALL {
        let server = Server::start(kind)?;
        pair.push((Rig::open(&server, framing)?, server));
    }
    let mut costs = Vec::new();
    for payload_bytes in PAYLOAD_BYTES {
        for flight in Flight::ALL {
            let shape = Shape { framing, payload_bytes, flight };
            let mut cost = Cost { shape, ours: vec![], theirs: vec![] };
            // The first round warms the caches.
            for round in 0..=arguments.rounds {
                for (rig, server) in &mut pair {
                    let before = server.cpu_ns()?;
                    let packets = rig.relay(server, shape, arguments.packets)?;
                    let spent = (server.cpu_ns()? - before) as f64 / packets as f64;
                    match server.kind() {
                        _ if round == 0 => {}
                        Kind::Ours => cost.ours.push(spent),
                        Kind::Coturn => cost.theirs.push(spent),
                    }
                }
            }
            costs.push(cost);
        }
    }
    Ok(costs)
}
