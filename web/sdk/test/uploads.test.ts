import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { FakeStore, MemoryBytes, problem, quiet, until } from './store.js';
import { head, settle, world, type World } from './fake.js';
import { guessKind } from '../src/attachments.js';
import { roomFor } from '../src/bytes.js';
import type { Upload } from '../src/upload.js';

let store: FakeStore;
let bytes: MemoryBytes;
let kept: Map<string, string>;
const pages: World[] = [];

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_700_000_000_000 });
  store = new FakeStore();
  bytes = new MemoryBytes();
  kept = new Map();
  mock.method(globalThis, 'fetch', store.fetch);
});
afterEach(() => {
  for (const { session } of pages.splice(0)) session.close();
  mock.timers.reset();
  mock.restoreAll();
});

/** A page: two of them share what is kept. */
async function page() {
  const keep = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
  const here = world({ keep, uploads: { bytes, httpStack: store.httpStack } });
  pages.push(here);
  here.session.connect();
  await settle();
  const socket = here.welcome({ heads: [head()] });
  await settle();
  return { ...here, socket, conversation: here.session.conversations.get('c1')! };
}

/** More than travels with the request that begins an upload. */
const SIZE = 300_000;
const content = (size = SIZE, seed = 1): Uint8Array<ArrayBuffer> => Uint8Array.from({ length: size }, (_, i) => (i * 31 + seed) % 251);
const file = (name = 'a.jpg', size = SIZE, seed = 1): File => new File([content(size, seed)], name, { type: 'image/jpeg', lastModified: 5 });
const is = (upload: Upload, state: Upload['state']) => until(`${upload.name} is ${state}, not ${upload.state}`, () => upload.state === state);

test('asks, sends, waits, and has an attachment; the states and the progress are told in order', async () => {
  const { session, conversation } = await page();
  store.quick = false;
  const seen: string[] = [];
  const ratios: number[] = [];
  const upload = session.upload(conversation, file('фото.jpg'), { onProgress: ({ ratio }) => ratios.push(ratio) });
  seen.push(upload.state);
  upload.on('state', (state) => seen.push(state));
  await until('the server is asked what became of it', () => store.polls.length === 1);
  assert.deepEqual(store.grants, [{ kind: 'photo', bytes: SIZE, name: 'фото.jpg', type: 'image/jpeg' }]);
  assert.equal(store.log.at(-1), 'GET /v1/uploads/u1?wait_s=25');
  assert.deepEqual(store.uploads.get('u1')!.metadata, { filename: 'фото.jpg', filetype: 'image/jpeg' });
  assert.deepEqual(session.pendingUploads, [upload]);
  store.polls[0]!({ state: 'ready' });
  await is(upload, 'ready');
  assert.deepEqual(seen, ['queued', 'granting', 'uploading', 'processing', 'ready']);
  assert.equal(upload.attachment?.name, 'фото.jpg');
  assert.equal(upload.id, 'u1');
  assert.equal(ratios.at(-1), 1);
  assert.deepEqual(ratios, [...ratios].sort());
  assert.deepEqual(store.content('u1'), Buffer.from(content()));
  assert.deepEqual(session.pendingUploads, [], 'what is ready is not pending');
  assert.equal(bytes.held.size, 0, 'and its bytes are not kept any longer');
});

test('what is small travels with the request that begins it', async () => {
  const { session, conversation } = await page();
  const upload = session.upload(conversation, file('small.jpg', 1000));
  await is(upload, 'ready');
  assert.equal(store.times('PATCH'), 0);
  assert.equal(store.content('u1').length, 1000);
});

test('a file of no bytes is a file', async () => {
  const { session, conversation } = await page();
  const upload = session.upload(conversation, file('empty.txt', 0), { kind: 'file' });
  await is(upload, 'processing');
  await quiet();
  assert.equal(store.times('GET /v1/uploads/u1'), 1, 'a server that answers at once is not asked in a loop');
  store.take('u1', new Uint8Array());
  mock.timers.tick(1_000);
  await is(upload, 'ready');
});

