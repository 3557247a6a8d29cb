//! What a photo costs: our pipeline beside sharp, libvips and Pillow on the same photographs in one run. CPU time and
//! memory by what each process tells of itself, bytes, and SSIMULACRA2.
//!
//! `cargo bench --bench photo`. README.md beside this file tells what is compared with what, and whose photographs those
//! are.

#[path = "../common.rs"]
mod common;
mod cost;
mod ours;
mod pixels;
mod quality;
mod report;
mod setup;
mod tools;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

/// First arguments of this program when it is its own child: for a list of photos, and for one, as in production.
const CHILD: &str = "child";
const WORKER: &str = "worker";

const HELP: &str = "\
cargo bench --bench photo -- [--rounds N] [--photos N] [--no-scores] [--save]

--rounds N    measures CPU time N times, 5 without
--photos N    the first N photographs alone
--no-scores   CPU time and memory alone
--save        writes the result to docs/performance.md as well";

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some(CHILD) => ours::child(),
        Some(WORKER) => return trunkline_media_pipeline::worker::run(),
        _ => compare(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    rounds: usize,
    photos: usize,
    scores: bool,
    save: bool,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut read = Arguments { rounds: 5, photos: usize::MAX, scores: true, save: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize> {
                let text = arguments.next().with_context(|| format!("{argument} takes a number"))?;
                text.parse().ok().filter(|&n| n > 0).with_context(|| format!("{argument} {text}"))
            };
            match argument.as_str() {
                "--rounds" => read.rounds = number()?,
                "--photos" => read.photos = number()?,
                "--no-scores" => read.scores = false,
                "--save" => read.save = true,
                // Cargo's own.
                "--bench" => {}
                _ => bail!("{argument} is not known\n\n{HELP}"),
            }
        }
        ensure!(read.scores || !read.save, "what is saved has scores");
        Ok(read)
    }
}

fn compare() -> Result<()> {
    let arguments = Arguments::read()?;
    let place = setup::Place::prepare()?;
    let mut photos = place.photos()?;
    photos.truncate(arguments.photos);
    let busy = common::load();
    let costs = cost::measure(&place, &photos, arguments.rounds)?;
    let mut text = report::costs(&photos, &costs, arguments.rounds, busy.max(common::load()));
    if arguments.scores {
        text += &report::bytes(&quality::look(&place, &photos)?);
    }
    println!("{text}");
    if arguments.save { common::save("photo", &text) } else { Ok(()) }
}
