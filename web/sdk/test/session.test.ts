import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { Call } from '../src/call.js';
import { retryDelay, uuidv7 } from '../src/util.js';
import { head, message, settle, world } from './fake.js';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_700_000_000_000 }));
afterEach(() => mock.timers.reset());

async function connected(heads = [head()], more = {}) {
  const here = world(more);
  here.session.connect();
  await settle();
  const socket = here.welcome({ heads });
  await settle();
  return { ...here, socket };
}

test('hello names the version, the device and the cursors', async () => {
  const { session, socket } = await connected();
  assert.equal(socket.url, 'wss://example.org/v1/session');
  assert.equal(socket.protocol, 'trunkline.v1.json');
  assert.deepEqual(socket.sent[0], { t: 'hello', v: 1, token: 'token', device: 'laptop', cursors: {} });
  assert.equal(session.state, 'online');
  assert.equal(session.user, 'alice');
});

test('a conversation never looked into gets its newest page, then live messages in order', async () => {
  const { session, socket } = await connected([head(19)]);
  const [ask] = socket.all('history');
  assert.equal(ask?.before, 20);
  socket.give({ t: 'page', id: ask!.id, conv: 'c1', messages: [message(18), message(19)], more: true });
  await settle();
  const conversation = session.conversations.get('c1')!;
  assert.equal(conversation.cursor, 19);
  assert.equal(conversation.hasOlder, true);
  socket.give({ t: 'message', ...message(20) });
  await settle();
  assert.deepEqual(session.cursors(), { c1: 20 });
  assert.equal(socket.all('ack').at(-1)?.seq, 20);
});

test('the same message twice is shown once, by sequence number and by id', async () => {
  const { session, socket } = await connected();
  const shown: number[] = [];
  session.on('message', (event) => shown.push(event.message.seq));
  socket.give({ t: 'message', ...message(1) });
  socket.give({ t: 'message', ...message(1) });
  socket.give({ t: 'message', ...message(2, { id: 'm1' }) });
  socket.give({ t: 'message', ...message(3, { id: 'm1', device: 'tablet' }) });
  await settle();
  assert.deepEqual(shown, [1, 3], 'another device may use the same id for something else');
  assert.equal(session.conversations.get('c1')!.cursor, 3);
});

test('an unacknowledged message is sent again under the same id until it is acknowledged', async () => {
  const { session, socket, sockets, welcome } = await connected();
  const conversation = session.conversations.get('c1')!;
  conversation.send('one');
  conversation.send('two');
  assert.equal(socket.all('send').length, 1, 'the second waits for the first');
  socket.die();
  await settle();
  assert.equal(session.unsent, 2);
  mock.timers.tick(20_000);
  await settle();
  assert.equal(sockets.length, 2);
  const again = welcome({ heads: [head()] });
  await settle();
  const first = again.all('send')[0]!;
  assert.equal(first.id, socket.all('send')[0]!.id);
  again.give({ t: 'ok', id: first.id, conv: 'c1', seq: 1, at: 5 });
  await settle();
  const second = again.all('send')[1]!;
  assert.deepEqual(second.body, { text: 'two' });
  again.give({ t: 'ok', id: second.id, conv: 'c1', seq: 2, at: 6 });
  await settle();
  assert.equal(session.unsent, 0);
  assert.deepEqual(conversation.messages.map((one) => one.seq), [1, 2]);
  again.give({ t: 'message', ...message(1, { id: first.id, user: 'alice', device: 'laptop' }) });
  assert.equal(conversation.messages.length, 2, 'the echo adds nothing');
});

test('the echo of a message settles it if the acknowledgement was lost', async () => {
  const { session, socket, welcome } = await connected();
  const conversation = session.conversations.get('c1')!;
  const sent = conversation.send('hello');
  socket.die();
  mock.timers.tick(20_000);
  await settle();
  const again = welcome({ heads: [head(1)] });
  again.give({ t: 'message', ...message(1, { id: sent.id, user: 'alice', device: 'laptop' }) });
  await settle();
  assert.equal(session.unsent, 0);
  assert.equal(conversation.outgoing.length, 0);
});

test('a retryable refusal is waited out, a final one is told', async () => {
  const { session, socket } = await connected();
  const conversation = session.conversations.get('c1')!;
  const sent = conversation.send('hello');
  socket.give({ t: 'error', id: sent.id, code: 'rate_limited', text: 'slow down', retry_ms: 700 });
  await settle();
  mock.timers.tick(699);
  await settle();
  assert.equal(socket.all('send').length, 1);
  mock.timers.tick(1);
  await settle();
  assert.equal(socket.all('send').length, 2);
  socket.give({ t: 'error', id: sent.id, code: 'too_large', text: 'too large' });
  await settle();
  assert.equal(sent.failed?.code, 'too_large');
  assert.equal(session.unsent, 0);
});

