/** What the browser measures, each second, as figures per participant. */
import { GOOD, UNKNOWN, judgeCall, judgeTile, judgeUplink, type Quality, type TileFigures } from './quality.js';
import { Emitter } from './util.js';
import type { MediaFlags } from './wire.js';

/** A participant as the statistics see it. */
export interface StatsParticipant {
  key: string;
  user: string;
  device: string;
  slot: number;
  midAudio: string | null;
  midVideo: string | null;
  /** What it says that it sends. */
  media: MediaFlags | undefined;
  /** Whether its picture is wanted: a tile of no size has paused it. */
  watched: boolean;
}

export interface StatsSource {
  peer: { getStats(): Promise<Iterable<[string, unknown]> | ReadonlyMap<string, unknown>> } | undefined;
  participants: StatsParticipant[];
  sending: MediaFlags;
}

export interface TileStats {
  key: string;
  user: string;
  device: string;
  slot: number;
  /** Bits a second received, sound and picture, over the last second. */
  bitrate: number;
  /** Since the participant came into its slot. */
  framesDecoded: number;
  freezes: number;
  freezeSeconds: number;
  /** Sum of squared samples × time, as `totalAudioEnergy` of the W3C's webrtc-stats. */
  audioEnergy: number;
  /** 0…1, over the last second. */
  audioLevel: number;
  frameWidth: number;
  frameHeight: number;
  framesPerSecond: number;
  /** Fractions 0…1 and milliseconds over the last few seconds. */
  loss: number;
  jitterMs: number;
  concealed: number;
  quality: Quality;
}

export interface LayerStats {
  rid: string;
  bitrate: number;
  width: number;
  height: number;
  framesPerSecond: number;
  active: boolean;
}

export interface StatsSnapshot {
  /** Unix milliseconds. */
  at: number;
  tiles: TileStats[];
  uplink: { bitrate: number; loss: number; limited: number; layers: LayerStats[]; quality: Quality };
  transport: { rttMs: number | undefined; relayed: boolean; protocol: string; availableOutgoing: number | undefined };
  /** Of the whole call. */
  quality: Quality;
}

export interface StatsEvents {
  snapshot: StatsSnapshot;
}

/** Counters of one inbound stream; all since the stream began. */
export interface Inbound {
  bytes: number;
  packets: number;
  lost: number;
  jitterMs: number;
  framesDecoded: number;
  framesPerSecond: number;
  frameWidth: number;
  frameHeight: number;
  freezes: number;
  freezeSeconds: number;
  energy: number;
  samplesSeconds: number;
  samples: number;
  concealed: number;
}

export interface Outbound {
  rid: string;
  bytes: number;
  packets: number;
  width: number;
  height: number;
  framesPerSecond: number;
  active: boolean;
  /** Seconds held back by the network, and seconds in all. */
  limitedSeconds: number;
  seconds: number;
}

/** One reading of `getStats`, sorted. */
export interface Sample {
  at: number;
  inbound: Map<string, Inbound>;
  outbound: Map<string, Outbound>;
  /** The worst fraction that the other end reports lost of one of our streams in its last interval. */
  remoteLoss: number;
  rttMs: number | undefined;
  relayed: boolean;
  protocol: string;
  availableOutgoing: number | undefined;
}

type Entry = Record<string, unknown>;

const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

function readInbound(entry: Entry): Inbound {
  return {
    bytes: number(entry['bytesReceived']),
    packets: number(entry['packetsReceived']),
    lost: number(entry['packetsLost']),
    jitterMs: number(entry['jitter']) * 1000,
    framesDecoded: number(entry['framesDecoded']),
    framesPerSecond: number(entry['framesPerSecond']),
    frameWidth: number(entry['frameWidth']),
    frameHeight: number(entry['frameHeight']),
    freezes: number(entry['freezeCount']),
    freezeSeconds: number(entry['totalFreezesDuration']),
    energy: number(entry['totalAudioEnergy']),
    samplesSeconds: number(entry['totalSamplesDuration']),
    samples: number(entry['totalSamplesReceived']),
    // Comfort noise in a pause is concealment that nobody hears.
    concealed: Math.max(0, number(entry['concealedSamples']) - number(entry['silentConcealedSamples'])),
  };
}

function readOutbound(entry: Entry): Outbound {
  const durations = (entry['qualityLimitationDurations'] ?? {}) as Entry;
  return {
    rid: typeof entry['rid'] === 'string' ? entry['rid'] : '',
    bytes: number(entry['bytesSent']),
    packets: number(entry['packetsSent']),
    width: number(entry['frameWidth']),
    height: number(entry['frameHeight']),
    framesPerSecond: number(entry['framesPerSecond']),
    active: entry['active'] !== false,
    limitedSeconds: number(durations['bandwidth']),
    seconds: Object.values(durations).reduce<number>((sum, value) => sum + number(value), 0),
  };
}

