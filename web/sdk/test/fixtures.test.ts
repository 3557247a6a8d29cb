/** The Rust types write these fixtures; what this client believes about the wire must agree with them. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CLIENT_SHAPES, SERVER_SHAPES, decodeServerFrame, frameFault, isAttachment, type AttachmentLinks, type UploadGrant } from '../src/wire.js';

/** The repository's root, wherever the compiled test lies. */
function fixtureFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'signaling/api/fixtures'))) {
    assert.notEqual(dirname(folder), folder, 'signaling/api/fixtures not found above the tests');
    folder = dirname(folder);
  }
  return join(folder, 'signaling/api/fixtures');
}

const folder = fixtureFolder();
const files = readdirSync(folder).filter((name) => name.endsWith('.json')).sort();

for (const name of files) {
  const side = name.split('.')[0];
  if (side === 'rest') continue;
  test(`fixture ${name}`, () => {
    const text = readFileSync(join(folder, name), 'utf8');
    const value: unknown = JSON.parse(text);
    if (side === 'server') {
      const frame = decodeServerFrame(text);
      assert.equal(typeof frame, 'object', String(frame));
      assert.deepEqual(JSON.parse(JSON.stringify(frame)), value);
    } else {
      assert.equal(frameFault(CLIENT_SHAPES, value), undefined);
      // A field that the server's type has and ours has not would be something we can not say.
      const frame = value as Record<string, unknown>;
      const known = Object.keys(CLIENT_SHAPES[frame['t'] as keyof typeof CLIENT_SHAPES]);
      for (const field of Object.keys(frame)) assert.ok(field === 't' || known.includes(field), `unknown field ${field}`);
    }
  });
}

const read = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), 'utf8'));

test('attachments, grants and links are what this client takes them for', () => {
  const { attachments } = read('server.message.text.json') as { attachments: unknown[] };
  assert.ok(attachments.length > 0 && attachments.every(isAttachment));
  const grant = read('rest.upload_grant.json') as UploadGrant;
  assert.deepEqual([typeof grant.grant, grant.endpoint, typeof grant.expires_at, typeof grant.bytes_max, typeof grant.direct],
    ['string', '/v1/uploads', 'number', 'number', 'boolean']);
  const links = read('rest.attachment_links.json') as AttachmentLinks;
  assert.equal(typeof links.expires_at, 'number');
  assert.ok(Object.values(links.links).every((path) => path.startsWith('/v1/media/')));
});

test('every type of frame but those not built yet has a fixture', () => {
  const covered = new Set(files.map((name) => {
    const frame = JSON.parse(readFileSync(join(folder, name), 'utf8')) as { t?: string };
    return `${name.split('.')[0]} ${frame.t}`;
  }));
  const later = ['server presence', 'client presence'];
  const wanted = [...Object.keys(SERVER_SHAPES).map((type) => `server ${type}`), ...Object.keys(CLIENT_SHAPES).map((type) => `client ${type}`)];
  assert.deepEqual(wanted.filter((one) => !covered.has(one) && !later.includes(one)), []);
});
