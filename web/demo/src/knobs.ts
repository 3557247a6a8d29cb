/** What a link to the page can say. */

export interface Knobs {
  /** Only relayed candidates: everything goes through TURN. */
  relay: boolean;
  /** The size that the camera is asked for. */
  capture: { width: number; height: number; frameRate: number };
  /** Places for other participants. */
  slots: number;
}

export const SLOTS_MAX = 16;

/** `?relay=1&capture=640x360@15&slots=4`; what is missing or makes no sense is the default. */
export function readKnobs(search: string): Knobs {
  const query = new URLSearchParams(search);
  const size = /^(\d{2,4})x(\d{2,4})(?:@(\d{1,3}))?$/.exec(query.get('capture') ?? '');
  const slots = Number(query.get('slots') ?? NaN);
  return {
    relay: query.get('relay') === '1',
    capture: size
      ? { width: Number(size[1]), height: Number(size[2]), frameRate: Number(size[3] ?? 30) || 30 }
      : { width: 1280, height: 720, frameRate: 30 },
    slots: Number.isInteger(slots) && slots >= 1 && slots <= SLOTS_MAX ? slots : 6,
  };
}

/** The token in `#token=…`, and the address without it. */
export function takeToken(hash: string): { token: string | undefined; rest: string } {
  const parts = hash.replace(/^#/, '').split('&').filter(Boolean);
  const found = parts.find((part) => part.startsWith('token='));
  const rest = parts.filter((part) => part !== found).join('&');
  const token = found ? decodeURIComponent(found.slice('token='.length)) : undefined;
  return { token: token || undefined, rest: rest ? `#${rest}` : '' };
}
