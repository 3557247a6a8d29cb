import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeCall, judgeTile, judgeUplink, type Quality, type TileFigures } from '../src/quality.js';
import { CallStats, readSample, type StatsParticipant, type StatsSource } from '../src/stats.js';

const fine: TileFigures = { loss: 0, jitterMs: 4, frozen: 0, concealed: 0, framesPerSecond: 30, silent: false };
const bad: TileFigures = { ...fine, loss: 0.2 };
const near = { rttMs: 30 };

test('marks and causes of a participant', () => {
  const cases: [string, TileFigures, TileFigures[], number, string, string][] = [
    ['all is well', fine, [], 30, 'good', 'none'],
    ['my packets are lost, nobody to compare with', { ...fine, loss: 0.05 }, [], 30, 'fair', 'my_downlink'],
    ['many of them', { ...fine, loss: 0.15 }, [], 30, 'poor', 'my_downlink'],
    ['one of three is bad', bad, [fine, fine], 30, 'poor', 'their_uplink'],
    ['two of three are bad', bad, [bad, fine], 30, 'poor', 'their_uplink'],
    ['all are bad', bad, [bad, bad], 30, 'poor', 'my_downlink'],
    ['what comes is clean, but the picture freezes', { ...fine, frozen: 0.2 }, [], 30, 'poor', 'their_uplink'],
    ['the sound is patched', { ...fine, concealed: 0.04 }, [fine], 30, 'fair', 'their_uplink'],
    ['a slide show', { ...fine, framesPerSecond: 3 }, [], 30, 'poor', 'their_uplink'],
    ['no picture is expected', { ...fine, framesPerSecond: undefined }, [], 30, 'good', 'none'],
    ['nothing comes at all', { ...fine, silent: true }, [fine], 30, 'poor', 'their_uplink'],
    ['nothing comes from anybody', { ...fine, silent: true }, [{ ...fine, silent: true }], 30, 'poor', 'my_downlink'],
    ['far away', fine, [], 400, 'fair', 'my_downlink'],
    ['farther away', fine, [], 900, 'poor', 'my_downlink'],
    ['uneven', { ...fine, jitterMs: 60 }, [], 30, 'fair', 'my_downlink'],
  ];
  for (const [name, tile, others, rttMs, mark, cause] of cases) {
    const quality = judgeTile(tile, others, { rttMs });
    assert.deepEqual([quality.mark, quality.cause], [mark, cause], name);
    assert.ok(quality.text.length > 0, name);
  }
});

test('marks of what I send', () => {
  assert.equal(judgeUplink({ loss: 0, limited: 0 }, near).mark, 'good');
  assert.equal(judgeUplink({ loss: 0.04, limited: 0 }, near).mark, 'fair');
  assert.equal(judgeUplink({ loss: 0.2, limited: 0 }, near).mark, 'poor');
  assert.equal(judgeUplink({ loss: 0, limited: 1 }, near).mark, 'fair');
  assert.equal(judgeUplink({ loss: 0, limited: 1 }, near).cause, 'my_uplink');
});

test('the call is as good as its worst part, and names first what this person can mend', () => {
  const fair = (cause: Quality['cause']): Quality => ({ mark: 'fair', cause, text: cause });
  assert.equal(judgeCall(fair('my_uplink'), [fair('my_downlink')]).cause, 'my_uplink');
  assert.equal(judgeCall(fair('my_uplink'), [{ mark: 'poor', cause: 'their_uplink', text: '' }]).cause, 'their_uplink');
  assert.equal(judgeCall({ mark: 'unknown', cause: 'none', text: '' }, []).mark, 'unknown');
});

interface Counters {
  packets: number;
  lost?: number;
  frames?: number;
  energy?: number;
  concealed?: number;
}

