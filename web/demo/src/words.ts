/** Everything that the page says, where saying it takes thought. Pure. */
import { sizeWords } from '@trunkline/sdk';

/** `1:05`, `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** `42 s`, `3 min`, `1 h 5 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export interface CallLine {
  text: string;
  /** Shown in the colour of things to be noticed. */
  missed: boolean;
}

interface Outcome {
  outcome: string;
  caller: string;
  video: boolean;
  seconds: number;
}

/** Whether a message's body tells what became of a call. */
export function isOutcome(body: unknown): body is Outcome {
  const value = body as Partial<Outcome> | null;
  return typeof value === 'object' && value !== null && typeof value.outcome === 'string' && typeof value.caller === 'string';
}

/** What became of a call, as the given person should read it. `other` names who else is in the conversation. */
export function callLine(body: Outcome, me: string, other: string): CallLine {
  const mine = body.caller === me;
  const kind = body.video ? 'video call' : 'call';
  const Kind = body.video ? 'Video call' : 'Call';
  switch (body.outcome) {
    case 'ended': return { text: `${Kind} · ${duration(body.seconds ?? 0)}`, missed: false };
    case 'missed': return mine ? { text: `No answer to your ${kind}`, missed: false } : { text: `Missed ${kind} from ${body.caller}`, missed: true };
    case 'cancelled': return mine ? { text: `You cancelled the ${kind}`, missed: false } : { text: `Missed ${kind} from ${body.caller}`, missed: true };
    case 'declined': return { text: mine ? `${other} declined your ${kind}` : `You declined a ${kind} from ${body.caller}`, missed: false };
    case 'busy': return mine ? { text: `${other} was in another call`, missed: false } : { text: `Missed ${kind} from ${body.caller} during another call`, missed: true };
    case 'failed': return { text: `The ${kind} could not be connected`, missed: true };
    default: return { text: Kind, missed: false };
  }
}

/** What to tell the person when a call ends; undefined if it goes without saying. */
export function endWords(reason: string | undefined, outgoing: boolean, other: string): string | undefined {
  switch (reason) {
    case 'declined': return outgoing ? `${other} declined the call.` : undefined;
    case 'cancelled': return outgoing ? undefined : `${other} stopped calling.`;
    case 'timed_out': return outgoing ? `${other} did not answer.` : `You missed a call from ${other}.`;
    case 'busy': return outgoing ? `${other} is in another call.` : undefined;
    case 'failed': return 'The call could not be connected.';
    default: return 'The call has ended.';
  }
}

const STATUS: Record<string, string> = { sending: 'Sending', failed: 'Not sent', sent: 'Sent', delivered: 'Delivered', read: 'Read' };

export function markWords(mark: string): string {
  return STATUS[mark] ?? mark;
}

function startOfDay(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** `Today`, `Yesterday`, `Tuesday`, `3 March`, `3 March 2024`. */
export function dayWords(at: number, now: number, locale?: string): string {
  const days = Math.round((startOfDay(now) - startOfDay(at)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days > 1 && days < 7) return new Intl.DateTimeFormat(locale, { weekday: 'long' }).format(at);
  const year = new Date(at).getFullYear() === new Date(now).getFullYear() ? {} : { year: 'numeric' } as const;
  return new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'long', ...year }).format(at);
}

export function timeWords(at: number, locale?: string): string {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }).format(at);
}

/** The short time of a conversation's last message in the list. */
export function listTime(at: number, now: number, locale?: string): string {
  const days = Math.round((startOfDay(now) - startOfDay(at)) / 86_400_000);
  if (days === 0) return timeWords(at, locale);
  if (days === 1) return 'Yesterday';
  return new Intl.DateTimeFormat(locale, days < 7 ? { weekday: 'short' } : { day: 'numeric', month: 'short' }).format(at);
}

/** `A`, `A and B`, `A, B and 3 others`. */
export function names(list: readonly string[], most = 3): string {
  if (list.length <= 1) return list[0] ?? '';
  if (list.length > most) return `${list.slice(0, most - 1).join(', ')} and ${list.length - most + 1} others`;
  return `${list.slice(0, -1).join(', ')} and ${list.at(-1)}`;
}

