// A file of 512 MiB goes in and comes out, and the server does not grow with it: on disk, and through to S3.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { MIB, Member, Upload, noise, sha256 } from './lib/member.mjs';
import { Server } from './lib/server.mjs';
import { Weed } from './lib/weed.mjs';

const BYTES = 512 * MIB;
const PIECE = MIB;
const GROWTH_MAX = 64 * MIB;

/** The file as a stream, and the hash of what was taken from it. */
function generated() {
  const piece = noise(PIECE, 9);
  const hash = createHash('sha256');
  let at = 0;
  const stream = new ReadableStream({
    pull(controller) {
      if (at === BYTES) return controller.close();
      const next = Buffer.from(piece);
      next.writeUInt32LE(at / PIECE, 0);
      hash.update(next);
      at += PIECE;
      return controller.enqueue(next);
    },
  }, { highWaterMark: 2 });
  return { stream, digest: () => hash.digest('hex') };
}

async function passesThrough(t, server) {
  const alice = await Member.of(server, 'alice');
  const conv = await server.conversation(['alice', 'bob']);
  // What a first upload and a first download need for themselves is not growth.
  const warm = await alice.attach(conv, 'file', noise(8 * MIB, 8));
  assert.equal(sha256(await alice.bytesOf(warm.id, 'file')), sha256(noise(8 * MIB, 8)));

  const before = await server.residentBytes();
  await server.forgetPeak();
  const took = {};
  const growth = async (step, begun) => {
    took[step] = `${((performance.now() - begun) / 1_000).toFixed(1)} s, +${(((await server.peakBytes()) - before) / MIB).toFixed(1)} MiB`;
  };

  let begun = performance.now();
  const { grant } = await alice.grant(conv, 'file', { bytes: BYTES });
  const upload = await Upload.create(server, grant, { bytes: BYTES });
  const { stream, digest } = generated();
  const response = await upload.patch(0, stream);
  assert.equal(response.status, 204, await response.text());
  await growth('received', begun);

  begun = performance.now();
  const { state, attachment, problem } = await upload.settled();
  assert.equal(state, 'ready', JSON.stringify(problem));
  assert.equal(attachment.bytes, BYTES);
  await growth('stored', begun);

  begun = performance.now();
  const hash = createHash('sha256');
  for await (const piece of (await alice.download(attachment.id, 'file')).body) hash.update(piece);
  assert.equal(hash.digest('hex'), digest());
  await growth('downloaded', begun);

  t.diagnostic(`resident before: ${(before / MIB).toFixed(1)} MiB; ${Object.entries(took).map((one) => one.join(': ')).join('; ')}`);
  const peak = await server.peakBytes();
  assert.ok(peak - before < GROWTH_MAX, `it grew by ${((peak - before) / MIB).toFixed(1)} MiB`);
}

test('512 MiB on disk', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  await passesThrough(t, server);
});

test('512 MiB on S3', { timeout: 180_000 }, async (t) => {
  const weed = await Weed.start();
  t.after(() => weed.stop());
  const server = await Server.start({ MEDIA__STORE: 's3', ...weed.settings });
  t.after(() => server.stop());
  await passesThrough(t, server);
  assert.equal(await weed.pendingMultiparts(), 0);
});
