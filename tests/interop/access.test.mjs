// Who may fetch what: members by links that hold for one variant and a time, everybody else by nothing.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { Member, Upload, noise, problemOf, sha256 } from './lib/member.mjs';
import { Darkroom } from './lib/darkroom.mjs';
import { openBrowser } from './lib/people.mjs';
import { Server, until, within } from './lib/server.mjs';

const MEDIA_SECRET = 'a-secret-that-the-test-and-the-server-share';
const SERVER_KEY = randomBytes(24).toString('hex');

test('who may fetch what', { timeout: 90_000 }, async (t) => {
  const server = await Server.start({ MEDIA__SECRET: MEDIA_SECRET, AUTH__SERVER_KEY: SERVER_KEY });
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const [alice, bob, carol, mallory] = await Promise.all(['alice', 'bob', 'carol', 'mallory'].map((user) => Member.of(server, user)));
  const conv = await server.conversation(['alice', 'bob'], 'Trio, later');
  const darkroom = await Darkroom.open(browser);
  const photo = await darkroom.make({ width: 1_600, height: 1_200 });
  const attachment = await alice.attach(conv, 'photo', photo, { name: 'фото.jpg' });
  const refused = async (response) => problemOf(response);

  await t.test('before it is sent, its uploader alone', async () => {
    assert.ok((await alice.links(attachment.id))['320']);
    assert.deepEqual(await refused(await bob.ask('GET', `/v1/attachments/${attachment.id}/links`)), { status: 403, code: 'not_member' });
  });

  await alice.send(conv, [attachment.id]);
  const links = await bob.links(attachment.id);

  await t.test('a member gets links, and they open without a token', async () => {
    assert.deepEqual(Object.keys(links).sort(), [...attachment.variants].sort());
    const response = await fetch(server.url + links['320']);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('cache-control'), /^private, max-age=\d+, immutable$/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    assert.match(response.headers.get('content-security-policy'), /sandbox/);
    assert.match(response.headers.get('etag'), /^"[^"]+"$/);
  });

  await t.test('a size on the list is made when it is first asked for, once for all who ask', async () => {
    const link = (await bob.links(attachment.id, '640'))['640'];
    // Somebody hangs up at once; that must cost nobody anything.
    const gone = new AbortController();
    const hurried = fetch(server.url + link, { signal: gone.signal }).catch(() => undefined);
    const asked = Array.from({ length: 6 }, () => fetch(server.url + link).then((response) => response.bytes()));
    gone.abort();
    const answers = await within(20_000, 'the size', Promise.all(asked));
    await hurried;
    const { width, height } = await darkroom.look(Buffer.from(answers[0]));
    assert.deepEqual([width, height], [640, 480]);
    for (const answer of answers) assert.equal(sha256(answer), sha256(answers[0]));
    await until('nothing is left in the spool', async () => (await readdir(join(server.dir, 'media/spool'))).length === 0);
    const unlisted = await bob.links(attachment.id, '700');
    assert.equal(unlisted['700'], undefined);
  });

  await t.test('a user outside the conversation gets none', async () => {
    assert.deepEqual(await refused(await mallory.ask('GET', `/v1/attachments/${attachment.id}/links`)), { status: 403, code: 'not_member' });
    const wish = { kind: 'photo', bytes: 10 };
    assert.deepEqual(await refused(await mallory.ask('POST', `/v1/conversations/${conv}/uploads`, wish)), { status: 404, code: 'not_found' });
  });

  await t.test('nor does anybody without a token, or for what does not exist', async () => {
    const nobody = new Member(server, 'nobody', {});
    assert.equal((await refused(await nobody.ask('GET', `/v1/attachments/${attachment.id}/links`))).status, 401);
    assert.deepEqual(await refused(await bob.ask('GET', '/v1/attachments/00000000-0000-4000-8000-000000000000/links')), { status: 404, code: 'not_found' });
  });

  await t.test('who joined after the message gets none, and of a later message does', async () => {
    await alice.tell('POST', `/v1/conversations/${conv}/members`, { user: 'carol' });
    assert.deepEqual(await refused(await carol.ask('GET', `/v1/attachments/${attachment.id}/links`)), { status: 403, code: 'not_member' });
    await alice.send(conv, [attachment.id], 'Again, for Carol');
    assert.ok((await carol.links(attachment.id))['320']);
  });

  await t.test('a link that was bent, for another variant, or expired: each is told so', async () => {
    const at = (path) => fetch(server.url + path).then(refused);
    const [path, token] = links['320'].split('?k=');
    const [exp, variant, signature] = token.split('.');
    assert.equal(variant, '320');

    const other = path.replace('/320', '/1280');
    assert.deepEqual(await at(`${other}?k=${token}`), { status: 403, code: 'link_wrong_variant' });
    for (const forged of [
      `${path}?k=${Number(exp) + 3_600}.320.${signature}`,
      `${other}?k=${exp}.1280.${signature}`,
      `${path}?k=${exp}.320.${signature.slice(0, -2)}${signature.endsWith('AA') ? 'BB' : 'AA'}`,
      `${path}?k=`, path,
      `${path.replace(attachment.id, '00000000-0000-4000-8000-000000000000')}?k=${token}`,
    ]) assert.deepEqual(await at(forged), { status: 403, code: 'link_forged' }, forged);

    assert.deepEqual(await at(signed(attachment.id, '320', nowSeconds() - 1)), { status: 403, code: 'link_expired' });
    // The test's own signature is the server's: what it makes for a time to come does open.
    const own = await fetch(server.url + signed(attachment.id, '320', nowSeconds() + 60));
    assert.equal(own.status, 200);
  });

  await t.test("another's upload can be neither seen, written to nor sent", async () => {
    const { grant } = await alice.grant(conv, 'file', { bytes: 1_000 });
    const upload = await Upload.create(server, grant, { bytes: 1_000 });
    const theirs = await bob.grant(conv, 'file', { bytes: 1_000 });
    const stolen = new Upload(server, theirs.grant, upload.path);
    assert.deepEqual(await refused(await stolen.patch(0, noise(1_000))), { status: 404, code: 'not_found' });
    const sent = { id: 'm-1', kind: 'text', body: { text: 'mine' }, attachments: [attachment.id] };
    assert.deepEqual(await refused(await bob.ask('POST', `/v1/conversations/${conv}/messages`, sent)), { status: 400, code: 'bad_attachment' });
    const elsewhere = await server.conversation(['alice', 'dave']);
    const wrong = { ...sent, id: 'm-2' };
    assert.deepEqual(await refused(await alice.ask('POST', `/v1/conversations/${elsewhere}/messages`, wrong)), { status: 400, code: 'bad_attachment' });
  });

  await t.test('too much is refused before a byte is sent', async () => {
    const wish = { kind: 'photo', bytes: 60 * 1024 * 1024 };
    assert.deepEqual(await refused(await alice.ask('POST', `/v1/conversations/${conv}/uploads`, wish)), { status: 413, code: 'too_large' });
    const small = await alice.grant(conv, 'file', { bytes: 10 });
    await assert.rejects(Upload.create(server, small.grant, { bytes: 11 }), /413 .*too_large/);
  });

  await t.test('a chat server uploads and posts for a user, and the message comes with the whole attachment', async () => {
    const bot = Member.actingFor(server, 'alice', SERVER_KEY);
    const heard = await listen(browser, server, await server.token('bob'));
    const bytes = noise(50_000, 7);
    const sent = await bot.attach(conv, 'file', bytes, { name: 'отчёт.bin' });
    const { seq } = await bot.send(conv, [sent.id], 'Your report');
    const frame = await within(10_000, "the message is at bob's", heard((one) => one.t === 'message' && one.seq === seq));
    assert.equal(frame.user, 'alice');
    assert.deepEqual(frame.attachments, [sent]);
    const { id, type, ...rest } = frame.attachments[0];
    assert.ok(id && type);
    assert.deepEqual(rest, { kind: 'file', name: 'отчёт.bin', bytes: 50_000, variants: ['file'] });
    assert.equal(sha256(await bob.bytesOf(sent.id, 'file')), sha256(bytes));
  });

  await t.test('with a wrong server key, or for nobody, it does nothing', async () => {
    const wrongKey = Member.actingFor(server, 'alice', SERVER_KEY.replace(/^./, 'x'));
    const nobody = new Member(server, '', { authorization: `Bearer ${SERVER_KEY}` });
    for (const impostor of [wrongKey, nobody]) {
      const { status } = await refused(await impostor.ask('POST', `/v1/conversations/${conv}/uploads`, { kind: 'file' }));
      assert.ok([400, 401].includes(status), `${status}`);
    }
    const mallorys = Member.actingFor(server, 'mallory', SERVER_KEY);
    assert.equal((await refused(await mallorys.ask('POST', `/v1/conversations/${conv}/uploads`, { kind: 'file' }))).code, 'not_found');
  });
});