test('three at a time; the next begins when one is over', async () => {
  const { session, conversation } = await page();
  store.hold = true;
  const uploads = [1, 2, 3, 4, 5].map((n) => session.upload(conversation, file(`${n}.jpg`)));
  await until('three are sending', () => store.held.length === 3);
  await quiet();
  assert.deepEqual(uploads.map((one) => one.state), ['uploading', 'uploading', 'uploading', 'queued', 'queued']);
  store.held[1]!.finish();
  await until('a fourth is sending', () => store.held.length === 4);
  assert.equal(uploads[3]!.state, 'uploading');
  uploads[0]!.pause();
  await until('a paused one makes room', () => store.held.length === 5);
  assert.equal(uploads[0]!.state, 'paused');
});

test('paused and resumed, it goes on from the server\'s offset', async () => {
  const { session, conversation } = await page();
  store.hold = true;
  const upload = session.upload(conversation, file());
  await until('it is sending', () => store.held.length === 1);
  store.held[0]!.take(100_000);
  assert.deepEqual(upload.progress, { sent: 100_000, total: SIZE, ratio: 1 / 3 });
  upload.pause();
  assert.equal(upload.state, 'paused');
  assert.equal(store.held[0]!.aborted, true);
  mock.timers.tick(120_000);
  await quiet();
  assert.equal(store.held.length, 1, 'paused means paused');
  upload.resume();
  await until('it is sending again', () => store.held.length === 2);
  assert.equal(store.held[1]!.offset, 100_000);
  assert.equal(store.times('POST /v1/uploads'), 1);
  store.held[1]!.finish();
  await is(upload, 'ready');
  assert.deepEqual(store.content('u1'), Buffer.from(content()));
});

test('a lost network is waited out, and nothing that arrived is sent again', async () => {
  const { session, conversation } = await page();
  store.hold = true;
  const upload = session.upload(conversation, file());
  await until('it is sending', () => store.held.length === 1);
  store.held[0]!.take(120_000);
  store.down = true;
  store.held[0]!.cut();
  await until('it waits', () => upload.waiting === 'network');
  assert.equal(upload.state, 'uploading');
  for (let minute = 0; minute < 10; minute++) {
    mock.timers.tick(60_000);
    await quiet();
  }
  const tried = store.times('HEAD');
  assert.ok(tried >= 5 && upload.waiting === 'network', 'it tries for as long as nobody cancels');
  store.down = false;
  session.uploads.hurry();
  await until('it is sending again, without another wait', () => store.held.length === 2);
  assert.equal(upload.waiting, undefined);
  assert.equal(store.held[1]!.offset, 120_000);
  store.held[1]!.finish();
  await is(upload, 'ready');
  assert.deepEqual(store.content('u1'), Buffer.from(content()));
});

test('a silent connection is given up: at once after a change of networks, else after a while', async () => {
  const { session, conversation } = await page();
  store.hold = true;
  session.upload(conversation, file());
  await until('it is sending', () => store.held.length === 1);
  store.held[0]!.take(1000);
  mock.timers.tick(1_500);
  session.uploads.hurry();
  await quiet();
  assert.equal(store.held[0]!.aborted, false, 'it moved a moment ago');
  mock.timers.tick(1_500);
  session.uploads.hurry();
  await quiet();
  assert.equal(store.held[0]!.aborted, true);
  mock.timers.tick(500);
  await until('it is sending again', () => store.held.length === 2);
  assert.equal(store.held[1]!.offset, 1000);
  mock.timers.tick(22_000);
  await quiet();
  assert.equal(store.held[1]!.aborted, true);
});

for (const [status, code] of [[409, 'wrong_offset'], [423, 'taken_over'], [503, 'unavailable'], [507, 'disk_full']] as const) {
  test(`${status} is no failure: the offset is asked for and the upload goes on`, async () => {
    const { session, conversation } = await page();
    store.hold = true;
    const upload = session.upload(conversation, file());
    await until('it is sending', () => store.held.length === 1);
    store.held[0]!.take(5000);
    store.held[0]!.answer(problem(status, code));
    await until('it waits', () => upload.waiting === 'server');
    // Neither does an answer like this to the question make it begin again.
    store.script.push(['HEAD', problem(status, code)]);
    for (let turn = 0; turn < 2; turn++) {
      mock.timers.tick(1_000);
      await quiet();
    }
    assert.equal(store.held[1]!.offset, 5000);
    assert.equal(store.times('POST /v1/uploads'), 1);
    store.held[1]!.finish();
    await is(upload, 'ready');
  });
}

