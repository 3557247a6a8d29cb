// Two clients that write to one upload: one wins, the other is told; and who stalls is not waited for.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Member, OCTETS, Upload, noise, problemOf, sha256 } from './lib/member.mjs';
import { RawRequest } from './lib/rawhttp.mjs';
import { Server, until, within } from './lib/server.mjs';

const ROUNDS = 7;
const RACES = 20;
const TAKEOVER_MS = 100;
const BYTES = 200_000;
const HALF = 100_000;

test('two clients and one upload', { timeout: 90_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const alice = await Member.of(server, 'alice');
  const conv = await server.conversation(['alice', 'bob']);
  const { grant } = await alice.grant(conv, 'file');

  /** A PATCH on a socket of its own, of which only `body` is sent. */
  const patch = async (upload, offset, length, body) => {
    const request = await RawRequest.open(server.url + upload.path, 'PATCH', {
      authorization: `Bearer ${grant}`, 'tus-resumable': '1.0.0', 'upload-offset': offset, 'content-type': OCTETS, 'content-length': length,
    });
    await request.send(body);
    return request;
  };
  const content = async (upload) => {
    const { state, attachment } = await upload.settled();
    assert.equal(state, 'ready');
    return sha256(await alice.bytesOf(attachment.id, 'file'));
  };

  await t.test(`a PATCH that stalls is taken over within ${TAKEOVER_MS} ms`, async (t) => {
    const took = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const bytes = noise(BYTES, 50 + round);
      const upload = await Upload.create(server, grant, { bytes: BYTES });
      const stalled = await patch(upload, 0, BYTES, bytes.subarray(0, HALF));
      await until('what was sent has come', async () => (await upload.offset()) === HALF, { every: 5 });
      const begun = performance.now();
      const next = await patch(upload, HALF, BYTES - HALF, bytes.subarray(HALF));
      const { status, at } = await within(5_000, 'an answer', next.answer());
      assert.equal(status, 204);
      took.push(at - begun);
      const old = await within(5_000, 'the stalled one is told', stalled.answer());
      assert.equal(old.status, 423);
      assert.match(old.text, /"code":"taken_over"/);
      assert.equal(await content(upload), sha256(bytes));
      stalled.close();
      next.close();
    }
    took.sort((a, b) => a - b);
    t.diagnostic(`from connecting to the 204, ms: ${took.map((ms) => ms.toFixed(1)).join(' ')}`);
    const median = took[Math.floor(ROUNDS / 2)];
    assert.ok(median < TAKEOVER_MS, `${median} ms`);
  });

  await t.test('who does not know the offset is told it, and disturbs nothing', async () => {
    const bytes = noise(BYTES, 60);
    const upload = await Upload.create(server, grant, { bytes: BYTES });
    const first = await patch(upload, 0, BYTES, bytes.subarray(0, HALF));
    await until('what was sent has come', async () => (await upload.offset()) === HALF, { every: 5 });
    for (const offset of [0, HALF - 1, HALF + 1]) {
      const response = await upload.patch(offset, bytes.subarray(offset));
      assert.equal(response.headers.get('upload-offset'), String(HALF));
      assert.deepEqual(await problemOf(response), { status: 409, code: 'wrong_offset' });
    }
    await first.send(bytes.subarray(HALF));
    assert.equal((await within(5_000, 'an answer', first.answer())).status, 204);
    assert.equal(await content(upload), sha256(bytes));
    first.close();
  });

  await t.test(`of two that begin at the same moment one wins, ${RACES} times`, async (t) => {
    const seen = {};
    for (let race = 0; race < RACES; race += 1) {
      const bytes = [noise(BYTES, 100 + race), noise(BYTES, 200 + race)];
      const upload = await Upload.create(server, grant, { bytes: BYTES });
      const answers = await Promise.all(bytes.map(async (one) => {
        const response = await upload.patch(0, one);
        const code = response.ok ? undefined : (await problemOf(response)).code;
        return { status: response.status, code };
      }));
      const winners = answers.filter(({ status }) => status === 204);
      const [loser] = answers.filter(({ status }) => status !== 204);
      assert.equal(winners.length, 1, JSON.stringify(answers));
      assert.ok((loser.status === 409 && loser.code === 'wrong_offset') || (loser.status === 423 && loser.code === 'taken_over'), JSON.stringify(loser));
      assert.equal(await content(upload), sha256(bytes[answers.findIndex(({ status }) => status === 204)]));
      seen[loser.status] = (seen[loser.status] ?? 0) + 1;
    }
    t.diagnostic(`losers: ${JSON.stringify(seen)}`);
  });
});
