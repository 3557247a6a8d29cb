// The media store on a SeaweedFS: what goes in by tus and what goes in directly, what comes out, and the way from disk.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { Darkroom, UPRIGHT } from './lib/darkroom.mjs';
import { MIB, Member, Upload, noise, problemOf, sha256 } from './lib/member.mjs';
import { openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';
import { Weed } from './lib/weed.mjs';

test('the media store on S3', { timeout: 120_000 }, async (t) => {
  const weed = await Weed.start();
  t.after(() => weed.stop());
  const settings = { MEDIA__STORE: 's3', MEDIA__S3_PREFIX: 'some/prefix', ...weed.settings };
  const server = await Server.start(settings);
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const darkroom = await Darkroom.open(browser);
  const alice = await Member.of(server, 'alice');
  const conv = await server.conversation(['alice', 'bob']);

  await t.test('a photo', async () => {
    const attachment = await alice.attach(conv, 'photo', await darkroom.make({ width: 1_600, height: 1_200, detail: 800 }), { name: 'a.jpg' });
    for (const variant of attachment.variants) assert.deepEqual((await darkroom.look(await alice.bytesOf(attachment.id, variant))).corners, UPRIGHT);
    assert.ok((await weed.keys()).every((key) => key.startsWith('some/prefix/')));
  });

  await t.test('a file of several parts, whole and by ranges', async () => {
    const bytes = noise(20 * MIB + 5, 3);
    const attachment = await alice.attach(conv, 'file', bytes, { name: 'большой.bin' });
    const whole = await alice.download(attachment.id, 'file');
    const etag = whole.headers.get('etag');
    assert.equal(sha256(Buffer.from(await whole.arrayBuffer())), sha256(bytes));
    for (const [range, from, to] of [['bytes=0-0', 0, 1], ['bytes=8388600-8388617', 8_388_600, 8_388_618], ['bytes=-7', bytes.length - 7, bytes.length]]) {
      const response = await alice.download(attachment.id, 'file', { range });
      assert.equal(response.status, 206);
      assert.equal(response.headers.get('content-range'), `bytes ${from}-${to - 1}/${bytes.length}`);
      assert.deepEqual(Buffer.from(await response.arrayBuffer()), bytes.subarray(from, to));
    }
    const link = server.url + (await alice.links(attachment.id)).file;
    assert.equal((await fetch(link, { headers: { 'if-none-match': etag } })).status, 304);
    assert.equal((await fetch(link, { headers: { range: 'bytes=0-9', 'if-range': '"another"' } })).status, 200);
    assert.deepEqual(await problemOf(await fetch(link, { headers: { range: `bytes=${bytes.length}-` } })), { status: 416, code: 'bad_range' });
    assert.equal(await weed.pendingMultiparts(), 0);
  });

  await t.test('text is stored compressed, and served as its reader takes it', async () => {
    const text = Buffer.from('So many words, again and again.\n'.repeat(20_000));
    const attachment = await alice.attach(conv, 'file', text, { name: 'words.txt' });
    const plain = await alice.download(attachment.id, 'file', { 'accept-encoding': 'identity' });
    assert.equal(plain.headers.get('content-encoding'), null);
    assert.deepEqual(Buffer.from(await plain.arrayBuffer()), text);
    const link = server.url + (await alice.links(attachment.id)).file;
    const coded = await fetch(link, { method: 'HEAD', headers: { 'accept-encoding': 'zstd' } });
    assert.equal(coded.headers.get('content-encoding'), 'zstd');
    assert.ok(Number(coded.headers.get('content-length')) < text.length / 4);
    assert.notEqual(coded.headers.get('etag'), plain.headers.get('etag'));
  });

  await t.test('direct: parts go to the store itself, in any order, and are verified', async () => {
    const bytes = noise(20 * MIB, 4);
    const { id, grant } = await direct(alice, conv, bytes, sha256(bytes), { name: 'direct.bin' });
    const { state, attachment, problem } = await new Upload(server, grant, `/v1/uploads/${id}`).settled();
    assert.equal(state, 'ready', JSON.stringify(problem));
    assert.equal(attachment.name, 'direct.bin');
    assert.equal(sha256(await alice.bytesOf(attachment.id, 'file')), sha256(bytes));
  });

  await t.test('direct: a photo becomes a photo', async () => {
    const bytes = await darkroom.make({ width: 800, height: 600 });
    const { id, grant } = await direct(alice, conv, bytes, undefined, { kind: 'photo', name: 'direct.jpg' });
    const { attachment } = await new Upload(server, grant, `/v1/uploads/${id}`).settled();
    assert.equal(attachment.kind, 'photo');
    assert.deepEqual((await darkroom.look(await alice.bytesOf(id, attachment.variants[0]))).corners, UPRIGHT);
  });

  await t.test('direct: another hash than was said fails, and parts that are missing are asked for', async () => {
    const bytes = noise(9 * MIB, 5);
    const wrong = await direct(alice, conv, bytes, sha256('something else'));
    const { state, problem } = await new Upload(server, wrong.grant, `/v1/uploads/${wrong.id}`).settled();
    assert.deepEqual([state, problem.status, problem.code], ['failed', 422, 'mismatch']);

    const { grant } = await alice.grant(conv, 'file', { bytes: bytes.length });
    const begun = await ask(alice, grant, 'POST', '/v1/uploads/direct', { bytes: bytes.length });
    const { id, part_bytes: partBytes, parts } = await begun.json();
    await put(parts[0], bytes.subarray(0, partBytes));
    assert.deepEqual(await problemOf(await ask(alice, grant, 'POST', `/v1/uploads/${id}/finish`)), { status: 422, code: 'mismatch' });
    for (const part of parts.slice(1)) await put(part, bytes.subarray(partBytes));
    assert.equal((await ask(alice, grant, 'POST', `/v1/uploads/${id}/finish`)).status, 202);
    assert.equal((await new Upload(server, grant, `/v1/uploads/${id}`).settled()).state, 'ready');
    assert.equal(await weed.pendingMultiparts(), 0);
    assert.ok(!(await weed.keys()).some((key) => key.includes('/direct/')), 'what was put is not kept twice');
  });

  await t.test('with media.redirect, downloads go to the store by links of its own', async () => {
    const redirecting = await Server.start({ ...settings, MEDIA__REDIRECT: 'true' });
    t.after(() => redirecting.stop());
    const bob = await Member.of(redirecting, 'bob');
    const theirs = await redirecting.conversation(['bob', 'carol']);
    const bytes = noise(MIB, 6);
    const attachment = await bob.attach(theirs, 'file', bytes, { name: 'фото.bin' });
    const link = redirecting.url + (await bob.links(attachment.id)).file;
    const answer = await fetch(link, { redirect: 'manual' });
    assert.equal(answer.status, 302);
    assert.ok(answer.headers.get('location').startsWith(weed.endpoint));
    const head = await fetch(link, { method: 'HEAD', redirect: 'manual' });
    assert.deepEqual([head.status, head.headers.get('content-length')], [200, String(bytes.length)]);
    const followed = await fetch(link);
    assert.equal(sha256(Buffer.from(await followed.arrayBuffer())), sha256(bytes));
    assert.match(followed.headers.get('content-disposition'), /^attachment; .*filename\*=UTF-8''/);
  });
});

test('from disk to S3', { timeout: 120_000 }, async (t) => {
  const weed = await Weed.start();
  t.after(() => weed.stop());
  const settings = { MEDIA__SECRET: 'the-same-before-and-after-the-move', ...weed.settings };
  const onDisk = await Server.start(settings);
  const conv = await onDisk.conversation(['alice', 'bob']);
  const alice = await Member.of(onDisk, 'alice');
  const hashes = new Map();
  const links = [];
  for (let n = 0; n < 24; n += 1) {
    const bytes = noise((n % 6 === 0 ? 18 : 3) * MIB + n, 300 + n);
    const attachment = await alice.attach(conv, 'file', bytes, { name: `${n}.bin` });
    hashes.set(attachment.id, sha256(bytes));
    links.push({ id: attachment.id, path: (await alice.links(attachment.id)).file });
  }
  for (let at = 0; at < links.length; at += 10) await alice.send(conv, links.slice(at, at + 10).map(({ id }) => id));

  const copy = () => {
    const child = onDisk.command('media', 'copy', '--from', 'disk', '--to', 's3');
    const told = { out: '', err: '' };
    child.stdout.on('data', (text) => { told.out += text; });
    child.stderr.on('data', (text) => { told.err += text; });
    return { child, ended: once(child, 'close').then(([code, signal]) => ({ ...told, how: signal ?? code })) };
  };

  await t.test('a copy that is killed half-way', async () => {
    const { child, ended } = copy();
    const journal = () => readFile(join(onDisk.dir, 'media/copy-disk-s3.journal'), 'utf8').catch(() => '');
    await until('some objects are verified', async () => (await journal()).split('\n').length > 3, { ms: 30_000, every: 5 });
    child.kill('SIGKILL');
    assert.equal((await ended).how, 'SIGKILL', 'it was not over yet');
    assert.ok((await weed.keys()).length < hashes.size);
  });

  await t.test('goes on when it is run again, while the server runs', async (t) => {
    const { how, out, err } = await copy().ended;
    t.diagnostic(out.trim());
    assert.equal(how, 0, err);
    const { copied, there } = counts(out);
    assert.equal(copied + there, hashes.size);
    assert.ok(there >= 3, 'what was verified is not copied again');
  });

  let late;
  await t.test('and a last time, for what has come meanwhile', async (t) => {
    const bytes = noise(MIB, 999);
    late = await alice.attach(conv, 'file', bytes, { name: 'late.bin' });
    hashes.set(late.id, sha256(bytes));
    links.push({ id: late.id, path: (await alice.links(late.id)).file });
    assert.equal(await onDisk.stop({ keep: true }), 0);
    const { how, out, err } = await copy().ended;
    t.diagnostic(out.trim());
    assert.equal(how, 0, err);
    assert.deepEqual(counts(out), { copied: 1, there: hashes.size - 1, deleted: 0, failed: 0 });
  });

  await t.test('the server on S3 serves everything that came on disk, by the links that were given out then', async () => {
    const onS3 = await Server.start({
      ...settings, MEDIA__STORE: 's3', MEDIA__SWEEP_INTERVAL: '1s', MEDIA__ORPHAN_AGE: '1s',
    }, { dir: onDisk.dir });
    t.after(() => onS3.stop());
    for (const { id, path } of links) {
      const response = await fetch(onS3.url + path);
      assert.equal(response.status, 200);
      const hash = createHash('sha256');
      for await (const piece of response.body) hash.update(piece);
      assert.equal(hash.digest('hex'), hashes.get(id));
    }
    await until('what the killed copy had begun is swept', async () => (await weed.pendingMultiparts()) === 0, { ms: 20_000 });
    assert.equal((await weed.keys()).length, hashes.size, 'and nothing else is');
  });
});

/** `37 objects (104857600 bytes) copied and verified, 1167 were there already, 0 deleted meanwhile, 0 failed` */
function counts(line) {
  const form = /^(\d+) objects \(\d+ bytes\) copied and verified, (\d+) were there already, (\d+) deleted meanwhile, (\d+) failed\n$/;
  const [, copied, there, deleted, failed] = form.exec(line)?.map(Number) ?? assert.fail(line);
  return { copied, there, deleted, failed };
}

function ask(member, grant, method, path, body) {
  const headers = { authorization: `Bearer ${grant}`, ...(body && { 'content-type': 'application/json' }) };
  return fetch(member.server.url + path, { method, headers, body: body && JSON.stringify(body) });
}

async function put({ url }, bytes) {
  const response = await fetch(url, { method: 'PUT', body: bytes });
  assert.equal(response.status, 200, await response.text());
}

/** Uploads to the store itself, the last part first, and asks to finish. */
async function direct(member, conv, bytes, hash, { kind = 'file', name } = {}) {
  const granted = await member.grant(conv, kind, { bytes: bytes.length });
  assert.equal(granted.direct, true);
  const { grant } = granted;
  const response = await ask(member, grant, 'POST', '/v1/uploads/direct', { bytes: bytes.length, sha256: hash, name });
  assert.equal(response.status, 201);
  const { id, part_bytes: partBytes, parts } = await response.json();
  assert.equal(parts.length, Math.ceil(bytes.length / partBytes));
  for (const part of parts.toReversed()) {
    assert.ok(new URL(part.url).searchParams.has('X-Amz-Signature'));
    await put(part, bytes.subarray((part.number - 1) * partBytes, part.number * partBytes));
  }
  assert.equal((await ask(member, grant, 'POST', `/v1/uploads/${id}/finish`)).status, 202);
  return { id, grant };
}