function nowSeconds() {
  return Math.floor(Date.now() / 1_000);
}

/** A link as the server signs it with its secret: the only way to an expired one that does not wait for hours. */
function signed(id, variant, exp) {
  const key = createHmac('sha256', MEDIA_SECRET).update('trunkline media links 1').digest();
  const signature = createHmac('sha256', key).update(`${id}\n${variant}\n${exp}`).digest('base64url');
  return `/v1/media/${id}/${variant}?k=${exp}.${variant}.${signature}`;
}

/** A raw session of bob's in a page; gives a function that waits for the first frame that is `wanted`. */
async function listen(browser, server, token) {
  const page = await (await browser.newContext()).newPage();
  const frames = [];
  const waiting = new Set();
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
    frames.push(JSON.parse(payload));
    waiting.forEach((look) => look());
  }));
  const heard = (wanted) => new Promise((resolve) => {
    const look = () => {
      const found = frames.find(wanted);
      if (!found) return;
      waiting.delete(look);
      resolve(found);
    };
    waiting.add(look);
    look();
  });
  await page.goto(server.url);
  await page.evaluate((hello) => {
    window.socket = new WebSocket(`ws://${location.host}/v1/session`, 'trunkline.v1.json');
    window.socket.onopen = () => window.socket.send(JSON.stringify(hello));
  }, { t: 'hello', v: 1, token, device: 'raw', cursors: {} });
  await within(10_000, 'a welcome', heard((frame) => frame.t === 'welcome'));
  return heard;
}
