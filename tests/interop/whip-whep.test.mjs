// A WHIP publisher and a WHEP viewer that are not ours: aiortc.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Server, until } from './lib/server.mjs';

const run = promisify(execFile);
const PYTHON = process.env.TRUNKLINE_PYTHON ?? fileURLToPath(new URL('../../target/venv/bin/python', import.meta.url));
const script = (name) => fileURLToPath(new URL(`./python/${name}.py`, import.meta.url));
const FRAMES = 60;

test('WHIP and WHEP with aiortc', { timeout: 90_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const publisher = await server.token('camera', '--room', 'lobby', '--publish');
  const viewer = await server.token('viewer', '--room', 'lobby', '--subscribe');

  await t.test('carry video and sound through the SFU', async (t) => {
    const stop = new AbortController();
    const publishing = run(PYTHON, [script('whip_publish'), `${server.url}/v1/whip/lobby`, publisher], { signal: stop.signal })
      .catch((error) => { if (error.name !== 'AbortError') throw error; });
    t.after(() => stop.abort());
    await until('the SFU receives the publisher', () => Promise.race([
      publishing.then(() => { throw new Error('the publisher ended'); }),
      server.metric('sfu_received_packets_total').then((packets) => packets > 50),
    ]), { ms: 20_000 });
    const { stdout } = await run(PYTHON, [script('whep_view'), `${server.url}/v1/whep/lobby`, viewer, String(FRAMES)], { timeout: 40_000 });
    const seen = JSON.parse(stdout);
    t.diagnostic(stdout.trim());
    assert.ok(seen.video_frames >= FRAMES, `only ${seen.video_frames} frames`);
    assert.ok(seen.audio_frames > 0);
    assert.deepEqual([seen.width, seen.height], [320, 240]);
    assert.ok(seen.distinct_pictures > FRAMES / 4, `the picture stands still: ${seen.distinct_pictures}`);
    assert.equal(seen.deleted, 200);
  });

  await t.test('ask for the right token', async () => {
    const post = (kind, token) => fetch(`${server.url}/v1/${kind}/lobby`, {
      method: 'POST', body: 'v=0\r\n', headers: { 'content-type': 'application/sdp', ...(token && { authorization: `Bearer ${token}` }) },
    });
    assert.equal((await post('whip')).status, 401);
    assert.equal((await post('whip', viewer)).status, 403);
    assert.equal((await post('whep', publisher)).status, 403);
    const elsewhere = await server.token('camera', '--room', 'attic', '--publish');
    assert.equal((await post('whip', elsewhere)).status, 403);
    const wrong = await post('whip', publisher);
    assert.equal(wrong.status, 400);
    assert.match(wrong.headers.get('content-type'), /^application\/problem\+json/);
    assert.equal((await wrong.json()).code, 'bad_sdp');
  });
});