/** Sorts a report of the W3C's webrtc-stats. */
export function readSample(report: Iterable<[string, unknown]> | ReadonlyMap<string, unknown>, at: number): Sample {
  const entries = new Map<string, Entry>();
  for (const [id, entry] of report) entries.set(id, entry as Entry);
  const sample: Sample = {
    at, inbound: new Map(), outbound: new Map(), remoteLoss: 0, rttMs: undefined, relayed: false, protocol: '', availableOutgoing: undefined,
  };
  let pairId: unknown;
  for (const entry of entries.values()) {
    if (entry['type'] === 'inbound-rtp' && typeof entry['mid'] === 'string') sample.inbound.set(entry['mid'], readInbound(entry));
    if (entry['type'] === 'outbound-rtp') sample.outbound.set(String(entry['id'] ?? entry['ssrc']), readOutbound(entry));
    if (entry['type'] === 'remote-inbound-rtp') sample.remoteLoss = Math.max(sample.remoteLoss, number(entry['fractionLost']));
    if (entry['type'] === 'transport') pairId ??= entry['selectedCandidatePairId'];
  }
  const pair = entries.get(String(pairId))
    ?? [...entries.values()].find((entry) => entry['type'] === 'candidate-pair' && entry['nominated'] === true && entry['state'] === 'succeeded');
  if (pair) {
    if (typeof pair['currentRoundTripTime'] === 'number') sample.rttMs = pair['currentRoundTripTime'] * 1000;
    if (typeof pair['availableOutgoingBitrate'] === 'number') sample.availableOutgoing = pair['availableOutgoingBitrate'];
    const local = entries.get(String(pair['localCandidateId']));
    sample.relayed = local?.['candidateType'] === 'relay';
    sample.protocol = String(local?.['relayProtocol'] ?? local?.['protocol'] ?? '');
  }
  return sample;
}

const NOTHING: Inbound = readInbound({});

/** A counter's growth; a counter that was reset starts from nothing. */
const grown = (now: number, before: number): number => (now >= before ? now - before : now);
const ratio = (part: number, whole: number): number => (whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0);

/** The figures of one participant between two readings. */
export function tileFigures(participant: StatsParticipant, from: Sample, to: Sample): TileFigures {
  const seconds = Math.max(0.001, (to.at - from.at) / 1000);
  const read = (mid: string | null): [Inbound, Inbound] => [from.inbound.get(mid ?? '') ?? NOTHING, to.inbound.get(mid ?? '') ?? NOTHING];
  const [audioBefore, audio] = read(participant.midAudio);
  const [videoBefore, video] = read(participant.midVideo);
  const packets = grown(audio.packets, audioBefore.packets) + grown(video.packets, videoBefore.packets);
  const lost = grown(audio.lost, audioBefore.lost) + grown(video.lost, videoBefore.lost);
  const pictured = participant.media?.video === true && participant.watched && participant.midVideo !== null;
  const decoded = grown(video.framesDecoded, videoBefore.framesDecoded);
  const expected = participant.media !== undefined && (participant.media.audio || pictured);
  return {
    loss: ratio(lost, lost + packets),
    jitterMs: Math.max(audio.jitterMs, pictured ? video.jitterMs : 0),
    // The browser counts a freeze when it ends: one that lasts shows as frames that do not come.
    frozen: pictured ? ratio(grown(video.freezeSeconds, videoBefore.freezeSeconds), seconds) : 0,
    concealed: ratio(grown(audio.concealed, audioBefore.concealed), grown(audio.samples, audioBefore.samples)),
    framesPerSecond: pictured ? decoded / seconds : undefined,
    silent: expected && packets === 0,
  };
}

/** The browser is asked this often. Lower shows trouble sooner and costs CPU. */
const PERIOD_MS = 1_000;
/** Readings kept: the figures that need an average look this many back. */
const WINDOW = 5;
/** A participant is not judged before this many readings. */
const SETTLE = 3;

interface Tenure {
  slot: number;
  base: Sample;
  readings: number;
}

