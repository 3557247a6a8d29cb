/**
 * From numbers to a mark and its cause. Pure: the tests read as a table of cases.
 */

export type Mark = 'good' | 'fair' | 'poor' | 'unknown';
export type Cause = 'none' | 'my_uplink' | 'my_downlink' | 'their_uplink';

export interface Quality {
  mark: Mark;
  cause: Cause;
  /** What is wrong, in words for a person. */
  text: string;
}

/** One participant as received here over the last few seconds. Fractions are 0…1. */
export interface TileFigures {
  /** Packets that never came, repair included. */
  loss: number;
  /** The larger of the audio's and the video's, RFC 3550 §6.4.1. */
  jitterMs: number;
  /** Part of the time that the picture stood still; 0 without picture. */
  frozen: number;
  /** Part of the sound that had to be invented. */
  concealed: number;
  /** Frames a second decoded; undefined if no picture is expected. */
  framesPerSecond: number | undefined;
  /** Whether packets come that should. */
  silent: boolean;
}

/** What the other end reports of what this device sends. */
export interface UplinkFigures {
  loss: number;
  /** Part of the time that the encoder was held back by the network. */
  limited: number;
}

export interface TransportFigures {
  /** Undefined while not measured. */
  rttMs: number | undefined;
}

/** From which value on a figure is fair, and from which poor. A lower pair complains sooner. */
const BOUNDS = {
  loss: [0.03, 0.1],
  jitterMs: [50, 120],
  frozen: [0.04, 0.15],
  concealed: [0.03, 0.1],
  limited: [0.5, 0.95],
  rttMs: [300, 700],
} as const satisfies Record<string, readonly [number, number]>;
/** Below which a moving picture is fair, and below which poor. */
const FRAME_RATE_BOUNDS = [10, 5] as const;

const RANK: Record<Mark, number> = { unknown: -1, good: 0, fair: 1, poor: 2 };
export const GOOD: Quality = { mark: 'good', cause: 'none', text: 'The connection is good.' };
export const UNKNOWN: Quality = { mark: 'unknown', cause: 'none', text: 'The quality is being measured.' };

function rate(value: number, [fair, poor]: readonly [number, number]): Mark {
  return value >= poor ? 'poor' : value >= fair ? 'fair' : 'good';
}

/** The worst of several marks. */
export function worst(marks: readonly Mark[]): Mark {
  return marks.reduce<Mark>((a, b) => (RANK[b] > RANK[a] ? b : a), 'unknown');
}

/** What strikes a viewer about one participant, before anybody asks why. */
function symptom(tile: TileFigures): { mark: Mark; text: string; network: boolean } {
  if (tile.silent) return { mark: 'poor', text: 'nothing arrives', network: false };
  const fps = tile.framesPerSecond;
  const findings: { mark: Mark; text: string; network: boolean }[] = [
    { mark: rate(tile.loss, BOUNDS.loss), text: `${percent(tile.loss)} of packets are lost`, network: true },
    { mark: rate(tile.concealed, BOUNDS.concealed), text: 'the sound breaks up', network: false },
    { mark: rate(tile.frozen, BOUNDS.frozen), text: 'the picture freezes', network: false },
    { mark: rate(tile.jitterMs, BOUNDS.jitterMs), text: 'packets arrive unevenly', network: true },
    {
      mark: fps === undefined || fps >= FRAME_RATE_BOUNDS[0] ? 'good' : fps >= FRAME_RATE_BOUNDS[1] ? 'fair' : 'poor',
      text: 'the picture stutters', network: false,
    },
  ];
  const mark = worst(findings.map((finding) => finding.mark));
  const bad = findings.filter((finding) => finding.mark !== 'good');
  const told = bad.find((finding) => finding.mark === mark);
  return { mark, text: told?.text ?? '', network: bad.some((finding) => finding.network) };
}

function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`;
}

/**
 * The mark of one participant, `others` being everybody else received at the same time.
 *
 * Trouble is on **my downlink** if it shows on the path that everybody shares: the round trip is long, most others
 * suffer too, or packets of this one are lost or late between the server and here while nobody else is there to compare
 * with. It is on **their uplink** if the others are well, or if what does come comes cleanly.
 */
export function judgeTile(tile: TileFigures, others: readonly TileFigures[], transport: TransportFigures): Quality {
  const { mark, text, network } = symptom(tile);
  const path = rate(transport.rttMs ?? 0, BOUNDS.rttMs);
  if (mark === 'good' && path === 'good') return GOOD;
  if (RANK[path] >= RANK[mark]) {
    return { mark: path, cause: 'my_downlink', text: `Your connection is slow: ${Math.round(transport.rttMs ?? 0)} ms to the server and back.` };
  }
  const suffering = others.filter((other) => symptom(other).mark !== 'good').length;
  const mine = others.length > 0 ? suffering * 2 > others.length : network || path !== 'good';
  return mine
    ? { mark, cause: 'my_downlink', text: `Your download is weak: ${text}.` }
    : { mark, cause: 'their_uplink', text: `Their connection is weak: ${text}.` };
}

/** The mark of what this device sends. */
export function judgeUplink(uplink: UplinkFigures, transport: TransportFigures): Quality {
  const loss = rate(uplink.loss, BOUNDS.loss);
  const limited = rate(uplink.limited, BOUNDS.limited) === 'good' ? 'good' : 'fair';
  const path = rate(transport.rttMs ?? 0, BOUNDS.rttMs);
  const mark = worst([loss, limited, path]);
  if (mark === 'good') return GOOD;
  const text = loss === mark ? `${percent(uplink.loss)} of what you send is lost.`
    : path === mark ? `it takes ${Math.round(transport.rttMs ?? 0)} ms to the server and back.`
      : 'there is too little of it for your picture.';
  return { mark, cause: 'my_uplink', text: `Your upload is weak: ${text}` };
}

/** One mark for the whole call: the worst; of equals, what this person can do something about first. */
export function judgeCall(uplink: Quality, tiles: readonly Quality[]): Quality {
  const order: Record<Cause, number> = { my_uplink: 0, my_downlink: 1, their_uplink: 2, none: 3 };
  const all = [uplink, ...tiles].filter((quality) => quality.mark !== 'unknown');
  if (all.length === 0) return UNKNOWN;
  return all.sort((a, b) => RANK[b.mark] - RANK[a.mark] || order[a.cause] - order[b.cause])[0]!;
}