/** A user id out of what a person types as a name; empty if nothing usable is in it. */
export function userId(name: string): string {
  return name.trim().normalize('NFKD').replace(/\p{M}/gu, '').replace(/\s+/g, '-').replace(/[^A-Za-z0-9._-]/g, '').slice(0, 64);
}

/** The people named in a field, by commas, semicolons or spaces; each once. */
export function people(text: string): string[] {
  return [...new Set(text.split(/[,;\s]+/).map(userId).filter(Boolean))];
}

/** Up to two letters for a picture that is not there. */
export function initials(name: string): string {
  const parts = name.split(/[\s._-]+/).filter(Boolean);
  const letters = parts.length > 1 ? [parts[0], parts.at(-1)] : [parts[0]];
  return letters.map((part) => [...(part ?? '?')][0]!.toUpperCase()).join('');
}

/** A hue for a name: the same everywhere, unlike its neighbour's. */
export function hue(name: string): number {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0)!, 16777619) >>> 0;
  return (hash * 137) % 360;
}

/** Columns for so many tiles in a stage of this shape: those that make the tiles, at 16:9, largest. */
export function columnsFor(count: number, width: number, height: number): number {
  let best = 1;
  let bestArea = 0;
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    const tile = Math.min(width / columns, (height / rows) * (16 / 9));
    if (tile > bestArea + 1) [best, bestArea] = [columns, tile];
  }
  return best;
}

// ——— files

/** What a message with files is called where there is room for a line: `Photo`, `3 photos`, `Voice note · 0:12`, `plan.pdf`. */
export function filesWords(files: readonly { kind: string; name?: string | null | undefined; duration_ms?: number | null | undefined }[]): string {
  const photos = files.filter((file) => file.kind === 'photo').length;
  const [first] = files;
  if (!first) return '';
  if (photos === files.length) return photos === 1 ? 'Photo' : `${photos} photos`;
  if (files.length > 1) return `${files.length} files`;
  // Isolated: a name may be written from right to left.
  if (first.kind !== 'voice') return first.name ? `\u2068${first.name}\u2069` : 'File';
  return first.duration_ms ? `Voice note · ${clock(first.duration_ms / 1000)}` : 'Voice note';
}

/** `1.2 of 3.4 MB`; the unit once if it is the same. */
export function progressWords(sent: number, total: number): string {
  const [a, b] = [sizeWords(sent), sizeWords(total)];
  const [value, unit] = a.split(' ');
  return b.endsWith(` ${unit}`) ? `${value} of ${b}` : `${a} of ${b}`;
}

interface Going {
  state: string;
  waiting: 'network' | 'server' | undefined;
  needsFile: boolean;
  progress: { sent: number; total: number };
}

/** How an upload is, in a few words; that it failed, and why, takes more and is said elsewhere. */
export function uploadWords(upload: Going): string {
  if (upload.waiting) return upload.waiting === 'network' ? 'Waiting for the network…' : 'The server is busy. Trying again…';
  const { sent, total } = upload.progress;
  switch (upload.state) {
    case 'queued': return sent > 0 ? progressWords(sent, total) : 'Waiting for its turn…';
    case 'granting': return 'Starting…';
    case 'uploading': return progressWords(sent, total);
    case 'paused': return upload.needsFile ? 'Choose the file again to go on' : sent > 0 ? `Paused at ${progressWords(sent, total)}` : 'Paused';
    case 'processing': return 'Almost there…';
    case 'ready': return 'Uploaded';
    case 'failed': return 'Not sent';
    default: return '';
  }
}

const UPLOAD_FAULTS: Record<string, string> = {
  quota_exceeded: 'There is no room left for your files here.',
  unreadable: 'The file cannot be read any more. It may have been moved or changed.',
  gone: 'The server does not have this file any more.',
  not_found: 'The server does not have this file any more.',
  disk_full: 'The server has no room left.',
  damaged: 'This file is damaged: it ends or breaks in the middle.',
  not_an_image: 'This is no picture that can be shown.',
  not_audio: 'There is no sound in this recording.',
  too_many_pixels: 'This picture has too many pixels.',
  too_many_scans: 'This picture is built in a way that the server does not accept.',
  too_complex: 'This picture is built in a way that the server does not accept.',
  too_many_frames: 'This animation is too long.',
  too_long: 'This recording is too long.',
  too_much_memory: 'This picture takes too much to open.',
  too_much_time: 'This picture takes too long to open.',
};