test('after a reload it goes on by itself, and the message is sent once, under the id it had', async () => {
  const first = await page();
  store.hold = true;
  first.conversation.sendFile(file(), { text: 'Look' });
  const parcel = first.conversation.parcels[0]!;
  await until('it is sending', () => store.held.length === 1);
  store.held[0]!.take(200_000);
  first.session.close();
  const second = await page();
  assert.deepEqual(second.conversation.parcels.map(({ id, text, at }) => ({ id, text, at })), [{ id: parcel.id, text: 'Look', at: parcel.at }]);
  const [upload] = second.session.pendingUploads;
  await until('it is sending again', () => store.held.length === 2);
  assert.equal(store.held[1]!.offset, 200_000);
  assert.equal(store.grants.length, 1);
  store.held[1]!.finish();
  await is(upload!, 'ready');
  const [sent] = second.socket.all('send');
  assert.deepEqual({ ...sent }, { t: 'send', id: parcel.id, conv: 'c1', kind: 'text', body: { text: 'Look' }, attachments: ['u1'] });
  assert.deepEqual(second.conversation.parcels, []);
  assert.equal(second.conversation.outgoing[0]!.shown?.[0]?.id, 'u1');
  assert.equal(bytes.held.size, 0);
  second.socket.give({ t: 'ok', id: parcel.id, conv: 'c1', seq: 1, at: 5 });
  await settle();
  assert.equal(second.conversation.messages[0]!.attachments?.[0]?.id, 'u1');
  const third = await page();
  assert.deepEqual([third.session.pendingUploads, third.session.unsent], [[], 0]);
});

test('too large to be kept, it is asked for after a reload, and goes on when the same file is chosen', async () => {
  bytes.most = 1000;
  const first = await page();
  store.hold = true;
  first.session.upload(first.conversation, file());
  await until('it is sending', () => store.held.length === 1);
  store.held[0]!.take(90_000);
  first.session.close();
  const { session, conversation } = await page();
  const [upload] = session.pendingUploads;
  await until('it wants its file', () => upload!.needsFile);
  assert.equal(upload!.state, 'paused');
  assert.equal(upload!.progress.sent, 90_000);
  assert.equal(upload!.offer(file('b.jpg')), false);
  assert.equal(upload!.offer(file('a.jpg', SIZE - 1)), false);
  assert.equal(session.upload(conversation, file()), upload, 'chosen or dropped again, it is the same upload');
  await until('it is sending again', () => store.held.length === 2);
  assert.equal(store.held[1]!.offset, 90_000);
  store.held[1]!.finish();
  await is(upload!, 'ready');
  assert.deepEqual(store.content('u1'), Buffer.from(content()));
});

test('what the server had whole before a reload is not sent again', async () => {
  const first = await page();
  store.quick = false;
  first.session.upload(first.conversation, file());
  await until('the server works on it', () => store.polls.length === 1);
  first.session.close();
  bytes.held.clear();
  const second = await page();
  await quiet();
  const [upload] = second.session.pendingUploads;
  assert.equal(upload!.state, 'processing');
  store.polls.at(-1)!({ state: 'ready' });
  await is(upload!, 'ready');
  assert.equal(store.times('PATCH'), 1);
});

test('cancelled, it is deleted on the server and here', async () => {
  const { session, conversation } = await page();
  store.hold = true;
  const told: string[] = [];
  session.on('upload', (upload) => told.push(upload.state));
  const upload = session.upload(conversation, file());
  await until('it is sending', () => store.held.length === 1);
  upload.cancel();
  await until('it is deleted', () => store.uploads.size === 0);
  assert.equal(store.held[0]!.aborted, true);
  assert.equal(told.at(-1), 'cancelled');
  assert.deepEqual(session.pendingUploads, []);
  assert.equal(bytes.held.size, 0);
  assert.deepEqual(JSON.parse(kept.get('trunkline.uploads')!), []);
});

