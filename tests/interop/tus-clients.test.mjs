// Uploads by clients that are not ours: tus-js-client and tuspy. Whatever goes in comes out.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Upload as TusUpload } from 'tus-js-client';

import { MIB, Member, Upload, noise, sha256 } from './lib/member.mjs';
import { Server } from './lib/server.mjs';

const PYTHON = process.env.TRUNKLINE_PYTHON ?? fileURLToPath(new URL('../../target/venv/bin/python', import.meta.url));
const TUSPY = fileURLToPath(new URL('./python/tus_upload.py', import.meta.url));
const NAMES = ['фото.jpg', '写真 (1).jpg', 'a "quoted"; name.bin', 'plain.bin'];
const SIZES = { '1 B': 1, '1 MB': 1_000_000, '100 MB': 100_000_000 };

test('uploads by other clients', { timeout: 180_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const alice = await Member.of(server, 'alice');
  const conv = await server.conversation(['alice', 'bob']);

  /** The upload at `url` has become an attachment that has these bytes and this name. */
  const arrives = async (url, grant, bytes, name) => {
    const { state, attachment, problem } = await new Upload(server, grant, new URL(url).pathname).settled();
    assert.equal(state, 'ready', JSON.stringify(problem));
    assert.equal(attachment.bytes, bytes.length);
    assert.equal(attachment.name, name);
    const response = await alice.download(attachment.id, 'file');
    assert.match(response.headers.get('content-disposition'), new RegExp(`filename\\*=UTF-8''${encodeURIComponent(name).replace(/[().*]/g, '.+')}`));
    const hash = sha256(Buffer.from(await response.arrayBuffer()));
    assert.equal(hash, sha256(bytes));
  };

  /** Uploads by tus-js-client; the upload's address. */
  const byTusJs = (source, grant, name, options) => new Promise((resolve, reject) => {
    const upload = new TusUpload(source, {
      endpoint: `${server.url}/v1/uploads`, headers: { Authorization: `Bearer ${grant}` }, metadata: { filename: name },
      retryDelays: null, storeFingerprintForResuming: false, onError: reject, onSuccess: () => resolve(upload.url), ...options,
    });
    upload.start();
  });

  for (const [index, [size, length]] of Object.entries(SIZES).entries()) {
    await t.test(`tus-js-client: ${size}`, async () => {
      const bytes = noise(length, 10 + index);
      const { grant } = await alice.grant(conv, 'file', { bytes: length });
      await arrives(await byTusJs(bytes, grant, NAMES[index], { chunkSize: length > MIB ? 16 * MIB : Infinity }), grant, bytes, NAMES[index]);
    });
  }

  await t.test('tus-js-client: with the creation', async () => {
    const bytes = noise(200_000, 20);
    const { grant } = await alice.grant(conv, 'file');
    await arrives(await byTusJs(bytes, grant, NAMES[0], { uploadDataDuringCreation: true }), grant, bytes, NAMES[0]);
  });

  await t.test('tus-js-client: a stream of unknown length', async () => {
    const bytes = noise(5 * MIB + 17, 21);
    const { grant } = await alice.grant(conv, 'file');
    const stream = Readable.from((function* pieces() {
      for (let at = 0; at < bytes.length; at += 100_003) yield bytes.subarray(at, at + 100_003);
    })(), { objectMode: false });
    const url = await byTusJs(stream, grant, NAMES[1], { uploadLengthDeferred: true, chunkSize: MIB });
    await arrives(url, grant, bytes, NAMES[1]);
  });

  await t.test('tus-js-client: four uploads side by side become one', async () => {
    const bytes = noise(10 * MIB + 3, 22);
    const { grant } = await alice.grant(conv, 'file');
    await arrives(await byTusJs(bytes, grant, NAMES[0], { parallelUploads: 4 }), grant, bytes, NAMES[0]);
  });

  await t.test('tus-js-client: one that was given up is gone on with by another, and one is ended', async () => {
    const bytes = noise(4 * MIB, 23);
    const { grant } = await alice.grant(conv, 'file');
    let first;
    const url = await new Promise((resolve, reject) => {
      first = new TusUpload(bytes, {
        endpoint: `${server.url}/v1/uploads`, headers: { Authorization: `Bearer ${grant}` }, metadata: { filename: NAMES[3] },
        retryDelays: null, chunkSize: MIB, onError: reject,
        onChunkComplete: (_, accepted) => { if (accepted === 2 * MIB) first.abort().then(() => resolve(first.url)); },
      });
      first.start();
    });
    assert.ok(await new Upload(server, grant, new URL(url).pathname).offset() >= 2 * MIB);
    await arrives(await byTusJs(bytes, grant, NAMES[3], { uploadUrl: url }), grant, bytes, NAMES[3]);

    const ended = await Upload.create(server, grant, { bytes: 10 });
    await TusUpload.terminate(server.url + ended.path, { headers: { Authorization: `Bearer ${grant}` } });
    const response = await fetch(server.url + ended.path, { method: 'HEAD', headers: { authorization: `Bearer ${grant}`, 'tus-resumable': '1.0.0' } });
    assert.ok([404, 410].includes(response.status), `${response.status}`);
  });

  await t.test('tuspy: 1 B, 1 MB, 100 MB, with checksums, and gone on with', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'trunkline-tuspy-'));
    t.after(() => rm(folder, { recursive: true }));
    const wishes = [
      { bytes: noise(1, 30), name: NAMES[0], checksum: false, chunk_bytes: MIB },
      { bytes: noise(1, 31), name: NAMES[1], checksum: true, chunk_bytes: MIB },
      { bytes: noise(1_000_000, 32), name: NAMES[0], checksum: true, chunk_bytes: 300_000 },
      { bytes: noise(1_000_000, 33), name: NAMES[2], checksum: false, chunk_bytes: 300_000, stop_at: 600_000 },
      { bytes: noise(100_000_000, 34), name: NAMES[3], checksum: true, chunk_bytes: 16 * MIB },
    ];
    const lines = [];
    for (const [n, { bytes, ...wish }] of wishes.entries()) {
      const path = join(folder, String(n));
      await writeFile(path, bytes);
      const { grant } = await alice.grant(conv, 'file', { bytes: bytes.length });
      lines.push({ ...wish, path, grant });
    }
    const urls = await tuspy(`${server.url}/v1/uploads`, lines);
    for (const [n, url] of urls.entries()) await arrives(url, lines[n].grant, wishes[n].bytes, wishes[n].name);
  });

  await t.test('bytes with a wrong checksum are refused, and none of them is kept', async () => {
    const { grant } = await alice.grant(conv, 'file');
    const upload = await Upload.create(server, grant, { bytes: 1_000 });
    const response = await upload.patch(0, noise(1_000, 40), { 'upload-checksum': 'sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=' });
    assert.equal(response.status, 460);
    assert.equal((await response.json()).code, 'checksum_mismatch');
    assert.equal(await upload.offset(), 0);
  });
});

function tuspy(endpoint, lines) {
  return new Promise((resolve, reject) => {
    const child = spawn(PYTHON, [TUSPY, endpoint], { stdio: ['pipe', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { err += text; });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(JSON.parse(out)) : reject(new Error(err))));
    child.stdin.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  });
}
