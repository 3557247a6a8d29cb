import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { bestVariant, placeholderUrl, waveformOf } from '../src/attachments.js';
import { sizeWords } from '../src/util.js';
import { isAttachment } from '../src/wire.js';
import { head, settle, world } from './fake.js';
import { FakeStore, photo, problem } from './store.js';

let store: FakeStore;
beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_700_000_000_000 });
  store = new FakeStore();
  mock.method(globalThis, 'fetch', store.fetch);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

async function links() {
  const { session, welcome } = world();
  session.connect();
  await settle();
  // The server's clock is ahead: what counts is when the server will refuse a link.
  welcome({ heads: [head()], now: Date.now() + 30_000 });
  return session.mediaLinks;
}

test('links are asked for once, and renewed before they expire by the server\'s clock', async () => {
  const media = await links();
  const a = photo('a');
  assert.equal(media.peek(a, '320'), undefined);
  const both = await Promise.all([media.linkFor(a, '320'), media.linkFor(a, '1280')]);
  assert.match(both[0]!, /^https:\/\/example\.org\/v1\/media\/a\/320\?k=/);
  assert.equal(store.times('GET /v1/attachments/a/links'), 1);
  assert.equal(media.peek(a, '320'), both[0]);
  mock.timers.tick(509_000);
  assert.equal(await media.linkFor(a, '320'), both[0]);
  mock.timers.tick(2_000);
  assert.equal(media.peek(a, '320'), undefined);
  assert.notEqual(await media.linkFor(a, '320'), both[0]);
  assert.equal(store.times('GET /v1/attachments/a/links'), 2);
});

test('a size made on demand is asked for by name, and does not take the others away', async () => {
  const media = await links();
  const a = photo('a');
  const first = await media.linkFor(a, '320');
  assert.match(await media.linkFor(a, '640'), /\/640\?k=/);
  assert.equal(store.log.at(-1), 'GET /v1/attachments/a/links?variant=640');
  assert.match(media.peek(a, '640')!, /\/640\?k=/);
  assert.notEqual(media.peek(a, '320'), undefined);
  assert.equal(typeof first, 'string');
});

test('while larger sizes are being made, a better one is asked for again soon', async () => {
  const media = await links();
  store.variants = ['320'];
  const a = photo('a', { variants: ['320'] });
  assert.deepEqual({ ...(await media.bestFor(a, 1500)), url: '' }, { variant: '320', url: '', final: false });
  assert.equal((await media.bestFor(a, 300)).final, true, 'for a thumbnail there is nothing to wait for');
  assert.equal(store.times('GET'), 1);
  store.variants = ['320', '1280', '2048'];
  mock.timers.tick(2_100);
  assert.deepEqual({ ...(await media.bestFor(a, 1500)), url: '' }, { variant: '2048', url: '', final: true });
});

test('a refusal is told, and not remembered', async () => {
  const media = await links();
  store.script.push(['GET /v1/attachments', problem(403, 'not_member')]);
  await assert.rejects(media.linkFor(photo('a'), '320'), { code: 'not_member' });
  assert.match(await media.linkFor(photo('a'), '320'), /320/);
});

test('the variant for a size', () => {
  const a = photo('a', { variants: ['320', '1280', '2048', 'original'] });
  assert.deepEqual([100, 320, 360, 400, 1280, 1400, 1500, 9000].map((pixels) => bestVariant(a, pixels)),
    ['320', '320', '320', '1280', '1280', '1280', '2048', '2048']);
  assert.equal(bestVariant(photo('b', { variants: ['original'] }), 100), 'original');
  assert.equal(bestVariant(photo('c', { variants: [] }), 100), undefined);
});

test('a thumbhash becomes a picture; what is none becomes nothing', () => {
  assert.match(placeholderUrl(photo('a', { thumbhash: '1QcSHQRnh493V4dIh4eXh1h4kJUI' }))!, /^data:image\/png;base64,/);
  for (const thumbhash of [undefined, '', '!!', 'AA==', 'AAAA']) assert.equal(placeholderUrl(photo('a', { thumbhash })), undefined);
});

test('a waveform is read', () => {
  assert.deepEqual(waveformOf(photo('a', { waveform: btoa('\x00\xff\x33') })), [0, 1, 0.2]);
  assert.equal(waveformOf(photo('a')), undefined);
});

test('what an attachment must have', () => {
  assert.equal(isAttachment(photo('a')), true);
  assert.equal(isAttachment(photo('a', { name: null, thumbhash: null })), true);
  for (const value of [null, 'a', {}, { ...photo('a'), variants: [1] }, { ...photo('a'), bytes: '5' }]) assert.equal(isAttachment(value), false);
});

test('sizes in words', () => {
  assert.deepEqual([0, 1, 999, 1000, 64_400, 999_499, 999_500, 2_440_000, 3_000_000, 12_345_678, 5.2e9].map(sizeWords),
    ['0 bytes', '1 byte', '999 bytes', '1 KB', '64 KB', '999 KB', '1 MB', '2.4 MB', '3 MB', '12 MB', '5.2 GB']);
});