test('too large is told before a byte is sent, in words with the limit', async () => {
  const { session, conversation } = await page();
  store.bytesMax = 200_000;
  const byGrant = session.upload(conversation, file());
  await is(byGrant, 'failed');
  assert.equal(byGrant.error?.code, 'too_large');
  assert.equal(byGrant.error?.message, 'A photo may have up to 200 KB here; this one has 300 KB.');
  store.script.push(['POST /v1/conversations/', problem(413, 'too_large', { limit: 100_000 })]);
  const byProblem = session.upload(conversation, file('b.pdf'), { kind: 'file' });
  await is(byProblem, 'failed');
  assert.equal(byProblem.error?.message, 'A file may have up to 100 KB here; this one has 300 KB.');
  assert.equal(store.times('POST /v1/uploads'), 0);
});

test('what the server cannot use fails with its words, and is begun from nothing when asked to', async () => {
  const { session, conversation } = await page();
  store.quick = false;
  const upload = session.upload(conversation, file());
  await until('the server works on it', () => store.polls.length === 1);
  store.polls[0]!({ state: 'failed', problem: { code: 'bad_photo', detail: 'the picture ends in the middle' } });
  await is(upload, 'failed');
  assert.deepEqual([upload.error?.code, upload.error?.message], ['bad_photo', 'the picture ends in the middle']);
  const again = (await page()).session.pendingUploads[0]!;
  assert.deepEqual([again.state, again.error?.code], ['failed', 'bad_photo'], 'a reload does not hide it');
  store.quick = true;
  upload.retry();
  assert.equal(upload.error, undefined);
  await is(upload, 'ready');
  assert.equal(store.grants.length, 2);
  assert.equal(store.times('DELETE'), 1);
  assert.equal(upload.id, [...store.uploads.keys()].at(-1));
});

test('what is no good as a photo is sent as a file', async () => {
  const { session, conversation } = await page();
  store.script.push(['GET /v1/uploads/', { status: 200, body: { state: 'failed', offset: 0, problem: { code: 'too_many_pixels' } } }]);
  const upload = session.upload(conversation, file());
  await is(upload, 'failed');
  upload.retry('file');
  await is(upload, 'ready');
  assert.deepEqual(store.grants.map(({ kind }) => kind), ['photo', 'file']);
});

test('an expired grant is replaced; an upload that is gone is begun again, but not for ever', async () => {
  const { session, conversation } = await page();
  store.script.push(['POST /v1/uploads', problem(401, 'expired_grant')]);
  const expired = session.upload(conversation, file());
  await is(expired, 'ready');
  assert.equal(store.grants.length, 2);
  for (let n = 0; n < 3; n++) store.script.push(['PATCH', problem(410, 'gone', { detail: 'it has expired' })]);
  const gone = session.upload(conversation, file());
  await is(gone, 'failed');
  assert.deepEqual([gone.error?.code, gone.error?.message], ['gone', 'it has expired']);
});

test('a server that lost the end is sent the end again', async () => {
  const { session, conversation } = await page();
  store.quick = false;
  const upload = session.upload(conversation, file());
  await until('the server works on it', () => store.polls.length === 1);
  const stored = store.uploads.get('u1')!;
  stored.bytes = [content().subarray(0, 250_000)];
  store.polls[0]!({ state: 'receiving', offset: 250_000 });
  await until('it is whole again', () => store.offset('u1') === SIZE && store.polls.length === 2);
  store.polls[1]!({ state: 'ready' });
  await is(upload, 'ready');
  assert.deepEqual(store.content('u1'), Buffer.from(content()));
});

