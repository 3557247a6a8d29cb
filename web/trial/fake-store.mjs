/**
 * The media half of the stand-in: grants, tus, the state of uploads, links, downloads. Everything is in memory; no grant is
 * checked for whom it is. Photos and sound are worked on by `studio.html`, opened in one more browser page; without it, what
 * is uploaded stays a file.
 */
import { randomUUID } from 'node:crypto';

export const TUS = { 'tus-resumable': '1.0.0', 'tus-version': '1.0.0', 'tus-extension': 'creation,creation-with-upload,termination,expiration' };
/** The largest of each kind, bytes. */
export const LIMITS = { photo: 40e6, voice: 20e6, file: 100e6 };
const LINK_MS = 600_000;

const uploads = new Map();
const grants = new Map();
const jobs = new Map();
let studio;

/** For the trial: how the store behaves. */
export const mood = {
  /** Bytes a second of each upload; undefined: as they come. */
  rate: undefined,
  /** How long the work on an upload takes at least. */
  workMs: 0,
  /** The next upload's work fails with this problem. */
  fail: undefined,
};

export const attachment = (id) => uploads.get(id)?.attachment;

export function connectStudio(socket) {
  studio = socket;
  socket.on('message', (data) => {
    const { id, ...made } = JSON.parse(String(data));
    jobs.get(id)?.(made);
    jobs.delete(id);
  });
}

const problem = (status, code, detail, more = {}) => ({ status, type: 'application/problem+json', body: { type: 'about:blank', title: code, status, code, detail, ...more } });
const size = (upload) => upload.parts.reduce((sum, part) => sum + part.length, 0);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function work(upload, bytes) {
  if (upload.kind === 'file' || studio?.readyState !== 1) return Promise.resolve({ kind: 'file' });
  return new Promise((done) => {
    jobs.set(upload.id, done);
    studio.send(JSON.stringify({ id: upload.id, kind: upload.kind, type: upload.type, bytes: bytes.toString('base64') }));
  });
}

async function finish(upload) {
  upload.state = 'processing';
  const bytes = Buffer.concat(upload.parts);
  const { fail } = mood;
  mood.fail = undefined;
  const [made] = await Promise.all([fail ? {} : work(upload, bytes), sleep(mood.workMs)]);
  const { variants, why, ...content } = made;
  if (fail) {
    Object.assign(upload, { state: 'failed', problem: { title: 'Unprocessable Content', status: 422, ...fail } });
  } else {
    const whole = { type: upload.type || 'application/octet-stream', bytes };
    upload.variants = { voice: { audio: whole }, file: { file: whole } }[made.kind]
      ?? Object.fromEntries(Object.entries(variants).map(([edge, { type, data }]) => [edge, { type, bytes: Buffer.from(data, 'base64') }]));
    if (made.animated) upload.variants.original = whole;
    else delete content.animated;
    const names = Object.keys(upload.variants);
    const best = upload.variants[names.filter((name) => name !== 'original').at(-1)];
    upload.attachment = { id: upload.id, name: upload.name, type: best.type, bytes: best.bytes.length, ...content, variants: names };
    upload.state = 'ready';
  }
  for (const told of upload.waiting.splice(0)) told();
}

/** Takes what comes, and keeps it even if the connection breaks in the middle. */
async function receive(upload, request) {
  upload.taker?.destroy();
  upload.taker = request;
  try {
    for await (const chunk of request) {
      if (upload.taker !== request) break;
      upload.parts.push(chunk);
      if (mood.rate) await sleep((chunk.length / mood.rate) * 1000);
    }
  } catch {
    return false;
  }
  if (upload.taker !== request) return false;
  upload.taker = undefined;
  if (upload.bytes === size(upload)) void finish(upload);
  return true;
}

function metadata(text = '') {
  return Object.fromEntries(text.split(',').filter(Boolean).map((pair) => {
    const [key, value = ''] = pair.trim().split(' ');
    return [key, Buffer.from(value, 'base64').toString()];
  }));
}

async function create(request, grant) {
  const bytes = Number(request.headers['upload-length']);
  if (!(bytes <= grant.bytes_max)) return problem(413, 'too_large', 'larger than the grant allows', { limit: grant.bytes_max });
  const { filename, filetype } = metadata(request.headers['upload-metadata']);
  const upload = { id: randomUUID(), kind: grant.kind, name: filename ?? grant.name, type: filetype ?? grant.type, bytes, parts: [], state: 'receiving', waiting: [] };
  uploads.set(upload.id, upload);
  await receive(upload, request);
  return { status: 201, headers: { ...TUS, location: `/v1/uploads/${upload.id}`, 'upload-offset': size(upload) } };
}

