// An upload at the page outlives what happens to it: a network that breaks, a page that is loaded again, a server that says no.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hugeGif } from './lib/bombs.mjs';
import { CuttableLink } from './lib/cuttable.mjs';
import { Darkroom, UPRIGHT } from './lib/darkroom.mjs';
import { MIB, Member, noise, sha256 } from './lib/member.mjs';
import { Person, openBrowser } from './lib/people.mjs';
import { Server, until, within } from './lib/server.mjs';
import { choose, newestAttachment, shown } from './lib/sharing.mjs';

const SHOTS = process.env.TRUNKLINE_SHOTS;
const TAIL = 20 * MIB;
/** So much has gone when the network breaks. */
const HALF = 10 * MIB;
/** What was on its way at that moment may be sent again, and everything has its heads. */
const AGAIN_MAX = 8 * MIB;

test('an upload that something happens to', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const darkroom = await Darkroom.open(browser);
  const conv = await server.conversation(['alice', 'bob']);
  const link = await CuttableLink.open(server.http);
  t.after(() => link.close());
  const alice = await Person.open(browser, server, 'alice', { url: link.url });
  const bob = await Person.open(browser, server, 'bob');
  const carrier = await Member.of(server, 'bob');
  await alice.openConversation('bob');
  await bob.openConversation('alice');
  const shot = async (name) => SHOTS && alice.page.screenshot({ path: `${SHOTS}/${name}.png` });

  /** A photo that is slow to send: phones leave whole films behind the picture. */
  const heavyPhoto = async (seed) => Buffer.concat([await darkroom.make({ width: 1_500, height: 1_000, seed }), noise(TAIL, seed)]);
  const log = (person) => person.page.getByRole('log', { name: 'Messages' });

  await t.test('the network breaks half-way: the upload goes on from its offset', async (t) => {
    const buffer = await heavyPhoto(1);
    const held = link.holdAt(HALF);
    await choose(alice, [{ name: 'heavy.jpg', mimeType: 'image/jpeg', buffer }]);
    await within(20_000, 'half of it has gone', held);
    const ring = log(alice).getByRole('progressbar', { name: 'Sending heavy.jpg' });
    await until('the ring shows it', async () => Number(await ring.getAttribute('aria-valuenow')) >= 25);
    await shot('cut-before');
    link.cut();
    await log(alice).getByText('Waiting for the network…').waitFor();
    await shot('cut');
    const before = link.counts.up;
    const offsets = patchOffsets(alice);
    link.release();
    link.mend();
    await until('bob has it', async () => (await shown(bob, 'photo', 'shown').count()) === 1, { ms: 30_000 });
    const again = link.counts.up - before;
    t.diagnostic(`${(before / MIB).toFixed(1)} MiB before, ${(again / MIB).toFixed(1)} MiB after, of ${(buffer.length / MIB).toFixed(1)} MiB`);
    assert.ok(again < buffer.length - HALF + AGAIN_MAX, 'it began again');
    assert.ok(offsets.length > 0 && offsets.every((at) => at > HALF - AGAIN_MAX), `from ${offsets}`);
    const { id, variants } = await newestAttachment(bob, conv);
    for (const variant of variants) assert.deepEqual((await darkroom.look(await carrier.bytesOf(id, variant))).corners, UPRIGHT);
  });

  await t.test('the page is loaded again half-way: the upload goes on, and is sent', async (t) => {
    const buffer = noise(TAIL, 2);
    const held = link.holdAt(HALF);
    await choose(alice, [{ name: 'тяжёлый.bin', mimeType: 'application/octet-stream', buffer }]);
    await within(20_000, 'half of it has gone', held);
    const offsets = patchOffsets(alice);
    await alice.page.reload();
    link.release();
    await until('alice is logged in again', () => alice.page.evaluate(() => window.trunkline?.session?.state === 'online'));
    await alice.openConversation('bob');
    await until('bob has it', async () => (await shown(bob, 'file', 'shown').count()) === 1, { ms: 30_000 });
    t.diagnostic(`gone on with at ${offsets.map((at) => (at / MIB).toFixed(1))} MiB, of ${(buffer.length / MIB).toFixed(1)} MiB`);
    assert.ok(offsets.length > 0 && offsets.every((at) => at > HALF - AGAIN_MAX), 'it began again');
    const { id, name } = await newestAttachment(bob, conv);
    assert.equal(name, 'тяжёлый.bin');
    assert.equal(sha256(await carrier.bytesOf(id, 'file')), sha256(buffer));
    await shown(alice, 'file', 'shown').waitFor();
  });

  await t.test('paused, and resumed', async () => {
    const buffer = noise(TAIL, 3);
    const held = link.holdAt(HALF);
    await choose(alice, [{ name: 'paused.bin', mimeType: 'application/octet-stream', buffer }]);
    await within(20_000, 'half of it has gone', held);
    await alice.press('Pause: paused.bin');
    link.release();
    await log(alice).getByText(/^Paused/).waitFor();
    await shot('paused');
    await alice.press('Resume: paused.bin');
    await until('bob has it', async () => (await shown(bob, 'file', 'shown').count()) === 2, { ms: 30_000 });
    const { id } = await newestAttachment(bob, conv);
    assert.equal(sha256(await carrier.bytesOf(id, 'file')), sha256(buffer));
  });

  await t.test("what the server refuses is told in words, and 'Try again' tries again", async () => {
    const grants = '**/v1/conversations/*/uploads';
    await alice.page.route(grants, (route) => route.fulfill({
      status: 403, contentType: 'application/problem+json',
      body: JSON.stringify({ type: 'about:blank', title: 'Forbidden', status: 403, code: 'quota_exceeded', detail: 'no room' }),
    }));
    await choose(alice, [{ name: 'small.bin', mimeType: 'application/octet-stream', buffer: noise(1_000, 4) }]);
    await log(alice).getByRole('alert').getByText('There is no room left for your files here.').waitFor();
    await shot('refused');
    await alice.page.unroute(grants);
    await alice.press('Try again');
    await until('bob has it', async () => (await shown(bob, 'file', 'shown').count()) === 3);
    await log(alice).getByRole('alert').waitFor({ state: 'detached' });
  });

  await t.test('a picture that cannot be opened is told in words, and can be deleted or sent as a file', async () => {
    const bomb = hugeGif();
    for (const way of ['Delete', 'Send as a file']) {
      await choose(alice, [{ name: 'bomb.gif', mimeType: 'image/gif', buffer: bomb }]);
      await log(alice).getByRole('alert').getByText('This picture has too many pixels.').waitFor();
      await alice.sees('Try again');
      await shot('bomb');
      await alice.press(way);
      await log(alice).getByRole('alert').waitFor({ state: 'detached' });
      assert.equal(await shown(alice, 'photo', 'failed').count(), 0);
    }
    await until('bob has it as a file', async () => (await shown(bob, 'file', 'shown').count()) === 4);
    const { id } = await newestAttachment(bob, conv);
    assert.deepEqual(await carrier.bytesOf(id, 'file'), bomb);
  });

  // A connection that breaks, a refusal and an offset that was overtaken are told to the console by the browser itself.
  const unexpected = alice.problems.filter((text) => !/net::ERR_|WebSocket connection|status of (403|409|423)/.test(text));
  assert.deepEqual([...unexpected, ...bob.problems], []);
});

/** The offsets that a person's page sends bytes from, from now on or its next loading on; -1 where it begins an upload. */
function patchOffsets(person) {
  const offsets = [];
  person.page.on('request', (request) => {
    if (request.isNavigationRequest()) offsets.length = 0;
    if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']));
    if (request.method() === 'POST' && new URL(request.url()).pathname === '/v1/uploads') offsets.push(-1);
  });
  return offsets;
}