test('unsent messages outlive the page', async () => {
  const kept = new Map<string, string>();
  const keep = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
  const first = world({ keep });
  first.session.connect();
  await settle();
  first.welcome({ heads: [head()] });
  const sent = first.session.conversations.get('c1')!.send('hold on');
  const second = await connected([head()], { keep });
  assert.equal(second.socket.all('send')[0]?.id, sent.id);
});

test('reconnecting resumes from the cursors and waits as bye says', async () => {
  const { session, socket, sockets } = await connected();
  socket.give({ t: 'message', ...message(1) });
  socket.give({ t: 'bye', code: 'shutdown', retry_ms: [1000, 3000] });
  assert.equal(session.state, 'waiting');
  mock.timers.tick(1999);
  await settle();
  assert.equal(sockets.length, 1);
  mock.timers.tick(1);
  await settle();
  assert.equal(sockets.length, 2);
  sockets[1]!.open();
  assert.deepEqual((sockets[1]!.sent[0] as { cursors: unknown }).cursors, { c1: 1 });
});

test('a replaced or revoked device stays away', async () => {
  const { session, socket, sockets } = await connected();
  let code = '';
  session.on('refused', (error) => (code = error.code));
  socket.give({ t: 'bye', code: 'replaced', retry_ms: [0, 0] });
  mock.timers.tick(60_000);
  await settle();
  assert.equal(code, 'replaced');
  assert.equal(session.state, 'closed');
  assert.equal(sockets.length, 1);
});

test('a hole is fetched if it does not fill by itself', async () => {
  const { session, socket } = await connected();
  socket.give({ t: 'message', ...message(1) });
  socket.give({ t: 'message', ...message(4) });
  assert.equal(session.conversations.get('c1')!.cursor, 1);
  mock.timers.tick(2_000);
  await settle();
  const ask = socket.all('history').at(-1)!;
  assert.equal(ask.after, 1);
  socket.give({ t: 'page', id: ask.id, conv: 'c1', messages: [message(2), message(3), message(4)], more: false });
  await settle();
  assert.equal(session.conversations.get('c1')!.cursor, 4);
});

test('a gap moves the cursor and is told', async () => {
  const { session, socket } = await connected();
  const gaps: number[] = [];
  session.on('gap', ({ gap }) => gaps.push(gap.to));
  socket.give({ t: 'gap', conv: 'c1', from: 1, to: 16, why: 'expired' });
  socket.give({ t: 'message', ...message(17) });
  assert.deepEqual(gaps, [16]);
  assert.equal(session.conversations.get('c1')!.cursor, 17);
});

test('behind makes the client pull pages until there are no more', async () => {
  const { session, socket } = await connected();
  socket.give({ t: 'message', ...message(1) });
  socket.give({ t: 'behind' });
  await settle();
  const first = socket.all('history').at(-1)!;
  socket.give({ t: 'page', id: first.id, conv: 'c1', messages: [message(2)], more: true });
  await settle();
  const second = socket.all('history').at(-1)!;
  assert.equal(second.after, 2);
  socket.give({ t: 'page', id: second.id, conv: 'c1', messages: [message(3)], more: false });
  await settle();
  assert.equal(session.conversations.get('c1')!.cursor, 3);
});

test('marks and unread counts follow receipts', async () => {
  const { session, socket } = await connected();
  const conversation = session.conversations.get('c1')!;
  const mine = message(1, { user: 'alice', device: 'laptop' });
  socket.give({ t: 'message', ...mine });
  socket.give({ t: 'message', ...message(2) });
  const missed = { call: 'x', outcome: 'missed', caller: 'bob', video: true, seconds: 0 };
  socket.give({ t: 'message', ...message(3, { kind: 'call', body: missed }) });
  assert.equal(conversation.mark(mine), 'sent');
  assert.equal(conversation.unread, 2);
  socket.give({ t: 'receipt', conv: 'c1', user: 'bob', delivered: 1, read: 0 });
  assert.equal(conversation.mark(mine), 'delivered');
  socket.give({ t: 'receipt', conv: 'c1', user: 'bob', delivered: 1, read: 1 });
  assert.equal(conversation.mark(mine), 'read');
  conversation.markRead();
  assert.equal(conversation.unread, 0);
  assert.equal(socket.all('read').at(-1)?.seq, 3);
});

