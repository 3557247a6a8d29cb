// sharp for `cargo bench --bench photo`: a job comes as JSON on standard input, and a line of JSON is printed for each
// photo, then one for the process. CPU time is what the process tells of itself (getrusage, user's and system's).
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, extname, join } from 'node:path';

// Installed beside the results, not beside this file.
const sharp = createRequire(join(process.cwd(), 'package.json'))('sharp');
sharp.concurrency(1);
sharp.cache(false);

const cpuMs = () => {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  return (userCPUTime + systemCPUTime) / 1000;
};

/** Not maxRSS: that one also counts what the parent had at the time of exec. */
const peakKb = () => Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);

const within = (size) => ({ width: size, height: size, fit: 'inside', withoutEnlargement: true });

const encoded = (picture, job) => {
  if (job.lossless) return picture.png({ compressionLevel: 1 });
  return picture.jpeg(job.quality === null ? {} : { quality: job.quality });
};

const ways = {
  /** Each variant of the file. */
  async each(file, path, job) {
    for (const size of job.sizes) {
      await encoded(sharp(file).rotate().resize(within(size)), job).toFile(path(size));
    }
  },
  /** The largest of the file, each other one of the next larger one. */
  async chain(file, path, job) {
    let next = sharp(file).rotate();
    for (const size of [...job.sizes].sort((a, b) => b - a)) {
      const { data, info } = await next.resize(within(size)).raw().toBuffer({ resolveWithObject: true });
      const raw = { raw: { width: info.width, height: info.height, channels: info.channels } };
      await encoded(sharp(data, raw), job).toFile(path(size));
      next = sharp(data, raw);
    }
  },
};

const job = JSON.parse(readFileSync(0, 'utf8'));
const print = (line) => console.log(JSON.stringify(line));
for (const file of job.files) {
  const stem = basename(file, extname(file));
  const folder = join(job.out, stem);
  mkdirSync(folder, { recursive: true });
  const before = cpuMs();
  await ways[job.way](file, (size) => join(folder, `${size}.${job.lossless ? 'png' : 'jpg'}`), job);
  print({ file: stem, cpu_ms: cpuMs() - before });
}
const { sharp: version, vips, mozjpeg } = sharp.versions;
print({ cpu_ms: cpuMs(), peak_kb: peakKb(), version: `sharp ${version} (libvips ${vips}, mozjpeg ${mozjpeg})` });
