//! What is seen: files decoded by libjpeg-turbo, as in most viewers, and scores of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use ssimulacra2::{ColorPrimaries, Rgb, TransferCharacteristic, compute_frame_ssimulacra2};

use crate::setup::Place;

/// A picture of 8 bits a sample, three samples a pixel.
#[derive(Clone, Debug)]
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
}

impl Pixels {
    pub(crate) fn sides(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn linear(&self) -> Result<Rgb> {
        let data = self.rgb.as_chunks::<3>().0.iter().map(|p| p.map(|sample| f32::from(sample) / 255.0));
        let (width, height) = (self.width as usize, self.height as usize);
        let srgb = (TransferCharacteristic::SRGB, ColorPrimaries::BT709);
        Ok(Rgb::new(data.collect(), width, height, srgb.0, srgb.1)?)
    }
}

/// SSIMULACRA2 of `seen` beside `reference`: 100 is the same, 90 cannot be told from it, 70 is good.
///
/// # Errors
///
/// If they differ in size.
pub(crate) fn score(reference: &Pixels, seen: &Pixels) -> Result<f64> {
    Ok(compute_frame_ssimulacra2(reference.linear()?, seen.linear()?)?)
}

/// A process that decodes files. The same decoder for all, and not ours.
pub(crate) struct Viewer {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Viewer {
    pub(crate) fn start(place: &Place) -> Result<Viewer> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/photo/photo.py");
        let mut process = Command::new(place.python())
            .arg(script)
            .arg("pixels")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = process.stdin.take().context("piped above")?;
        let answers = BufReader::new(process.stdout.take().context("piped above")?);
        Ok(Viewer { process, asks, answers })
    }

    /// # Errors
    ///
    /// If the file cannot be decoded; the process has then said why on standard error.
    pub(crate) fn see(&mut self, file: &Path) -> Result<Pixels> {
        writeln!(self.asks, "{}", file.display())?;
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let sides = head.trim().split_once(' ').with_context(|| format!("{} is not seen", file.display()))?;
        let (width, height): (u32, u32) = (sides.0.parse()?, sides.1.parse()?);
        ensure!(width < 65_536 && height < 65_536, "{width} × {height} pixels");
        let mut rgb = vec![0; width as usize * height as usize * 3];
        self.answers.read_exact(&mut rgb)?;
        Ok(Pixels { width, height, rgb })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing left to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