function report({ packets, lost = 0, frames = 0, energy = 0, concealed = 0 }: Counters): Map<string, unknown> {
  return new Map<string, unknown>([
    ['A', { type: 'inbound-rtp', id: 'A', mid: '2', kind: 'audio', bytesReceived: packets * 100, packetsReceived: packets, packetsLost: lost, jitter: 0.004, totalAudioEnergy: energy, totalSamplesDuration: packets * 0.02, totalSamplesReceived: packets * 960, concealedSamples: concealed, silentConcealedSamples: 0 }],
    ['V', { type: 'inbound-rtp', id: 'V', mid: '3', kind: 'video', bytesReceived: packets * 1000, packetsReceived: packets, packetsLost: 0, jitter: 0.002, framesDecoded: frames, framesPerSecond: 30, frameWidth: 640, frameHeight: 360, freezeCount: 0, totalFreezesDuration: 0 }],
    ['O', { type: 'outbound-rtp', id: 'O', rid: 'q', bytesSent: packets * 500, packetsSent: packets, frameWidth: 320, frameHeight: 180, framesPerSecond: 15, active: true, qualityLimitationDurations: { none: packets / 50, bandwidth: 0, cpu: 0 } }],
    ['R', { type: 'remote-inbound-rtp', id: 'R', fractionLost: 0.01 }],
    ['T', { type: 'transport', id: 'T', selectedCandidatePairId: 'P' }],
    ['P', { type: 'candidate-pair', id: 'P', state: 'succeeded', nominated: true, currentRoundTripTime: 0.025, localCandidateId: 'L' }],
    ['L', { type: 'local-candidate', id: 'L', candidateType: 'relay', protocol: 'udp', relayProtocol: 'udp' }],
  ]);
}

const bob: StatsParticipant = { key: 'bob/phone', user: 'bob', device: 'phone', slot: 0, midAudio: '2', midVideo: '3', media: { audio: true, video: true }, watched: true };
const source: StatsSource = { peer: undefined, participants: [bob], sending: { audio: true, video: true } };

function run(counters: Counters[]): CallStats {
  const stats = new CallStats(() => source);
  counters.forEach((one, second) => (stats.latest = stats.add(readSample(report(one), second * 1000), source)));
  return stats;
}

test('readings become rates and totals of the participant', () => {
  const { latest } = run([1, 2, 3, 4, 5].map((n) => ({ packets: n * 50, frames: n * 30, energy: n * 0.05 })));
  const tile = latest!.tiles[0]!;
  assert.equal(tile.bitrate, (50 * 1100) * 8);
  assert.equal(tile.framesDecoded, 120, 'frames before the participant came do not count');
  assert.ok(Math.abs(tile.audioLevel - Math.sqrt(0.05)) < 1e-9);
  assert.ok(tile.audioEnergy > 0.19);
  assert.deepEqual([tile.frameWidth, tile.frameHeight, tile.quality.mark], [640, 360, 'good']);
  assert.equal(latest!.transport.rttMs, 25);
  assert.equal(latest!.transport.relayed, true);
  assert.equal(latest!.uplink.layers[0]?.rid, 'q');
  assert.equal(latest!.quality.mark, 'good');
});

test('nobody is judged before there is something to judge by', () => {
  assert.equal(run([{ packets: 0 }, { packets: 0 }]).latest!.tiles[0]!.quality.mark, 'unknown');
});

test('a stream that stopped is poor, and recovers', () => {
  const moving = [1, 2, 3, 4].map((n) => ({ packets: n * 50, frames: n * 30 }));
  const stopped = Array.from({ length: 6 }, () => ({ packets: 200, frames: 120 }));
  assert.equal(run([...moving, ...stopped]).latest!.quality.mark, 'poor');
  const again = [5, 6, 7, 8, 9].map((n) => ({ packets: n * 50, frames: n * 30 }));
  assert.equal(run([...moving, ...stopped, ...again]).latest!.quality.mark, 'good');
});

test('counters that were reset do not become negative rates', () => {
  const { latest } = run([{ packets: 500, frames: 300 }, { packets: 550, frames: 330 }, { packets: 10, frames: 5 }]);
  assert.ok(latest!.tiles[0]!.bitrate >= 0);
  assert.ok(latest!.tiles[0]!.framesDecoded >= 0);
});

test('someone else in the same slot starts from nothing', () => {
  const stats = new CallStats(() => source);
  for (let n = 1; n <= 3; n++) stats.add(readSample(report({ packets: n * 50, frames: n * 30 }), n * 1000), source);
  const eve = { ...bob, key: 'eve/tab', user: 'eve', device: 'tab' };
  const snapshot = stats.add(readSample(report({ packets: 200, frames: 120 }), 4000), { ...source, participants: [eve] });
  assert.equal(snapshot.tiles[0]!.framesDecoded, 0);
  assert.equal(snapshot.tiles[0]!.quality.mark, 'unknown');
});
