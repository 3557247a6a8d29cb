// Files made to exhaust a decoder, through the whole server: each is refused in words, its worker is gone, and nobody else
// notices.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hugeGif, hugeJpeg, hugePng, manyScans, textPng } from './lib/bombs.mjs';
import { Darkroom } from './lib/darkroom.mjs';
import { MIB, Member, assertProblem } from './lib/member.mjs';
import { tracesIn } from './lib/metadata.mjs';
import { openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';

const GROWTH_MAX = 16 * MIB;
/** Of each bomb, all at once. */
const ROUNDS = 8;
const BOMBS = [
  { name: 'a JPEG header of 65,500 × 65,500', bytes: hugeJpeg(), code: 'too_many_pixels' },
  { name: 'a PNG of 20,000 × 20,000', bytes: hugePng(), code: 'too_many_pixels' },
  { name: 'a JPEG of 20,000 scans', bytes: manyScans(), code: 'too_many_scans' },
  { name: 'a GIF canvas of 65,535 × 65,535', bytes: hugeGif(), code: 'too_many_pixels' },
];

test('bombs', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const darkroom = await Darkroom.open(browser);
  const conv = await server.conversation(['alice', 'bob', 'mallory'], 'Trio');
  const alice = await Member.of(server, 'alice');
  const mallory = await Member.of(server, 'mallory');
  const photo = (seed) => darkroom.make({ width: 640, height: 480, seed });
  const first = await alice.attach(conv, 'photo', await photo(1));
  const before = await server.residentBytes();
  await server.forgetPeak();

  for (const { name, bytes, code } of BOMBS) {
    await t.test(`${name}: ${code}`, async () => {
      const { state, attachment, problem } = await mallory.upload(conv, 'photo', bytes, { name: 'nice.jpg' });
      assert.equal(state, 'failed');
      assert.equal(attachment, undefined);
      assertProblem(problem);
      assert.deepEqual([problem.status, problem.code], [422, code]);
      assert.ok(problem.detail.length > 10, problem.detail);
    });
  }

  await t.test('a PNG whose text and profile inflate to a gigabyte each: they are never inflated', async () => {
    const { state, attachment } = await mallory.upload(conv, 'photo', textPng(), { name: 'nice.png' });
    assert.equal(state, 'ready');
    for (const variant of attachment.variants) {
      const bytes = await mallory.bytesOf(attachment.id, variant);
      assert.deepEqual(tracesIn(bytes), []);
      assert.ok(bytes.length < 16 * 1024, `${variant} has ${bytes.length} bytes`);
    }
  });

  await t.test(`${BOMBS.length * ROUNDS} at once, and everybody else is served meanwhile`, async (t) => {
    let over = false;
    const bombed = Promise.all(Array.from({ length: ROUNDS }, (_, round) => BOMBS.map(async ({ bytes, code }) => {
      const { problem } = await mallory.upload(conv, 'photo', Buffer.concat([bytes, Buffer.from(`${round}`)]));
      assert.equal(problem?.code, code);
    })).flat()).finally(() => { over = true; });
    const taken = photo(100).then((bytes) => alice.attach(conv, 'photo', bytes));
    const link = server.url + (await alice.links(first.id))['320'];
    let served = 0;
    while (!over) {
      const response = await fetch(link);
      assert.equal(response.status, 200);
      await response.arrayBuffer();
      if (!over) served += 1;
    }
    await bombed;
    await taken;
    t.diagnostic(`${served} downloads meanwhile`);
    assert.ok(served > 0);
    // What mallory sent is refused, not mallory.
    await mallory.attach(conv, 'photo', await photo(99));
  });

  await t.test('no worker took a second of CPU time, none died, all are gone, and the server has not grown', async (t) => {
    await until('no worker runs', async () => (await server.metric('media_workers')) === 0);
    assert.equal(await server.metric('media_refused_total'), BOMBS.length * (1 + ROUNDS));
    assert.equal(await server.metric('media_worker_deaths_total'), 0, 'who refuses in words has not died');
    const text = await (await fetch(`http://${server.ops}/metrics`)).text();
    const within = Number(/^media_worker_cpu_seconds_bucket\{le="1"\} (\d+)$/m.exec(text)?.[1]);
    assert.ok(within > BOMBS.length * (1 + ROUNDS));
    assert.equal(within, await server.metric('media_worker_cpu_seconds_count'));
    const grown = (await server.peakBytes()) - before;
    t.diagnostic(`the server grew by ${(grown / MIB).toFixed(1)} MiB at most`);
    assert.ok(grown < GROWTH_MAX, `it grew by ${(grown / MIB).toFixed(1)} MiB`);
  });
});
