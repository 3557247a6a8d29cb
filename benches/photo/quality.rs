//! Bytes and how good they look: at everybody's defaults, and at equal scores.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::cost::made_by;
use crate::ours::{self, Ladder};
use crate::pixels::{Pixels, Viewer, score};
use crate::setup::{Photo, Place};
use crate::tools::{self, Job, SIZES, Tool, Way};

/// Qualities at which every tool is seen, every tool's default among them. Between two of them bytes are interpolated.
const GRID: [u8; 11] = [30, 40, 50, 60, 65, 70, 75, 80, 85, 90, 95];

/// One variant of one photo by one tool at its default.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) bytes: f64,
    /// SSIMULACRA2 beside the tool's own resized pixels, before they were encoded: what the encoder lost, and nothing
    /// about resampling. Equal scores are compared by this one.
    pub(crate) score: f64,
    /// SSIMULACRA2 beside the neutral resized picture: what the whole tool lost, decoding at a scale and resampling
    /// included.
    pub(crate) neutral: f64,
    /// Our bytes for each of theirs; None for ourselves.
    pub(crate) equal: Option<Equal>,
}

/// Our bytes for each of theirs where both score the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Equal {
    /// They at the quality that gives them our default's score.
    pub(crate) at_our_score: f64,
    /// We at the quality that gives us their default's score.
    pub(crate) at_their_score: f64,
    /// Whether either is at an end of [`GRID`] without having the score.
    pub(crate) beyond: bool,
}

/// All variants of a size and tool, in the order of the photos.
pub(crate) type Variants = BTreeMap<(u32, Tool), Vec<Variant>>;

/// Makes what is missing and looks at it.
///
/// # Errors
///
/// If a tool fails, or if [`Ladder::read`] finds that our pipeline is another one than this comparison knows.
pub(crate) fn look(place: &Place, photos: &[Photo]) -> Result<Variants> {
    // First of all, since everything else would be in vain.
    let made = made_by(place, Tool::Ours, Way::Chain);
    let ladders = photos.iter().map(|photo| Ladder::read(photo, &made.join(&photo.name)));
    let ladders = ladders.collect::<Result<Vec<_>>>()?;
    make(place, photos)?;
    let mut viewer = Viewer::start(place)?;
    let mut variants = Variants::new();
    for (i, (photo, ladder)) in photos.iter().zip(&ladders).enumerate() {
        eprintln!("looking at {} ({} of {})", photo.name, i + 1, photos.len());
        for size in SIZES {
            let mut eye = Eye { place, photo, size, viewer: &mut viewer, ladder };
            for (tool, variant) in eye.compare()? {
                variants.entry((size, tool)).or_default().push(variant);
            }
        }
    }
    Ok(variants)
}

