//! Every bound of a job, with what it costs and what moving it does.

use serde::{Deserialize, Serialize};

use crate::{Code, Refusal};

const MIB: u64 = 1024 * 1024;

/// Bounds on one job. The worker process enforces memory and CPU time on itself before it reads a hostile byte; what a
/// header already tells is refused before anything is decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Data memory of a worker in bytes (`RLIMIT_DATA`), and what estimates from headers are held against. Default
    /// 256 MiB: a 64-megapixel JPEG of a phone (184 MiB of pixels) with what its variants need; a progressive one, which
    /// is decoded all at once, up to some 30 megapixels. Lower refuses large photos (`too_much_memory`); higher lets
    /// larger progressive JPEGs in, at that much a worker. A photo of 12 megapixels takes 80 MB whatever the limit.
    pub memory_bytes: u64,
    /// CPU time of a photo's worker in milliseconds, rounded up to whole seconds (`RLIMIT_CPU`). Default 15 s, some
    /// 100 ordinary photos. Lower kills honest large pictures on slow machines; higher lets a hostile one hold a core.
    pub photo_cpu_ms: u64,
    /// The same for a voice note. Default 120 s: an hour of sound re-encoded takes some 40 s, one passed through 6 s.
    /// Lower kills long notes on slow machines; higher lets a hostile one hold a core.
    pub voice_cpu_ms: u64,
    /// Bytes of the input. Default 256 MiB; a larger one is refused unread. A photo is held in memory, up to three times
    /// while its metadata is taken away, so [`Limits::memory_bytes`] bounds it to a third of that.
    pub input_bytes: u64,
    /// Bytes of any one file that is written (`RLIMIT_FSIZE`). Default 256 MiB. Lower refuses large lossless results.
    pub output_bytes: u64,
    /// Pixels of a still picture, or of an animation's canvas. Default 64 Mi (67,108,864): 8192 × 8192, and the
    /// 9248 × 6936 of a 64-megapixel phone. At 3 bytes each while decoding, 4 with transparency.
    pub pixels: u64,
    /// Pixels of either side. Default 65,500, the most that JPEG encoders take.
    pub side: u32,
    /// Scans of a progressive JPEG. Default 100; real ones have 5–15. Each scan walks all coefficients again.
    pub scans: u32,
    /// Frames of an animation. Default 2,000: over a minute at 30 a second. Costs CPU time of viewers, not ours.
    pub frames: u32,
    /// Frames × canvas pixels of an animation. Default 2 Gi: 1,000 frames of 1920 × 1080. We decode the first frame
    /// alone; what is bounded here is what every viewer decodes.
    pub animation_pixels: u64,
    /// Duration of a voice note in milliseconds. Default 1 h.
    pub voice_ms: u64,
    /// Packets of all tracks of a voice note's file. Default 2 Mi: an hour of the shortest Opus frames (2.5 ms) is
    /// 1.44 million, and beside it there may be a film. Costs time alone; lower refuses files of many small packets.
    pub voice_packets: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 256 * MIB,
            photo_cpu_ms: 15_000,
            voice_cpu_ms: 120_000,
            input_bytes: 256 * MIB,
            output_bytes: 256 * MIB,
            pixels: 64 * 1024 * 1024,
            side: 65_500,
            scans: 100,
            frames: 2_000,
            animation_pixels: 2 * 1024 * 1024 * 1024,
            voice_ms: 3_600_000,
            voice_packets: 2 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Refuses a picture of `width × height` with `frames` frames, if that is too much.
    pub(crate) fn check_size(&self, width: u32, height: u32, frames: u32) -> Result<(), Refusal> {
        if width == 0 || height == 0 {
            return Err(Refusal::new(Code::Damaged, "the picture has no pixels"));
        }
        let pixels = u64::from(width) * u64::from(height);
        if width > self.side || height > self.side || pixels > self.pixels {
            let text = format!(
                "{width} × {height} pixels are more than {} or than {} a side",
                self.pixels, self.side
            );
            return Err(Refusal::new(Code::TooManyPixels, text));
        }
        if frames > 1 && (frames > self.frames || pixels * u64::from(frames) > self.animation_pixels) {
            let text = format!("{frames} frames of {width} × {height} pixels are too many");
            return Err(Refusal::new(Code::TooManyFrames, text));
        }
        Ok(())
    }

    /// Refuses what is known to need `bytes` of memory, if that is too much.
    pub(crate) fn check_memory(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes > self.memory_bytes {
            let text = format!("it takes {bytes} bytes of memory, more than {}", self.memory_bytes);
            return Err(Refusal::new(Code::TooMuchMemory, text));
        }
        Ok(())
    }
}