async function tus(request, upload) {
  const where = () => ({ ...TUS, 'upload-offset': size(upload), 'upload-length': upload.bytes, 'cache-control': 'no-store' });
  switch (request.method) {
    case 'HEAD': return { status: 200, headers: where() };
    case 'DELETE':
      uploads.delete(upload.id);
      return { status: 204, headers: TUS };
    case 'PATCH':
      if (Number(request.headers['upload-offset']) !== size(upload)) return { ...problem(409, 'wrong_offset', 'the upload is elsewhere'), headers: TUS };
      if (!(await receive(upload, request))) return problem(423, 'taken_over', 'another request has gone on with this upload');
      return { status: 204, headers: where() };
    default: return problem(405, 'bad_request', 'no such method');
  }
}

async function status(upload, waitS) {
  if (upload.state !== 'ready' && upload.state !== 'failed') await Promise.race([new Promise((told) => upload.waiting.push(told)), sleep(waitS * 1000)]);
  const { id, state, bytes, attachment: made, problem: why } = upload;
  return { status: 200, body: { id, state, offset: size(upload), bytes, attachment: made, problem: why } };
}

function download(request, upload, name) {
  const variant = upload.variants?.[name];
  if (!variant) return problem(404, 'not_found', 'not found');
  const inline = /^(image\/(?!svg)|audio\/|video\/)/.test(variant.type);
  const headers = {
    'content-type': variant.type, 'x-content-type-options': 'nosniff', 'content-security-policy': "sandbox; default-src 'none'",
    'cache-control': 'private, max-age=600, immutable', etag: `"${upload.id}-${name}"`, 'accept-ranges': 'bytes',
    'content-disposition': `${inline ? 'inline' : 'attachment'}; filename*=UTF-8''${encodeURIComponent(upload.name ?? 'file')}`,
  };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const { bytes } = variant;
  if (!range) return { status: 200, headers, raw: bytes };
  const from = Number(range[1]);
  const to = Math.min(range[2] ? Number(range[2]) : Infinity, bytes.length - 1);
  return { status: 206, headers: { ...headers, 'content-range': `bytes ${from}-${to}/${bytes.length}` }, raw: bytes.subarray(from, to + 1) };
}

/** The answer to a request of the media half; undefined if it is none. */
export async function serveStore(request, url) {
  const { pathname } = url;
  const bearer = request.headers.authorization?.replace(/^Bearer /, '');
  let found;
  if (/^\/v1\/conversations\/[^/]+\/uploads$/.test(pathname)) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const asked = JSON.parse(body);
    if (asked.bytes > LIMITS[asked.kind]) return problem(413, 'too_large', 'larger than is allowed', { limit: LIMITS[asked.kind] });
    const grant = randomUUID();
    grants.set(grant, { ...asked, bytes_max: LIMITS[asked.kind] });
    return { status: 201, body: { grant, endpoint: '/v1/uploads', expires_at: Date.now() + 3_600_000, bytes_max: LIMITS[asked.kind], direct: false } };
  }
  if (pathname === '/v1/uploads') {
    if (request.method === 'OPTIONS') return { status: 204, headers: TUS };
    return grants.has(bearer) ? create(request, grants.get(bearer)) : problem(401, 'bad_grant', 'no grant of ours');
  }
  if ((found = /^\/v1\/uploads\/([^/]+)$/.exec(pathname))) {
    const upload = uploads.get(found[1]);
    if (!grants.has(bearer)) return problem(401, 'bad_grant', 'no grant of ours');
    if (!upload) return problem(404, 'not_found', 'not found');
    return request.method === 'GET' ? status(upload, Number(url.searchParams.get('wait_s') ?? 0)) : tus(request, upload);
  }
  if ((found = /^\/v1\/attachments\/([^/]+)\/links$/.exec(pathname))) {
    const upload = uploads.get(found[1]);
    if (!upload?.variants) return problem(404, 'not_found', 'not found');
    const until = Date.now() + LINK_MS;
    return { status: 200, body: { id: upload.id, expires_at: until, links: Object.fromEntries(Object.keys(upload.variants).map((name) => [name, `/v1/media/${upload.id}/${name}?k=${until}`])) } };
  }
  if ((found = /^\/v1\/media\/([^/]+)\/([^/]+)$/.exec(pathname))) {
    const upload = uploads.get(found[1]);
    if (Number(url.searchParams.get('k')) < Date.now()) return problem(403, 'link_expired', 'this link has expired');
    return upload ? download(request, upload, found[2]) : problem(404, 'not_found', 'not found');
  }
  return undefined;
}
