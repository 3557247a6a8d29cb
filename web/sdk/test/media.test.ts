/** The one offer, the slots and the repair, on peer connections that only write down what is done to them. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, mock, test } from 'node:test';
import type { CallMedia as CallMediaType, MediaPort } from '../src/media.js';
import type { SlotInfo, SlotView } from '../src/wire.js';
import { settle } from './fake.js';

let count = 0;

class FakeTrack extends EventTarget {
  readonly id = `t${++count}`;
  enabled = true;
  constructor(readonly kind: string) { super(); }
  stop(): void {}
  getSettings(): object { return this.kind === 'video' ? { width: 1280, height: 720, frameRate: 30 } : {}; }
}

class FakeStream {
  readonly tracks: FakeTrack[];
  constructor(tracks: FakeTrack[] = []) { this.tracks = [...tracks]; }
  getTracks(): FakeTrack[] { return [...this.tracks]; }
  getAudioTracks(): FakeTrack[] { return this.tracks.filter((one) => one.kind === 'audio'); }
  getVideoTracks(): FakeTrack[] { return this.tracks.filter((one) => one.kind === 'video'); }
  getTrackById(id: string): FakeTrack | null { return this.tracks.find((one) => one.id === id) ?? null; }
  addTrack(track: FakeTrack): void { this.tracks.push(track); }
  removeTrack(track: FakeTrack): void { this.tracks.splice(this.tracks.indexOf(track), 1); }
}

class FakePeer {
  connectionState = 'new';
  onconnectionstatechange: (() => void) | null = null;
  localDescription: { sdp: string } | null = null;
  remote: string | undefined;
  closed = false;
  readonly sections: { mid: string | null; kind: string; direction: string; rids: (string | undefined)[]; sender: { track: unknown; replaceTrack(track: unknown): Promise<void> }; receiver: { track: FakeTrack }; setCodecPreferences(): void }[] = [];

  constructor(readonly config: { iceTransportPolicy?: string }) {}

  addTransceiver(what: FakeTrack | string, init: { direction: string; sendEncodings?: { rid?: string }[] }) {
    const kind = typeof what === 'string' ? what : what.kind;
    const sender = { track: typeof what === 'string' ? null as unknown : what, async replaceTrack(track: unknown) { sender.track = track; } };
    const section = { mid: null, kind, direction: init.direction, rids: (init.sendEncodings ?? []).map((one) => one.rid), sender, receiver: { track: new FakeTrack(kind) }, setCodecPreferences: () => undefined };
    this.sections.push(section);
    return section;
  }
  getTransceivers() { return this.sections; }
  async createOffer() { return { type: 'offer', sdp: 'offer' }; }
  async setLocalDescription() {
    this.localDescription = { sdp: `offer ${this.sections.length}` };
    this.sections.forEach((section, index) => (section.mid = String(index)));
  }
  async setRemoteDescription({ sdp }: { sdp: string }) { this.remote = sdp; }
  async getStats() { return new Map(); }
  close() { this.closed = true; }
  become(state: string) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

let CallMedia: typeof CallMediaType;
let LocalMedia: typeof import('../src/local.js').LocalMedia;

before(async () => {
  Object.assign(globalThis, { MediaStream: FakeStream, RTCRtpReceiver: { getCapabilities: () => ({ codecs: [{ mimeType: 'video/VP8' }, { mimeType: 'audio/opus' }] }) } });
  ({ CallMedia } = await import('../src/media.js'));
  ({ LocalMedia } = await import('../src/local.js'));
});
after(() => {
  for (const name of ['MediaStream', 'RTCRtpReceiver']) delete (globalThis as Record<string, unknown>)[name];
});
beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval'] }));
afterEach(() => mock.timers.reset());

interface Bench {
  media: CallMediaType;
  peers: FakePeer[];
  views: SlotView[][];
  offers: string[];
  slots(slots: SlotInfo[]): void;
  gone(why: string): void;
}

async function bench(options = {}, answer: (sdp: string) => Promise<string> = async () => 'answer'): Promise<Bench> {
  const peers: FakePeer[] = [];
  const views: SlotView[][] = [];
  const offers: string[] = [];
  const listeners: Record<string, (value: never) => void> = {};
  const port = {
    slots: [] as SlotInfo[],
    offer: (sdp: string) => {
      offers.push(sdp);
      return answer(sdp);
    },
    view: (slots: SlotView[]) => void views.push(slots),
    mediaOf: () => ({ audio: true, video: true }),
    on: (event: string, listener: (value: never) => void) => {
      listeners[event] = listener;
      return () => delete listeners[event];
    },
  };
  const local = new LocalMedia();
  local.stream.addTrack(new FakeTrack('audio') as never);
  local.stream.addTrack(new FakeTrack('video') as never);
  const media = new CallMedia(port as unknown as MediaPort, local, {
    slots: 2, audioOnlySlots: 1, ...options,
    peerConnection: (config) => {
      peers.push(new FakePeer(config as never));
      return peers.at(-1) as never;
    },
  });
  await media.start();
  return {
    media, peers, views, offers,
    slots: (slots) => {
      port.slots = slots;
      listeners['slots']?.(slots as never);
    },
    gone: (why) => listeners['gone']?.(why as never),
  };
}

const bob: SlotInfo = { slot: 0, mid_audio: '2', mid_video: '3', user: 'bob', device: 'phone' };
const eve: SlotInfo = { slot: 1, mid_audio: '4', mid_video: '5', user: 'eve', device: 'tab' };

test('the offer has what is sent first, then slots as pairs, then sound alone', async () => {
  const { peers, media } = await bench({ iceTransportPolicy: 'relay' });
  assert.deepEqual(peers[0]!.sections.map(({ kind, direction }) => `${kind} ${direction}`), [
    'audio sendonly', 'video sendonly', 'audio recvonly', 'video recvonly', 'audio recvonly', 'video recvonly', 'audio recvonly',
  ]);
  assert.deepEqual(peers[0]!.sections[1]!.rids, ['q', 'h', 'f']);
  assert.equal(peers[0]!.config.iceTransportPolicy, 'relay');
  assert.equal(peers[0]!.remote, 'answer');
  media.close();
});

test('people come, go and change places under one offer', async () => {
  const { media, slots, offers, peers } = await bench();
  peers[0]!.become('connected');
  slots([bob]);
  const stream = media.participants[0]!.stream;
  slots([bob, eve, { slot: 2, mid_audio: '6', mid_video: null, user: null, device: null }]);
  assert.deepEqual(media.participants.map((one) => one.key), ['bob/phone', 'eve/tab']);
  assert.equal(media.participants[0]!.stream, stream, 'who stays keeps the stream');
  slots([{ ...eve, slot: 0, mid_audio: '2', mid_video: '3' }]);
  assert.notEqual(media.participants[0]!.stream, stream, 'who takes a place gets a stream of its own');
  assert.equal(media.stats.offers, 1);
  assert.equal(offers.length, 1);
  media.close();
});

test('sizes are told together, and again when people change places', async () => {
  const { media, slots, views } = await bench();
  slots([bob, eve]);
  media.setView('bob/phone', 640, 360);
  media.setView('eve/tab', 0, 0);
  mock.timers.tick(200);
  assert.deepEqual(views, [[{ slot: 0, width: 640, height: 360 }, { slot: 1, width: 0, height: 0 }]]);
  slots([{ ...bob, slot: 1, mid_audio: '4', mid_video: '5' }]);
  mock.timers.tick(200);
  assert.deepEqual(views.at(-1), [{ slot: 1, width: 640, height: 360 }]);
  media.close();
});

test('a lost transport is replaced: told by the server, failed, or silent too long', async () => {
  const { media, peers, gone } = await bench();
  peers[0]!.become('connected');
  gone('consent');
  mock.timers.tick(0);
  await settle();
  assert.equal(media.stats.offers, 2);
  assert.equal(peers[0]!.closed, true);
  peers[1]!.become('connected');
  mock.timers.tick(10_000);
  peers[1]!.become('failed');
  mock.timers.tick(0);
  await settle();
  assert.equal(media.stats.offers, 3);
  peers[2]!.become('connected');
  mock.timers.tick(10_000);
  peers[2]!.become('disconnected');
  assert.equal(media.state, 'interrupted');
  mock.timers.tick(5_000);
  peers[2]!.become('connected');
  mock.timers.tick(20_000);
  await settle();
  assert.equal(media.stats.offers, 3, 'what heals by itself is left alone');
  media.close();
});

test('a refused offer is made again, later each time, until the call is closed', async () => {
  const { media, offers } = await bench({}, async () => {
    throw new Error('no');
  });
  for (let i = 0; i < 3; i++) {
    mock.timers.tick(10_000);
    await settle();
  }
  assert.equal(offers.length, 4);
  media.close();
  mock.timers.tick(60_000);
  await settle();
  assert.equal(offers.length, 4);
});

test('a camera turned on later goes into the section that waited for it', async () => {
  const { media, peers } = await bench();
  await media.local.setVideo(false);
  await settle();
  assert.equal(peers[0]!.sections[1]!.sender.track, null);
  media.local.stream.addTrack(new FakeTrack('video') as never);
  await media.local.setAudio(false);
  await settle();
  assert.notEqual(peers[0]!.sections[1]!.sender.track, null);
  assert.equal(media.local.media.audio, false);
  assert.equal(media.stats.offers, 1);
  media.close();
});