/// The others' variants at all qualities and without loss, and the neutral references.
fn make(place: &Place, photos: &[Photo]) -> Result<()> {
    let files: Vec<_> = photos.iter().map(|photo| photo.file.clone()).collect();
    for tool in Tool::OTHERS {
        eprintln!("{} at all qualities", tool.name());
        let lossless = Job::new(&files, place.out(&format!("{}-lossless", tool.name())), Way::Chain);
        tools::run(tool, place, &Job { lossless: true, ..lossless })?;
        for quality in GRID.into_iter().filter(|&quality| quality != tool.default_quality()) {
            let job = Job::new(&files, place.out(&format!("{}-{quality}", tool.name())), Way::Chain);
            tools::run(tool, place, &Job { quality: Some(quality), ..job })?;
        }
    }
    eprintln!("neutral references");
    let mut neutral = Job::new(&files, place.out("neutral"), Way::Neutral);
    neutral.lossless = true;
    for photo in photos {
        let mut wanted = Vec::new();
        for tool in Tool::ALL {
            let made = made_by(place, tool, Way::Chain).join(&photo.name);
            for size in SIZES {
                wanted.push(ours::dimensions(&made.join(format!("{size}.jpg")))?);
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        neutral.sides.insert(photo.name.clone(), wanted);
    }
    tools::run(Tool::Vips, place, &neutral)?;
    Ok(())
}

/// One size of one photo.
struct Eye<'a> {
    place: &'a Place,
    photo: &'a Photo,
    size: u32,
    viewer: &'a mut Viewer,
    ladder: &'a Ladder,
}

impl Eye<'_> {
    fn compare(&mut self) -> Result<Vec<(Tool, Variant)>> {
        let (mut ours, our_neutral) = self.curve(Tool::Ours)?;
        let here = self.point(&mut ours, Tool::Ours.default_quality())?;
        let variant =
            |point: Point, neutral, equal| Variant { bytes: point.bytes, score: point.score, neutral, equal };
        let mut compared = vec![(Tool::Ours, variant(here, our_neutral, None))];
        for tool in Tool::OTHERS {
            let (mut other, neutral) = self.curve(tool)?;
            let there = self.point(&mut other, tool.default_quality())?;
            let (theirs, beyond) = self.bytes_at(&mut other, here.score)?;
            let (us, us_beyond) = self.bytes_at(&mut ours, there.score)?;
            let equal = Equal {
                at_our_score: here.bytes / theirs,
                at_their_score: us / there.bytes,
                beyond: beyond || us_beyond,
            };
            compared.push((tool, variant(there, neutral, Some(equal))));
        }
        Ok(compared)
    }

    /// What is known of a tool before it is asked, and its default's score beside the neutral reference.
    fn curve(&mut self, tool: Tool) -> Result<(Curve, f64)> {
        let reference = self.own(tool)?;
        let (wide, high) = reference.sides();
        let neutral = format!("neutral/{}/{wide}x{high}.png", self.photo.name);
        let neutral = self.viewer.see(&self.place.out(&neutral))?;
        let seen = self.viewer.see(&self.encoded(tool, tool.default_quality())?)?;
        Ok((Curve { tool, reference, points: BTreeMap::new() }, score(&neutral, &seen)?))
    }

    /// What the tool encoded.
    fn own(&mut self, tool: Tool) -> Result<Pixels> {
        if tool == Tool::Ours {
            return Ok(self.ladder.at(self.size).clone());
        }
        let file = format!("{}-lossless/{}/{}.png", tool.name(), self.photo.name, self.size);
        self.viewer.see(&self.place.out(&file))
    }

    /// Bytes that a tool takes for a score, and whether it was not reached.
    fn bytes_at(&mut self, curve: &mut Curve, wanted: f64) -> Result<(f64, bool)> {
        let default = curve.tool.default_quality();
        let mut at = GRID.iter().position(|&quality| quality == default).expect("every default is in it");
        let upwards = self.point(curve, GRID[at])?.score < wanted;
        loop {
            let here = self.point(curve, GRID[at])?;
            let next = if upwards { at + 1 } else { at.wrapping_sub(1) };
            let Some(&quality) = GRID.get(next) else { return Ok((here.bytes, true)) };
            let there = self.point(curve, quality)?;
            if (there.score >= wanted) == upwards {
                let part = (wanted - here.score) / (there.score - here.score);
                let (from, to) = (here.bytes.ln(), there.bytes.ln());
                return Ok(((from + (to - from) * part.clamp(0.0, 1.0)).exp(), false));
            }
            at = next;
        }
    }

    fn point(&mut self, curve: &mut Curve, quality: u8) -> Result<Point> {
        if let Some(&point) = curve.points.get(&quality) {
            return Ok(point);
        }
        let file = self.encoded(curve.tool, quality)?;
        let seen = self.viewer.see(&file)?;
        let bytes = std::fs::metadata(&file)?.len() as f64;
        let point = Point { bytes, score: score(&curve.reference, &seen)? };
        curve.points.insert(quality, point);
        Ok(point)
    }

    /// The tool's variant at a quality.
    fn encoded(&self, tool: Tool, quality: u8) -> Result<PathBuf> {
        let name = format!("{}/{}.jpg", self.photo.name, self.size);
        if quality == tool.default_quality() {
            return Ok(made_by(self.place, tool, Way::Chain).join(name));
        }
        let file = self.place.out(&format!("{}-{quality}", tool.name())).join(name);
        if tool == Tool::Ours {
            std::fs::create_dir_all(file.with_file_name(""))?;
            std::fs::write(&file, ours::encode(self.ladder.at(self.size), quality)?)?;
        }
        Ok(file)
    }
}

/// Bytes and scores of one tool by quality, as far as they were asked for.
struct Curve {
    tool: Tool,
    /// Its own resized pixels.
    reference: Pixels,
    points: BTreeMap<u8, Point>,
}

#[derive(Clone, Copy)]
struct Point {
    bytes: f64,
    score: f64,
}
