import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodingsFor, parseCapture, placeSlot, planSlots, preferredCodecs, viewsFor } from '../src/plan.js';

test('capture sizes are parsed or refused', () => {
  assert.deepEqual(parseCapture('640x360@15'), { width: 640, height: 360, frameRate: 15 });
  assert.deepEqual(parseCapture('1280x720'), { width: 1280, height: 720, frameRate: 30 });
  for (const bad of ['', '640', '640x', 'x360', '640x360@', '0x0', '99999x9']) assert.equal(parseCapture(bad), undefined, bad);
});

test('layers are named lowest first, and small captures have fewer', () => {
  const rids = (width: number, height: number) => encodingsFor({ width, height, frameRate: 30 }).map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy]);
  assert.deepEqual(rids(1280, 720), [['q', 4], ['h', 2], ['f', 1]]);
  assert.deepEqual(rids(640, 360), [['q', 2], ['h', 1]]);
  assert.deepEqual(rids(320, 180), [[undefined, undefined]]);
});

test('bitrates fall with the layer', () => {
  const rates = encodingsFor({ width: 1280, height: 720, frameRate: 30 }).map((one) => one.maxBitrate!);
  assert.equal(rates[2], 1_700_000);
  assert.ok(rates[0]! < rates[1]! && rates[1]! < rates[2]!);
  assert.ok(rates[0]! >= 100_000);
});

test('VP8 is offered first, and only codecs that are forwarded', () => {
  const all = [
    { mimeType: 'video/AV1' }, { mimeType: 'video/rtx' },
    { mimeType: 'video/H264', sdpFmtpLine: 'level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f' },
    { mimeType: 'video/H264', sdpFmtpLine: 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f' },
    { mimeType: 'video/VP8' },
  ];
  assert.deepEqual(preferredCodecs('video', all), [all[4], all[3], all[1]]);
  assert.deepEqual(preferredCodecs('audio', [{ mimeType: 'audio/PCMU' }, { mimeType: 'audio/opus' }]), [{ mimeType: 'audio/opus' }]);
});

test('slots are pairs, then sound alone', () => {
  assert.deepEqual(planSlots(2, 1), [{ slot: 0, hasVideo: true }, { slot: 1, hasVideo: true }, { slot: 2, hasVideo: false }]);
});

const mids = [{ slot: 0, audio: '2', video: '3' }, { slot: 1, audio: '4', video: '5' }, { slot: 2, audio: '6', video: null }];

test('a slot is found by its mids, else by its number', () => {
  const who = { user: 'bob', device: 'phone' };
  assert.equal(placeSlot({ slot: 9, mid_audio: '4', mid_video: '5', ...who }, mids)?.slot, 1);
  assert.equal(placeSlot({ slot: 2, mid_audio: null, mid_video: null, ...who }, mids)?.slot, 2);
  assert.equal(placeSlot({ slot: 7, ...who }, mids), undefined);
});

test('sizes follow the participant from slot to slot', () => {
  const sizes = new Map([['bob/phone', { width: 640.4, height: 360 }], ['eve/tab', { width: 0, height: 0 }]]);
  const occupants = [
    { slot: 1, mid_video: '5', user: 'bob', device: 'phone' }, { slot: 0, mid_video: '3', user: 'eve', device: 'tab' },
    { slot: 2, mid_video: null, user: null, device: null },
  ];
  assert.deepEqual(viewsFor(occupants, sizes), [{ slot: 1, width: 640, height: 360 }, { slot: 0, width: 0, height: 0 }]);
});
