/**
 * A stand-in for the server, for looking at the page while working on it: one process, nothing kept, no rule enforced.
 * Media goes through `sfu.html` and uploads through `studio.html`, each opened in one more browser page: see there.
 */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';
import { attachment, connectStudio, mood, serveStore } from './fake-store.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const dist = join(here, '../demo/dist');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const HELPERS = {
  '/fake-sfu': join(here, 'sfu.html'), '/fake-studio': join(here, 'studio.html'),
  '/fake-thumbhash.js': join(here, '../node_modules/thumbhash/thumbhash.js'),
};
/** The server's own, see `src/web.rs`. */
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; "
  + "connect-src 'self'; manifest-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const conversations = new Map();
const sessions = new Set();
const calls = new Map();
let sfu;

const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
const tokenFor = (user) => `x.${Buffer.from(JSON.stringify({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })).toString('base64url')}.x`;
const member = (conv, user) => conv.members.find((one) => one.user === user);
const head = ({ conv, title, messages, members }) => ({ conv, title, last_seq: messages.length, min_seq: 1, members });

function cast(conv, frame) {
  for (const session of sessions) if (member(conv, session.user)) session.give(frame);
}

export function converse(members, title) {
  for (const conv of conversations.values()) {
    if (!title && !conv.title && members.length === 2 && conv.members.length === 2 && members.every((user) => member(conv, user))) return conv;
  }
  const conv = {
    conv: `c${conversations.size + 1}`, title, messages: [],
    members: members.map((user, index) => ({ user, role: index ? 'member' : 'owner', delivered: 0, read: 0 })),
  };
  conversations.set(conv.conv, conv);
  cast(conv, { t: 'conversation', ...head(conv) });
  return conv;
}

export function post(conv, user, device, id, kind, body, attachments = [], at = Date.now()) {
  const before = conv.messages.find((one) => one.id === id && one.device === device);
  if (before) return before;
  const message = { conv: conv.conv, seq: conv.messages.length + 1, id, user, device, kind, body, attachments, at };
  conv.messages.push(message);
  cast(conv, { t: 'message', ...message });
  return message;
}

// ——— calls

const view = (call, session) => {
  const leg = call.legs.find((one) => one.user === session?.user && one.device === session?.device);
  const { call: id, conv, state, ver, caller, media, ring_until, legs, reason } = call;
  return { call: id, conv, state, ver, caller, media, ring_until, you: leg?.state ?? 'none', legs, reason, at: Date.now() };
};

function changed(call) {
  call.ver++;
  for (const session of sessions) {
    if (member(conversations.get(call.conv), session.user)) session.give({ t: 'call', ...view(call, session) });
  }
}

function finish(call, reason) {
  if (call.state === 'ended') return;
  const outcome = { timed_out: 'missed' }[reason] ?? reason;
  const seconds = call.since ? Math.round((Date.now() - call.since) / 1000) : 0;
  call.state = 'ended';
  call.reason = reason;
  clearTimeout(call.timer);
  sfu?.give({ t: 'end', call: call.call });
  changed(call);
  post(conversations.get(call.conv), call.caller.user, call.caller.device, call.call, 'call', { call: call.call, outcome, caller: call.caller.user, video: call.media.video, seconds });
}

function leg(call, session, state, media) {
  let mine = call.legs.find((one) => one.user === session.user && one.device === session.device);
  if (!mine) call.legs.push((mine = { user: session.user, device: session.device, state, media: media ?? null }));
  mine.state = state;
  if (media) mine.media = media;
}

const joined = (call) => call.legs.filter((one) => one.state === 'joined');

const handlers = {
  send: (s, f) => {
    const attachments = (f.attachments ?? []).map(attachment);
    if (attachments.includes(undefined)) return s.give({ t: 'error', id: f.id, code: 'bad_attachment', text: 'a file of this message is not there any more' });
    const message = post(conversations.get(f.conv), s.user, s.device, f.id, f.kind, f.body, attachments);
    s.give({ t: 'ok', id: f.id, conv: f.conv, seq: message.seq, at: message.at });
  },
  ack: (s, f) => receipt(s, f, 'delivered'),
  read: (s, f) => receipt(s, f, 'read'),
  typing: (s, f) => {
    for (const other of sessions) if (other.user !== s.user && member(conversations.get(f.conv), other.user)) other.give({ t: 'typing', conv: f.conv, user: s.user });
  },
  history: (s, f) => {
    const { messages } = conversations.get(f.conv);
    const limit = f.limit ?? 50;
    const all = f.after !== undefined ? messages.filter((one) => one.seq > f.after) : messages.filter((one) => one.seq < (f.before ?? Infinity));
    const page = f.after !== undefined ? all.slice(0, limit) : all.slice(-limit);
    s.give({ t: 'page', id: f.id, conv: f.conv, messages: page, more: all.length > page.length });
  },
  'call.invite': (s, f) => {
    const call = { call: f.call, conv: f.conv, state: 'inviting', ver: 0, caller: { user: s.user, device: s.device }, media: f.media, ring_until: Date.now() + 60_000, legs: [] };
    calls.set(f.call, call);
    leg(call, s, 'inviting', f.media);
    s.give({ t: 'ok', id: f.id, call: f.call, ver: 1 });
    call.timer = setTimeout(() => finish(call, 'timed_out'), 60_000);
    changed(call);
  },
  'call.ringing': (s, f) => {
    const call = calls.get(f.call);
    if (call.state === 'inviting') call.state = 'ringing';
    leg(call, s, 'ringing');
    changed(call);
  },
  'call.accept': (s, f) => {
    const call = calls.get(f.call);
    if (call.state === 'ended') return s.give({ t: 'error', id: f.id, code: 'call_ended', text: 'the call has ended' });
    clearTimeout(call.timer);
    for (const one of call.legs) {
      if (one.user === s.user && one.state === 'ringing') one.state = 'answered_elsewhere';
      if (one.state === 'inviting') one.state = 'joined';
    }
    leg(call, s, 'joined', f.media);
    call.since ??= Date.now();
    if (call.state !== 'connected') call.state = 'connecting';
    s.give({ t: 'ok', id: f.id, call: f.call, ver: call.ver + 1 });
    changed(call);
  },
  'call.decline': (s, f) => over(s, f, 'declined', 'declined'),
  'call.cancel': (s, f) => over(s, f, 'left', 'cancelled'),
  'call.end': (s, f) => over(s, f, 'left', 'ended'),
  'call.media': (s, f) => {
    leg(calls.get(f.call), s, 'joined', f.media);
    changed(calls.get(f.call));
  },
  'media.offer': (s, f) => sfu
    ? sfu.give({ t: 'offer', id: f.id, call: f.call, user: s.user, device: s.device, sdp: f.sdp })
    : s.give({ t: 'error', id: f.id, code: 'unavailable', text: 'no media here', retry_ms: 1000 }),
  'media.view': () => undefined,
};