const ring = (more = {}) => ({
  t: 'call', call: 'k1', conv: 'c1', state: 'inviting', ver: 1, caller: { user: 'bob', device: 'phone' },
  media: { audio: true, video: true }, ring_until: Date.now() + 60_000, you: 'none',
  legs: [{ user: 'bob', device: 'phone', state: 'inviting', media: { audio: true, video: true } }], at: Date.now(), ...more,
});

test('an incoming call rings once, is told to ring, and old news about it is ignored', async () => {
  const { session, socket } = await connected();
  const rings: Call[] = [];
  session.on('ring', (call) => rings.push(call));
  socket.give(ring());
  await settle();
  socket.give(ring({ ver: 2, state: 'ringing', you: 'ringing' }));
  await settle();
  assert.equal(rings.length, 1);
  assert.equal(socket.all('call.ringing').length, 1);
  socket.give(ring({ ver: 3, state: 'connecting', you: 'answered_elsewhere' }));
  socket.give(ring({ ver: 2, state: 'ringing', you: 'ringing' }));
  assert.equal(rings[0]!.you, 'answered_elsewhere');
  assert.equal(rings[0]!.ringing, false);
});

test('a call that my other device declined does not ring here', async () => {
  const { session, socket } = await connected();
  let rings = 0;
  session.on('ring', () => rings++);
  socket.give(ring({ state: 'ringing', ver: 4, legs: [{ user: 'alice', device: 'phone', state: 'declined' }] }));
  assert.equal(rings, 0);
});

test('an invitation is repeated through a lost connection, under the same id, and may become the other side\'s call', async () => {
  const { session, socket, welcome } = await connected();
  const conversation = session.conversations.get('c1')!;
  const invited = session.invite(conversation, { audio: true, video: false });
  await settle();
  const first = socket.all('call.invite')[0]!;
  socket.die();
  await settle();
  for (let i = 0; i < 4; i++) {
    mock.timers.tick(500);
    await settle();
  }
  const again = welcome({ heads: [head()] });
  await settle();
  mock.timers.tick(500);
  await settle();
  const second = again.all('call.invite')[0]!;
  assert.equal(second.id, first.id);
  assert.equal(second.call, first.call);
  again.give({ t: 'ok', id: second.id, call: 'k1', ver: 2 });
  const call = await invited;
  assert.equal(call.id, 'k1');
});

test('calls that ended while away end here too', async () => {
  const { session, socket, welcome } = await connected();
  socket.give(ring({ state: 'connected', you: 'joined', ver: 5 }));
  const call = session.calls.get('k1')!;
  let reason = '';
  call.on('ended', (why) => (reason = why));
  socket.die();
  mock.timers.tick(20_000);
  await settle();
  welcome({ heads: [head()] });
  assert.equal(reason, 'ended');
});

test('a request that is not answered takes the connection down', async () => {
  const { session, socket } = await connected();
  session.conversations.get('c1')!.send('anybody there?');
  mock.timers.tick(10_000);
  await settle();
  assert.notEqual(session.state, 'online');
  assert.equal(socket.readyState, 3);
});

test('bad frames and unknown types are ignored', async () => {
  const { session, socket } = await connected();
  const warn = mock.method(console, 'warn', () => undefined);
  socket.give({ t: 'message', conv: 'c1' });
  socket.give({ t: 'from.the.future' });
  socket.onmessage?.({ data: '{' });
  warn.mock.restore();
  assert.equal(session.state, 'online');
  assert.equal(session.conversations.get('c1')!.messages.length, 0);
});

test('a fresh token is fetched when the old one has expired', async () => {
  let tokens = 0;
  const here = world({ token: () => `token-${++tokens}` });
  let refused = '';
  here.session.on('refused', (error) => (refused = error.code));
  here.session.connect();
  await settle();
  here.socket().open();
  here.socket().give({ t: 'error', code: 'expired_token', text: 'expired' });
  mock.timers.tick(20_000);
  await settle();
  here.socket().open();
  assert.equal((here.socket().sent[0] as { token: string }).token, 'token-2');
  assert.equal(refused, '');
});

test('waits grow, stay within their ceiling and within what bye names', () => {
  assert.equal(retryDelay(0, () => 0), 250);
  assert.equal(retryDelay(0, () => 1), 500);
  assert.equal(retryDelay(40, () => 1), 15_000);
  assert.equal(retryDelay(3, () => 0.5, [1000, 2000]), 1500);
});

test('UUIDv7 carries the time, the version and the variant', () => {
  const id = uuidv7(0x0123456789ab);
  assert.match(id, /^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(id, uuidv7(0x0123456789ab));
});
