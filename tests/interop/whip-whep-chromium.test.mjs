// WHIP and WHEP between two Chromiums without our SDK: a codec that the server forwards and cannot decode, and simulcast.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Station, openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';

const FRAMES = 30;

test('WHIP and WHEP between two Chromiums', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());

  /** A publisher and a viewer in a room of their own. */
  const pair = async (t, room, options) => {
    const stations = [await Station.open(browser, server), await Station.open(browser, server)];
    t.after(() => Promise.all(stations.map((station) => station.close())));
    const [publisher, viewer] = stations;
    await publisher.publish(`${server.url}/v1/whip/${room}`, await server.token('camera', '--room', room, '--publish'), options);
    await viewer.view(`${server.url}/v1/whep/${room}`, await server.token('viewer', '--room', room, '--subscribe'));
    return { publisher, viewer };
  };
  const picture = async (viewer) => (await viewer.pictures('inbound'))[0];
  const decodes = (viewer, what, condition, options) => until(`the viewer decodes ${what}`, async () => {
    const now = await picture(viewer);
    return now?.frames > 0 && condition(now) && now;
  }, options);

  await t.test('H.264 passes through', async (t) => {
    const { publisher, viewer } = await pair(t, 'h264', {
      capture: { width: 320, height: 240, frameRate: 15 }, mimeType: 'video/H264',
    });
    const first = await decodes(viewer, 'H.264', (now) => now.frames >= FRAMES, { ms: 20_000 });
    const later = await decodes(viewer, 'more', (now) => now.frames >= first.frames + FRAMES, { ms: 10_000 });
    t.diagnostic(`${later.frames} frames of ${later.mimeType} ${later.fmtp}, ${later.width} wide`);
    assert.equal(later.mimeType, 'video/H264');
    assert.equal(later.width, 320);
    const sent = await publisher.pictures('outbound');
    assert.deepEqual(sent.map((stream) => stream.mimeType), ['video/H264']);
  });

  await t.test('simulcast: the top layer, and the next one within two seconds of its end', async (t) => {
    const encodings = [['q', 4], ['h', 2], ['f', 1]].map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy }));
    const { publisher, viewer } = await pair(t, 'simulcast', { capture: { width: 960, height: 540, frameRate: 15 }, encodings });
    await decodes(viewer, 'the top layer', (now) => now.width === 960, { ms: 30_000 });
    const sent = await publisher.pictures('outbound');
    assert.deepEqual(sent.map((stream) => stream.rid).sort(), ['f', 'h', 'q']);

    await publisher.setActive('f', false);
    const stopped = performance.now();
    const smaller = await decodes(viewer, 'a smaller layer', (now) => now.width < 960, { ms: 5_000, every: 40 });
    const tookMs = Math.round(performance.now() - stopped);
    t.diagnostic(`${smaller.width} wide after ${tookMs} ms`);
    assert.ok(tookMs < 2_000, `the picture stood for ${tookMs} ms`);
    await decodes(viewer, 'on', (now) => now.width === smaller.width && now.frames >= smaller.frames + FRAMES, { ms: 10_000 });
  });
});