test('a file that has been moved since it was chosen is told as such', async () => {
  const { session, conversation } = await page();
  const moved = file();
  mock.method(moved, 'slice', () => ({ size: SIZE, arrayBuffer: () => Promise.reject(new DOMException('', 'NotReadableError')) }));
  const upload = session.upload(conversation, moved);
  await is(upload, 'failed');
  assert.equal(upload.error?.code, 'unreadable');
});

test('several files are one message, in the order in which they were chosen; one given up does not hold the others', async () => {
  const { session, socket, conversation } = await page();
  store.hold = true;
  const parcel = conversation.sendFiles(['a', 'b', 'c'].map((name, n) => ({ file: file(`${name}.jpg`, SIZE, n) })), 'Three');
  assert.deepEqual(conversation.parcels, [parcel]);
  await until('all are sending', () => store.held.length === 3);
  store.held[2]!.finish();
  store.held[0]!.finish();
  await quiet();
  assert.equal(socket.all('send').length, 0);
  parcel.uploads[1]!.cancel();
  await until('the message went out', () => socket.all('send').length === 1);
  const [sent] = socket.all('send');
  assert.deepEqual(sent!.attachments?.map((id) => store.uploads.get(id)!.metadata['filename']), ['a.jpg', 'c.jpg']);
  assert.deepEqual([conversation.parcels, session.pendingUploads], [[], []]);
  parcel.cancel();
  await quiet();
  assert.equal(store.times('DELETE'), 1, 'what has been sent is not taken back');
  assert.throws(() => conversation.sendFiles(Array.from({ length: 11 }, () => ({ file: file() }))), { code: 'too_large' });
});

test('attachments known by their id alone are shown when the server says what they are', async () => {
  const { session, socket, conversation } = await page();
  const sent = session.sendAttachments(conversation, ['x1'], 'Here');
  assert.deepEqual(socket.all('send')[0]!.attachments, ['x1']);
  socket.give({ t: 'ok', id: sent.id, conv: 'c1', seq: 1, at: 5 });
  await settle();
  assert.deepEqual([conversation.outgoing.length, conversation.messages.length, session.unsent], [1, 0, 0]);
  const attachment = { id: 'x1', kind: 'file', type: 'application/pdf', bytes: 5, variants: ['file'] };
  socket.give({
    t: 'message', conv: 'c1', seq: 1, id: sent.id, user: 'alice', device: 'laptop', kind: 'text', body: { text: 'Here' }, at: 5,
    attachments: [attachment, { what: 'is this' }],
  });
  assert.deepEqual([conversation.outgoing.length, conversation.messages[0]!.attachments], [0, [attachment]]);
  const upload = session.upload(conversation, file());
  assert.throws(() => session.sendAttachments(conversation, [upload]), { code: 'bad_attachment' });
});

test('nothing is asked before there is a session to ask in', async () => {
  const here = world({ uploads: { bytes, httpStack: store.httpStack } });
  pages.push(here);
  here.session.connect();
  const upload = here.session.upload('c1', file());
  await until('it waits', () => upload.waiting === 'network');
  assert.deepEqual(store.log, []);
  here.welcome({ heads: [head()] });
  await is(upload, 'ready');
});

test('what is kept has a bound, and an age', () => {
  const entry = (key: string, mb: number, days = 0) => ({ key, bytes: mb * 1e6, at: 1e12 - days * 86_400_000 });
  assert.deepEqual(roomFor([], 64e6, 1e12), { old: [], fits: true });
  assert.deepEqual(roomFor([], 64e6 + 1, 1e12), { old: [], fits: false });
  assert.deepEqual(roomFor([entry('a', 200)], 57e6, 1e12), { old: [], fits: false });
  assert.deepEqual(roomFor([entry('a', 200, 8), entry('b', 100)], 57e6, 1e12), { old: ['a'], fits: true });
});

test('kinds are guessed from types', () => {
  assert.deepEqual(['image/jpeg', 'image/png', 'image/gif', 'IMAGE/WEBP'].map(guessKind), ['photo', 'photo', 'photo', 'photo']);
  assert.deepEqual(['image/heic', 'image/svg+xml', 'audio/mpeg', 'application/pdf', ''].map(guessKind), ['file', 'file', 'file', 'file', 'file']);
});
