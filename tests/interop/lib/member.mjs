// What a client of the media store does, in plain HTTP: no library of ours between a test and the wire.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';

export const MIB = 1024 * 1024;
export const OCTETS = 'application/offset+octet-stream';

export function sha256(...pieces) {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** The same bytes for the same seed, which no compression makes smaller and no sniffer takes for text. */
export function noise(bytes, seed = 1) {
  const made = Buffer.alloc(bytes);
  const block = Buffer.alloc(65_536);
  let state = seed >>> 0;
  for (let at = 0; at < block.length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    block.writeUInt32LE((state ^ (state >>> 15)) >>> 0, at);
  }
  // Each block differs from the last in its first bytes, so that one in the wrong place is noticed.
  for (let at = 0, n = seed; at < bytes; at += block.length, n += 1) {
    block.copy(made, at);
    if (bytes - at >= 4) made.writeUInt32LE(n >>> 0, at);
  }
  return made;
}

/** Status and stable code of an RFC 9457 problem. */
export async function problemOf(response) {
  assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/, `${response.status} is told by a problem`);
  const document = await response.json();
  assertProblem(document);
  assert.equal(document.status, response.status);
  return { status: document.status, code: document.code };
}

export function assertProblem(document) {
  assert.equal(document.type, 'about:blank');
  assert.ok(document.title && typeof document.title === 'string', JSON.stringify(document));
  assert.match(document.code, /^[a-z_]+$/);
}

/** Somebody who may use REST. `credentials` are the headers that say who it is. */
export class Member {
  static async of(server, user) {
    return new Member(server, user, { authorization: `Bearer ${await server.token(user)}` });
  }

  /** A chat server that acts for a user. */
  static actingFor(server, user, serverKey) {
    return new Member(server, user, { authorization: `Bearer ${serverKey}`, 'trunkline-user': user });
  }

  constructor(server, user, credentials) {
    this.server = server;
    this.user = user;
    this.credentials = credentials;
  }

  /** A REST request; whatever comes back. */
  ask(method, path, body) {
    const headers = { ...this.credentials, ...(body && { 'content-type': 'application/json' }) };
    return fetch(this.server.url + path, { method, headers, body: body && JSON.stringify(body) });
  }

  /** The same, when it must succeed: the answer's JSON. */
  async tell(method, path, body) {
    const response = await this.ask(method, path, body);
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** A grant for one upload: `{ grant, endpoint, … }`. */
  grant(conv, kind, wish = {}) {
    return this.tell('POST', `/v1/conversations/${conv}/uploads`, { kind, ...wish });
  }

  /** Links by variant; `extra` names one that is made on demand. */
  async links(id, extra) {
    return (await this.tell('GET', `/v1/attachments/${id}/links${extra ? `?variant=${extra}` : ''}`)).links;
  }

  /** A message that refers to attachments. */
  send(conv, attachments, text = 'Look!') {
    return this.tell('POST', `/v1/conversations/${conv}/messages`, { id: randomUUID(), kind: 'text', body: { text }, attachments });
  }

  /** Uploads in one request, and gives what became of it: `{ state, attachment?, problem?, path, grant }`. */
  async upload(conv, kind, bytes, { name, type } = {}) {
    const { grant } = await this.grant(conv, kind, { bytes: bytes.length, ...(name && { name }), ...(type && { type }) });
    const upload = await Upload.create(this.server, grant, { bytes: bytes.length, body: bytes });
    return { ...await upload.settled(), path: upload.path, grant };
  }

  /** The same, when it must become an attachment. */
  async attach(conv, kind, bytes, options) {
    const { state, attachment, problem } = await this.upload(conv, kind, bytes, options);
    assert.equal(state, 'ready', JSON.stringify(problem));
    return attachment;
  }

  /** What a variant's link gives. */
  async download(id, variant, headers = {}) {
    const links = await this.links(id);
    assert.ok(links[variant], `${variant} is among ${Object.keys(links)}`);
    const response = await fetch(this.server.url + links[variant], { headers });
    if (!response.ok) throw new Error(`${variant}: ${response.status} ${await response.text()}`);
    return response;
  }

  async bytesOf(id, variant) {
    return Buffer.from(await (await this.download(id, variant)).arrayBuffer());
  }
}

/** An upload in progress, by tus. */
export class Upload {
  /** `bytes` is the length, or undefined where it is not known yet; `body` goes along with the creation. */
  static async create(server, grant, { bytes, body, headers = {} } = {}) {
    const length = bytes === undefined ? { 'upload-defer-length': '1' } : { 'upload-length': String(bytes) };
    const response = await fetch(`${server.url}/v1/uploads`, {
      method: 'POST', body, headers: { ...tus(grant), ...length, ...(body && { 'content-type': OCTETS }), ...headers },
    });
    if (response.status !== 201) throw new Error(`creation: ${response.status} ${await response.text()}`);
    return new Upload(server, grant, response.headers.get('location'));
  }

  constructor(server, grant, path) {
    Object.assign(this, { server, grant, path });
  }

  get id() {
    return this.path.split('/').at(-1);
  }

  async offset() {
    const response = await fetch(this.server.url + this.path, { method: 'HEAD', headers: tus(this.grant) });
    assert.equal(response.status, 200);
    return Number(response.headers.get('upload-offset'));
  }

  patch(offset, body, headers = {}) {
    return fetch(this.server.url + this.path, {
      method: 'PATCH', body, headers: { ...tus(this.grant), 'upload-offset': String(offset), 'content-type': OCTETS, ...headers },
      ...(body instanceof ReadableStream && { duplex: 'half' }),
    });
  }

  /** What has become of it, once something has. */
  async settled() {
    for (;;) {
      const response = await fetch(`${this.server.url}${this.path}?wait_s=30`, { headers: { authorization: `Bearer ${this.grant}` } });
      if (!response.ok) throw new Error(`the upload's state: ${response.status} ${await response.text()}`);
      const status = await response.json();
      if (status.state === 'ready' || status.state === 'failed') return status;
    }
  }
}

function tus(grant) {
  return { authorization: `Bearer ${grant}`, 'tus-resumable': '1.0.0' };
}
