/** What a client offers, decided before any browser object is touched. */
import type { SlotInfo, SlotView } from './wire.js';

export interface CaptureSize {
  width: number;
  height: number;
  frameRate: number;
}

export const DEFAULT_CAPTURE: CaptureSize = { width: 1280, height: 720, frameRate: 30 };

/** `640x360@15`, also without the rate; undefined if it is no such thing. */
export function parseCapture(text: string): CaptureSize | undefined {
  const match = /^(\d{2,4})x(\d{2,4})(?:@(\d{1,3}))?$/.exec(text.trim());
  if (!match) return undefined;
  const [width, height, frameRate] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 30)];
  return width && height && frameRate ? { width, height, frameRate } : undefined;
}

/** Bits a second for a picture of this many pixels at 30 frames a second: 1.7 Mb/s for 720p, 0.5 for 360p, 0.15 for 180p. */
function bitrateFor(pixels: number, frameRate: number): number {
  const full = 1_700_000 * (pixels / (1280 * 720)) ** 0.87;
  return Math.round((full * (0.5 + Math.min(frameRate, 30) / 60)) / 10_000) * 10_000;
}

/**
 * Simulcast layers for a capture, lowest first: three (`q`, `h`, `f`) from 960×540 up, two from 480×270 (browsers drop
 * more themselves), else one without a rid.
 */
export function encodingsFor({ width, height, frameRate }: CaptureSize): RTCRtpEncodingParameters[] {
  const pixels = width * height;
  const rids = pixels >= 960 * 540 ? ['q', 'h', 'f'] : pixels >= 480 * 270 ? ['q', 'h'] : [];
  if (rids.length === 0) return [{ maxBitrate: bitrateFor(pixels, frameRate) }];
  return rids.map((rid, index) => {
    const scale = 2 ** (rids.length - 1 - index);
    return { rid, scaleResolutionDownBy: scale, maxBitrate: bitrateFor(pixels / scale ** 2, frameRate) };
  });
}

/** Codecs the server forwards. A short list keeps an offer with many slots far below the frame limit. */
const CODECS: Record<'audio' | 'video', RegExp> = {
  audio: /^audio\/(opus|red)$/i,
  video: /^video\/(vp8|h264|rtx)$/i,
};

/** Of all a browser can do, what is offered: VP8 first, then H.264 constrained baseline, RTX; Opus. */
export function preferredCodecs<C extends { mimeType: string; sdpFmtpLine?: string | undefined }>(kind: 'audio' | 'video', all: readonly C[]): C[] {
  const usable = all.filter((codec) => CODECS[kind].test(codec.mimeType) && (
    !/h264/i.test(codec.mimeType) || (/packetization-mode=1/.test(codec.sdpFmtpLine ?? '') && /profile-level-id=42e0/i.test(codec.sdpFmtpLine ?? ''))));
  const rank = (codec: C): number => [/vp8|opus/i, /h264|red/i, /rtx/i].findIndex((pattern) => pattern.test(codec.mimeType));
  return usable.sort((a, b) => rank(a) - rank(b));
}

/** One place for a participant: the sections of the offer it consists of. */
export interface SlotPlan {
  slot: number;
  hasVideo: boolean;
}

/** Slots in the order of their sections: pairs of audio and video, then audio alone. */
export function planSlots(pairs: number, audioOnly: number): SlotPlan[] {
  return Array.from({ length: pairs + audioOnly }, (_, slot) => ({ slot, hasVideo: slot < pairs }));
}

/** A participant's name among others: a user may be there with two devices. */
export function participantKey(info: { user: string | null; device: string | null }): string {
  return `${info.user}/${info.device}`;
}

export interface SlotMids {
  slot: number;
  audio: string | null;
  video: string | null;
}

/** Where a `slots` entry's audio and video arrive: by the mids it names, else by its number. Undefined if nowhere. */
export function placeSlot(info: SlotInfo, mids: readonly SlotMids[]): SlotMids | undefined {
  const named = mids.find(({ audio, video }) =>
    (info.mid_audio != null && audio === info.mid_audio) || (info.mid_video != null && video === info.mid_video));
  return named ?? mids.find(({ slot }) => slot === info.slot);
}

/** The sizes to tell the server, of those participants whose tile has told its own. */
export function viewsFor(occupants: readonly SlotInfo[], sizes: ReadonlyMap<string, { width: number; height: number }>): SlotView[] {
  return occupants.flatMap((info) => {
    const size = sizes.get(participantKey(info));
    if (info.mid_video == null || !size) return [];
    return [{ slot: info.slot, width: Math.round(size.width), height: Math.round(size.height) }];
  });
}
