//! Our pipeline: as it is, in a child process; and its pixels and its encoder apart, for what it does not let one ask for.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use trunkline_media_pipeline::{Limits, photo, worker};
use trunkline_media_resample::{Image, ImageRef, PixelType, ResizeOptions, Resizer, resample};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::pixels::Pixels;
use crate::setup::{Photo, Place};
use crate::tools::{Job, Line, Run, SIZES, Tool};

/// The child process: a job on standard input, the whole list in one process, as the other tools do it.
///
/// # Errors
///
/// What the pipeline refuses, and whatever the system does.
pub(crate) fn child() -> Result<()> {
    let job: Job = serde_json::from_reader(std::io::stdin().lock())?;
    let mut out = std::io::stdout().lock();
    let mut print = |line: &Line| -> Result<()> {
        serde_json::to_writer(&mut out, line)?;
        Ok(out.write_all(b"\n")?)
    };
    let request = request(&job.sizes);
    for file in &job.files {
        let stem = file.file_stem().context("a photo without a name")?.to_string_lossy().into_owned();
        let folder = job.out.join(&stem);
        std::fs::create_dir_all(&folder)?;
        let before = cpu_ms()?;
        photo::process(std::fs::read(file)?, &folder, &request, &Limits::default(), &mut |_| {})
            .map_err(|refusal| anyhow!("{stem}: {refusal:?}"))?;
        print(&Line::Photo { file: stem, cpu_ms: cpu_ms()? - before })?;
    }
    print(&Line::Process { cpu_ms: cpu_ms()?, peak_kb: peak_kb()?, version: "Trunkline".to_owned() })
}

fn request(sizes: &[u32]) -> photo::Request {
    photo::Request { sizes: sizes.to_vec(), original: false, animated_original: false }
}

/// User's and system's time of this process so far.
fn cpu_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1000.0)
}

/// Not `getrusage`: its peak begins with that of the parent.
fn peak_kb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak is told")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

/// The photo in a worker process of its own, with its limits, as the media store does it.
///
/// # Errors
///
/// If it does not make every variant.
pub(crate) fn in_a_worker(place: &Place, file: &Path) -> Result<Run> {
    let output = place.fresh("worker")?;
    let work = worker::Work::Photo(request(&SIZES));
    let job = worker::Job { input: file.to_owned(), output, work, limits: Limits::default() };
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let text = crate::tools::talk(command.arg(crate::WORKER), &serde_json::to_string(&job)?)?;
    let events: Vec<_> = text.lines().filter_map(worker::Event::parse).collect();
    let made = events.iter().filter(|event| matches!(event, worker::Event::Made(_))).count();
    ensure!(made == SIZES.len(), "the worker made {made} variants of {}: {text}", file.display());
    let Some(worker::Event::Done(done)) = events.last() else { return Err(anyhow!("no end: {text}")) };
    let cpu_ms = done.cpu_ms as f64;
    Ok(Run { photos_ms: vec![cpu_ms], cpu_ms, peak_kb: done.peak_bytes / 1024, version: String::new() })
}

/// The pixels that our pipeline encodes, of each of [`SIZES`]. It gives them to nobody, so what it does is done here
/// again, and [`Ladder::read`] holds the result against what it made.
pub(crate) struct Ladder {
    steps: Vec<(u32, Pixels)>,
}

impl Ladder {
    /// `made` is the folder with what the pipeline made of `photo`.
    ///
    /// # Errors
    ///
    /// If the pipeline's files are not, byte for byte, what comes out here: then it has changed, and this must follow.
    pub(crate) fn read(photo: &Photo, made: &Path) -> Result<Ladder> {
        let mut larger = decode(&std::fs::read(&photo.file)?)?;
        let whole = if photo.on_its_side { (larger.height, larger.width) } else { larger.sides() };
        let mut steps = Vec::new();
        for &size in SIZES.iter().rev() {
            let (width, height) = within(size, whole);
            let still_on_its_side = photo.on_its_side && steps.is_empty();
            larger = if still_on_its_side {
                turned(&shrink(&larger, height, width)?)
            } else {
                shrink(&larger, width, height)?
            };
            steps.push((size, larger.clone()));
        }
        let ladder = Ladder { steps };
        for (size, pixels) in &ladder.steps {
            let file = made.join(format!("{size}.jpg"));
            ensure!(
                encode(pixels, Tool::Ours.default_quality())? == std::fs::read(&file)?,
                "{} is not what benches/photo/ours.rs expects: follow the pipeline",
                file.display()
            );
        }
        Ok(ladder)
    }

    pub(crate) fn at(&self, size: u32) -> &Pixels {
        let (_, pixels) = self.steps.iter().find(|(step, _)| *step == size).expect("one of SIZES");
        pixels
    }
}

fn decode(bytes: &[u8]) -> Result<Pixels> {
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let rgb = decoder.decode().map_err(|error| anyhow!("{error}"))?;
    let (width, height) = decoder.dimensions().context("no dimensions")?;
    Ok(Pixels { width: width as u32, height: height as u32, rgb })
}

/// Width and height of a JPEG in pixels.
///
/// # Errors
///
/// If it is none.
pub(crate) fn dimensions(file: &Path) -> Result<(u32, u32)> {
    let bytes = std::fs::read(file)?;
    let mut decoder = JpegDecoder::new(ZCursor::new(&bytes[..]));
    decoder.decode_headers().map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let (width, height) = decoder.dimensions().context("no dimensions")?;
    Ok((width as u32, height as u32))
}

/// Of the whole picture, not of the next larger one: that would round twice.
fn within(size: u32, (width, height): (u32, u32)) -> (u32, u32) {
    let long = u64::from(width.max(height));
    let side = |of: u32| ((u64::from(of) * u64::from(size) + long / 2) / long) as u32;
    (side(width), side(height))
}

fn shrink(from: &Pixels, width: u32, height: u32) -> Result<Pixels> {
    let mut rgb = vec![0; width as usize * height as usize * 3];
    let source = ImageRef::new(from.width, from.height, &from.rgb, PixelType::U8x3)?;
    let mut target = Image::from_slice_u8(width, height, &mut rgb, PixelType::U8x3)?;
    resample(&mut Resizer::new(), &source, &mut target, &ResizeOptions::new())?;
    Ok(Pixels { width, height, rgb })
}

/// By a quarter, clockwise (EXIF's orientation 6).
fn turned(from: &Pixels) -> Pixels {
    let (wide, high) = (from.width as usize, from.height as usize);
    let pixels = from.rgb.as_chunks::<3>().0;
    let rgb = (0..wide).flat_map(|x| (0..high).rev().map(move |y| pixels[y * wide + x])).flatten().collect();
    Pixels { width: from.height, height: from.width, rgb }
}

/// Our encoder at another quality.
///
/// # Errors
///
/// What the encoder says.
pub(crate) fn encode(pixels: &Pixels, quality: u8) -> Result<Vec<u8>> {
    let mut compress = jpegli::Compress::new(jpegli::ColorSpace::JCS_RGB);
    compress.set_size(pixels.width as usize, pixels.height as usize);
    compress.set_quality(f32::from(quality));
    compress.set_chroma_sampling_pixel_sizes((1, 1), (1, 1));
    compress.set_optimize_coding(true);
    compress.set_progressive_mode();
    let mut started = compress.start_compress(Vec::new())?;
    started.write_scanlines(&pixels.rgb)?;
    Ok(started.finish()?)
}