/** Why an upload failed, by the code; `text` is what to say of codes not known here. */
export function uploadFault(code: string, text: string): string {
  return UPLOAD_FAULTS[code] ?? text;
}

/** What is wrong with it as a photo or as a voice note, and may do as a file. */
const BETTER_AS_FILE = new Set([
  'too_large', 'damaged', 'not_an_image', 'not_audio', 'too_many_pixels', 'too_many_scans', 'too_many_frames', 'too_complex', 'too_long',
  'too_much_memory', 'too_much_time',
]);

/** Whether to offer to send a failed upload as a mere file. */
export function fitsAsFile(kind: string, code: string | undefined): boolean {
  return kind !== 'file' && code !== undefined && BETTER_AS_FILE.has(code);
}

const TONES: [string, RegExp][] = [
  ['red', /^(pdf|ps|eps)$/],
  ['blue', /^(docx?|odt|rtf|txt|md|pages|tex|epub)$/],
  ['green', /^(xlsx?|ods|csv|tsv|numbers)$/],
  ['orange', /^(pptx?|odp|key)$/],
  ['amber', /^(zip|gz|tgz|bz2|xz|zst|7z|rar|tar|dmg|iso|deb|rpm|apk)$/],
  ['pink', /^(mp4|m4v|mov|webm|mkv|avi)$/],
  ['violet', /^(mp3|m4a|aac|flac|ogg|opus|wav|mid)$/],
  ['teal', /^(heic|heif|svg|tiff?|psd|ai|raw|dng|jpe?g|png|gif|webp|avif|bmp)$/],
];

/** The letters and the colour by which a file is told from others at a glance. */
export function fileBadge(name: string, type: string): { label: string; tone: string } {
  const dotted = /\.([A-Za-z0-9]{1,5})$/.exec(name)?.[1]?.toLowerCase();
  const known = dotted ?? /^(?:audio|video|image|application)\/(?:x-)?([a-z0-9]{2,4})$/.exec(type)?.[1] ?? '';
  return { label: known.slice(0, 4).toUpperCase(), tone: TONES.find(([, names]) => names.test(known))?.[0] ?? 'grey' };
}

/** Pictures that the server makes smaller, and takes place and camera out of. */
const CLEANED = /^image\/(jpeg|png|gif|webp)$/;

/** What to tell a person whose pictures go on as they came, with the place in them; undefined if none does. */
export function unchangedWords(files: readonly { name: string; type: string }[]): string | undefined {
  // Not every browser has a type for what phones make.
  const kept = files.some(({ name, type }) => (type.startsWith('image/') ? !CLEANED.test(type) : /\.hei[cf]$/i.test(name)));
  return kept ? 'Pictures that are not JPEG, PNG, GIF or WebP are sent unchanged, also with the place where they were taken.' : undefined;
}

/** How many photos stand in each row of an album: two in a row are large, three are small, and large ones come first. */
export function albumRows(count: number): number[] {
  if (count <= 1) return count === 1 ? [1] : [];
  if (count === 3) return [1, 2];
  if (count === 2 || count === 4) return Array<number>(count / 2).fill(2);
  const rows: number[] = [];
  const pairs = (3 - (count % 3)) % 3;
  for (let left = count; left > 0;) {
    const row = rows.length < pairs ? 2 : 3;
    rows.push(row);
    left -= row;
  }
  return rows;
}

/** What is chosen together: photos make albums of at most `most`, everything else stands alone. */
export function messagesOf<T>(files: readonly T[], isPhoto: (file: T) => boolean, most: number): T[][] {
  const photos = files.filter(isPhoto);
  const albums = Array.from({ length: Math.ceil(photos.length / most) }, (_, i) => photos.slice(i * most, (i + 1) * most));
  return [...albums, ...files.filter((file) => !isPhoto(file)).map((file) => [file])];
}