function over(session, frame, state, reason) {
  const call = calls.get(frame.call);
  leg(call, session, state);
  session.give({ t: 'ok', id: frame.id, call: frame.call, ver: call.ver + 1 });
  sfu?.give({ t: 'left', call: call.call, user: session.user, device: session.device });
  const two = conversations.get(call.conv).members.length === 2;
  if (two || joined(call).length < 2) finish(call, reason);
  else changed(call);
}

function receipt(session, { conv: id, seq }, what) {
  const conv = conversations.get(id);
  const mine = member(conv, session.user);
  mine[what] = Math.max(mine[what], seq);
  mine.delivered = Math.max(mine.delivered, mine.read);
  cast(conv, { t: 'receipt', conv: id, user: session.user, delivered: mine.delivered, read: mine.read });
}

// ——— connections

function hello(session, frame) {
  Object.assign(session, { user: claims(frame.token).sub, device: frame.device });
  for (const other of sessions) {
    if (other.user === session.user && other.device === session.device) {
      other.give({ t: 'bye', code: 'replaced', retry_ms: [0, 0] });
      other.socket.close();
    }
  }
  sessions.add(session);
  const mine = [...conversations.values()].filter((conv) => member(conv, session.user));
  session.give({
    t: 'welcome', session: 's', user: session.user, device: session.device, now: Date.now(), heads: mine.map(head),
    calls: [...calls.values()].filter((call) => call.state !== 'ended' && mine.some((one) => one.conv === call.conv)).map((call) => view(call, session)),
    limits: { frame_bytes: 65536, body_bytes: 16384, history: 200, sends_per_second: 20 }, relays: null,
  });
  for (const [id, cursor] of Object.entries(frame.cursors)) {
    for (const message of conversations.get(id)?.messages.slice(cursor) ?? []) session.give({ t: 'message', ...message });
  }
}

function connect(socket) {
  const session = { socket, user: undefined, device: undefined, give: (frame) => socket.readyState === 1 && socket.send(JSON.stringify(frame)) };
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data));
    if (frame.t === 'hello') hello(session, frame);
    else handlers[frame.t]?.(session, frame);
  });
  socket.on('close', () => sessions.delete(session));
}

function connectSfu(socket) {
  sfu = { give: (frame) => socket.send(JSON.stringify(frame)) };
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data));
    const call = calls.get(frame.call);
    if (frame.t === 'connected') {
      if (call?.state === 'connecting') {
        call.state = 'connected';
        changed(call);
      }
      return;
    }
    const { user, device, ...rest } = frame;
    for (const session of sessions) if (session.user === user && session.device === device) session.give(rest);
  });
}

async function serve(request, response) {
  const url = new URL(request.url, 'http://x');
  const { pathname } = url;
  const media = await serveStore(request, url);
  if (media) {
    const { status, headers = {}, raw, body, type = 'application/json' } = media;
    return response.writeHead(status, body ? { 'content-type': type, ...headers } : headers).end(raw ?? (body && JSON.stringify(body)));
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const answer = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  if (pathname === '/v1/demo/login') return answer(200, { token: tokenFor(JSON.parse(body).user) });
  if (pathname === '/v1/conversations') {
    const { members, title } = JSON.parse(body);
    return answer(201, head(converse(members, title)));
  }
  const helper = HELPERS[pathname];
  const file = helper ?? join(dist, normalize(pathname === '/' ? '/index.html' : pathname));
  try {
    const headers = { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' };
    if (!helper) headers['content-security-policy'] = CSP;
    const bytes = await readFile(file);
    response.writeHead(200, headers).end(bytes);
  } catch {
    response.writeHead(404).end();
  }
}

const SOCKETS = { '/fake-sfu': connectSfu, '/fake-studio': connectStudio };

export function start(port = 0) {
  const server = createServer((request, response) => void serve(request, response));
  // A page made of helpers sends whole photos.
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 100_000_000 });
  server.on('upgrade', (request, socket, first) => sockets.handleUpgrade(request, socket, first, (ws) => (SOCKETS[request.url] ?? connect)(ws)));
  return new Promise((done) => server.listen(port, '127.0.0.1', () => done({
    url: `http://127.0.0.1:${server.address().port}`,
    mood,
    drop: () => sessions.forEach((session) => session.socket.terminate()),
    close: () => server.close(),
  })));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await start(Number(process.argv[2] ?? 8090))).url);
