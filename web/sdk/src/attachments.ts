/** What can be read out of an attachment, and what a file is likely to become. Pure. */
import { thumbHashToDataURL } from 'thumbhash';
import type { Attachment, AttachmentKind } from './wire.js';

/** Pictures that every browser shows and the server makes smaller. The others (HEIC, SVG, TIFF) travel as files. */
const PHOTO_TYPES = new Set(['image/jpeg', 'image/png', 'image/gif', 'image/webp', 'image/avif', 'image/bmp']);

/**
 * What a file of this MIME type is best sent as. Never `voice`: a piece of music would be made small as speech; a recorder
 * says itself that it is one.
 */
export function guessKind(type: string): AttachmentKind {
  return PHOTO_TYPES.has(type.split(';')[0]!.trim().toLowerCase()) ? 'photo' : 'file';
}

function decode(base64: string | null | undefined): Uint8Array | undefined {
  if (!base64) return undefined;
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return undefined;
  }
}

const placeholders = new WeakMap<Attachment, string | undefined>();

/** A blurred picture of some 32 pixels as a `data:` address, to stand where the photo will; undefined if there is none. */
export function placeholderUrl(attachment: Attachment): string | undefined {
  if (!placeholders.has(attachment)) {
    const hash = decode(attachment.thumbhash);
    let url: string | undefined;
    try {
      // Shorter than its header, it would be read beyond its end.
      if (hash && hash.length >= 5) url = thumbHashToDataURL(hash);
    } catch {
      url = undefined;
    }
    placeholders.set(attachment, url);
  }
  return placeholders.get(attachment);
}

/** The loudnesses of a voice note, each 0–1; undefined if it has none. */
export function waveformOf(attachment: Attachment): number[] | undefined {
  const bytes = decode(attachment.waveform);
  return bytes && bytes.length > 0 ? [...bytes].map((one) => one / 255) : undefined;
}

/** The long edge of a variant, pixels; undefined if its name is no size. */
function edgeOf(variant: string): number | undefined {
  return /^\d{2,5}$/.test(variant) ? Number(variant) : undefined;
}

/** A picture drawn this much larger than it is still looks sharp. */
const STRETCH = 1.15;

/**
 * The variant to show where its long edge covers `pixels` (CSS pixels × device pixel ratio): the smallest that is large
 * enough, else the largest there is. `available` are the variants' names where they are known better than the message
 * knew them. `original` is chosen only if nothing else is there.
 */
export function bestVariant(attachment: Attachment, pixels: number, available: readonly string[] = attachment.variants): string | undefined {
  const sizes = available.filter((name) => edgeOf(name) !== undefined).sort((a, b) => edgeOf(a)! - edgeOf(b)!);
  return sizes.find((name) => edgeOf(name)! * STRETCH >= pixels) ?? sizes.at(-1) ?? available.at(-1);
}