export class CallStats extends Emitter<StatsEvents> {
  /** Offers made: 1 unless the connection had to be replaced. */
  offers = 0;
  latest: StatsSnapshot | undefined;
  readonly #source: () => StatsSource;
  readonly #samples: Sample[] = [];
  readonly #tenures = new Map<string, Tenure>();
  #peer: StatsSource['peer'];
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(source: () => StatsSource) {
    super();
    this.#source = source;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.take(), PERIOD_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Asks the browser now, besides the regular readings. */
  async take(): Promise<StatsSnapshot | undefined> {
    const { peer } = this.#source();
    if (!peer) return undefined;
    if (peer !== this.#peer) {
      // Counters of another connection cannot be compared with these.
      this.#peer = peer;
      this.#samples.length = 0;
      this.#tenures.clear();
    }
    let report;
    try {
      report = await peer.getStats();
    } catch {
      return undefined;
    }
    const source = this.#source();
    if (source.peer !== peer) return undefined;
    this.latest = this.add(readSample(report, Date.now()), source);
    this.emit('snapshot', this.latest);
    return this.latest;
  }

  /** Adds a reading and draws the conclusions; what `take` does, without a browser. */
  add(sample: Sample, source: StatsSource): StatsSnapshot {
    const previous = this.#samples.at(-1) ?? sample;
    this.#samples.push(sample);
    if (this.#samples.length > WINDOW) this.#samples.shift();
    const oldest = this.#samples[0]!;
    const transport = { rttMs: sample.rttMs };
    const figures = new Map<string, TileFigures>();
    const settled = new Set<string>();
    for (const participant of source.participants) {
      const tenure = this.#tenure(participant, sample);
      const from = tenure.base.at > oldest.at ? tenure.base : oldest;
      figures.set(participant.key, tileFigures(participant, from, sample));
      if (tenure.readings >= SETTLE) settled.add(participant.key);
    }
    for (const key of this.#tenures.keys()) if (!figures.has(key)) this.#tenures.delete(key);
    const tiles = source.participants.map((participant) => {
      const mine = figures.get(participant.key)!;
      const others = [...figures].filter(([key]) => key !== participant.key && settled.has(key)).map(([, one]) => one);
      const quality = settled.has(participant.key) ? judgeTile(mine, others, transport) : UNKNOWN;
      return this.#tile(participant, mine, previous, sample, quality);
    });
    const uplink = this.#uplink(source, oldest, previous, sample);
    return {
      at: sample.at, tiles, uplink,
      transport: { rttMs: sample.rttMs, relayed: sample.relayed, protocol: sample.protocol, availableOutgoing: sample.availableOutgoing },
      quality: judgeCall(uplink.quality, tiles.map((tile) => tile.quality)),
    };
  }

  #tenure({ key, slot }: StatsParticipant, sample: Sample): Tenure {
    let tenure = this.#tenures.get(key);
    if (!tenure || tenure.slot !== slot) this.#tenures.set(key, (tenure = { slot, base: sample, readings: 0 }));
    tenure.readings++;
    return tenure;
  }

  #tile(participant: StatsParticipant, figures: TileFigures, previous: Sample, sample: Sample, quality: Quality): TileStats {
    const seconds = Math.max(0.001, (sample.at - previous.at) / 1000);
    const { base } = this.#tenures.get(participant.key)!;
    // A stream that began in this tenure has no base.
    const audio = sample.inbound.get(participant.midAudio ?? '') ?? NOTHING;
    const video = sample.inbound.get(participant.midVideo ?? '') ?? NOTHING;
    const audioBase = base.inbound.get(participant.midAudio ?? '') ?? NOTHING;
    const videoBase = base.inbound.get(participant.midVideo ?? '') ?? NOTHING;
    const audioBefore = previous.inbound.get(participant.midAudio ?? '') ?? NOTHING;
    const videoBefore = previous.inbound.get(participant.midVideo ?? '') ?? NOTHING;
    const bytes = grown(audio.bytes, audioBefore.bytes) + grown(video.bytes, videoBefore.bytes);
    const spoken = grown(audio.samplesSeconds, audioBefore.samplesSeconds);
    return {
      key: participant.key, user: participant.user, device: participant.device, slot: participant.slot,
      bitrate: previous === sample ? 0 : Math.round((bytes * 8) / seconds),
      framesDecoded: grown(video.framesDecoded, videoBase.framesDecoded),
      freezes: grown(video.freezes, videoBase.freezes),
      freezeSeconds: grown(video.freezeSeconds, videoBase.freezeSeconds),
      audioEnergy: grown(audio.energy, audioBase.energy),
      audioLevel: spoken > 0 ? Math.min(1, Math.sqrt(grown(audio.energy, audioBefore.energy) / spoken)) : 0,
      frameWidth: video.frameWidth, frameHeight: video.frameHeight, framesPerSecond: video.framesPerSecond,
      loss: figures.loss, jitterMs: figures.jitterMs, concealed: figures.concealed, quality,
    };
  }

  #uplink(source: StatsSource, oldest: Sample, previous: Sample, sample: Sample): StatsSnapshot['uplink'] {
    const seconds = Math.max(0.001, (sample.at - previous.at) / 1000);
    let bytes = 0;
    let limited = 0;
    let inAll = 0;
    const layers: LayerStats[] = [];
    for (const [id, now] of sample.outbound) {
      const sent = previous === sample ? 0 : grown(now.bytes, previous.outbound.get(id)?.bytes ?? 0);
      bytes += sent;
      const before = oldest.outbound.get(id);
      limited += grown(now.limitedSeconds, before?.limitedSeconds ?? 0);
      inAll += grown(now.seconds, before?.seconds ?? 0);
      if (now.seconds > 0 || now.width > 0) {
        layers.push({
          rid: now.rid, bitrate: Math.round((sent * 8) / seconds), width: now.width, height: now.height,
          framesPerSecond: now.framesPerSecond, active: now.active,
        });
      }
    }
    const figures = { loss: Math.min(1, Math.max(0, sample.remoteLoss)), limited: source.sending.video ? ratio(limited, inAll) : 0 };
    const measured = this.#samples.length >= SETTLE;
    const sends = source.sending.audio || source.sending.video;
    const quality = !measured ? UNKNOWN : sends ? judgeUplink(figures, { rttMs: sample.rttMs }) : GOOD;
    return { bitrate: Math.round((bytes * 8) / seconds), ...figures, layers, quality };
  }
}
