/** A media store that is a script, in memory: tus as far as a client sees it, grants, links, and everything that can go wrong. */
import assert from 'node:assert/strict';
import type { HttpRequest, HttpResponse, HttpStack } from 'tus-js-client';
import type { ByteKeep } from '../src/bytes.js';
import type { Attachment, Problem, UploadStatus } from '../src/wire.js';

interface Stored {
  id: string;
  size: number;
  bytes: Uint8Array[];
  state: UploadStatus['state'];
  attachment?: Attachment;
  problem?: Problem;
  metadata: Record<string, string>;
}

interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** A PATCH that is held: the test decides how it goes on. */
export interface Held {
  id: string;
  offset: number;
  /** The server takes so many bytes, and the client sees them leave. */
  take(bytes: number): void;
  /** It takes the rest and answers. */
  finish(): void;
  /** The connection dies. */
  cut(): void;
  answer(answer: Answer): void;
  aborted: boolean;
}

export const problem = (status: number, code: string, more: Partial<Problem> = {}): Answer => ({ status, body: { title: code, status, code, ...more } });

export const photo = (id: string, more: Partial<Attachment> = {}): Attachment => ({
  id, kind: 'photo', name: 'a.jpg', type: 'image/jpeg', bytes: 1000, width: 4000, height: 3000, variants: ['320', '1280', '2048'], ...more,
});

export class FakeStore {
  readonly uploads = new Map<string, Stored>();
  /** Every request as `METHOD path`. */
  readonly log: string[] = [];
  readonly held: Held[] = [];
  readonly grants: Record<string, unknown>[] = [];
  readonly polls: ((status: Partial<UploadStatus>) => void)[] = [];
  /** PATCH requests wait for the test. */
  hold = false;
  /** No request arrives. */
  down = false;
  /** What becomes of the next requests that match `METHOD path`, a prefix, in order. */
  readonly script: [string, Answer][] = [];
  bytesMax = 1_000_000_000;
  grantMs = 3_600_000;
  /** Uploads become attachments at once; otherwise the test answers `polls`. */
  quick = true;
  linksMs = 600_000;
  variants = ['320', '1280', '2048'];
  #count = 0;

  times(prefix: string): number {
    return this.log.filter((line) => line.startsWith(prefix)).length;
  }

  offset(id: string): number {
    return this.uploads.get(id)!.bytes.reduce((sum, part) => sum + part.length, 0);
  }

  content(id: string): Buffer {
    return Buffer.concat(this.uploads.get(id)!.bytes);
  }

  /** For `mock.method(globalThis, 'fetch', …)`. */
  readonly fetch = (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => new Promise((resolve, reject) => {
    const abort = (): void => reject(new DOMException('aborted', 'AbortError'));
    if (init.signal?.aborted) return abort();
    init.signal?.addEventListener('abort', abort);
    const url = new URL(String(input));
    const headers = Object.fromEntries(Object.entries(init.headers as Record<string, string>));
    void this.#rest(init.method ?? 'GET', url, headers, init.body as string | undefined).then((answer) => {
      if (answer === 'dead') return reject(new TypeError('fetch failed'));
      resolve(new Response(answer.body === undefined ? null : JSON.stringify(answer.body), { status: answer.status }));
    });
  });

  readonly httpStack: HttpStack = { createRequest: (method, url) => new FakeRequest(this, method, url), getName: () => 'fake' };

  async #rest(method: string, url: URL, headers: Record<string, string>, body: string | undefined): Promise<Answer | 'dead'> {
    this.log.push(`${method} ${url.pathname}${url.search}`);
    if (this.down) return 'dead';
    const scripted = this.scripted(`${method} ${url.pathname}`);
    if (scripted) return scripted;
    const granted = /^\/v1\/conversations\/[^/]+\/uploads$/.test(url.pathname);
    if (granted) {
      assert.equal(headers['authorization'], 'Bearer token');
      this.grants.push(JSON.parse(body!) as Record<string, unknown>);
      return { status: 201, body: { grant: `g${this.grants.length}`, endpoint: '/v1/uploads', expires_at: Date.now() + this.grantMs, bytes_max: this.bytesMax, direct: false } };
    }
    const links = /^\/v1\/attachments\/([^/]+)\/links$/.exec(url.pathname);
    if (links) {
      const names = [...this.variants, ...url.searchParams.getAll('variant')];
      const made = Object.fromEntries(names.map((name) => [name, `/v1/media/${links[1]}/${name}?k=${++this.#count}`]));
      return { status: 200, body: { id: links[1], expires_at: Date.now() + this.linksMs, links: made } };
    }
    const upload = this.uploads.get(url.pathname.split('/').at(-1)!);
    assert.match(headers['authorization']!, /^Bearer g\d+$/);
    if (!upload) return problem(404, 'not_found');
    const tell = (more: Partial<UploadStatus> = {}): Answer => {
      const { id, state, attachment, problem: why } = upload;
      return { status: 200, body: { id, state, offset: this.offset(id), bytes: upload.size, attachment, problem: why, ...more } };
    };
    if (upload.state !== 'processing' || this.quick) return tell();
    return new Promise((resolve) => this.polls.push((more) => resolve(tell(more))));
  }

  scripted(line: string): Answer | undefined {
    const index = this.script.findIndex(([prefix]) => line.startsWith(prefix));
    return index < 0 ? undefined : this.script.splice(index, 1)[0]![1];
  }

  create(size: number, metadata: Record<string, string>): Stored {
    const stored: Stored = { id: `u${++this.#count}`, size, bytes: [], state: 'receiving', metadata };
    this.uploads.set(stored.id, stored);
    return stored;
  }

  take(id: string, bytes: Uint8Array): void {
    const stored = this.uploads.get(id)!;
    stored.bytes.push(bytes);
    if (this.offset(id) < stored.size) return;
    stored.attachment = photo(id, { name: stored.metadata['filename']! });
    stored.state = this.quick ? 'ready' : 'processing';
  }
}

function parseMetadata(text: string): Record<string, string> {
  return Object.fromEntries(text.split(',').map((pair) => {
    const [key, value = ''] = pair.split(' ');
    return [key!, Buffer.from(value, 'base64').toString()];
  }));
}

class FakeRequest implements HttpRequest {
  readonly #store: FakeStore;
  readonly #method: string;
  readonly #url: string;
  readonly #headers: Record<string, string> = {};
  #progress: (bytes: number) => void = () => undefined;
  #held: Held | undefined;

  constructor(store: FakeStore, method: string, url: string) {
    this.#store = store;
    this.#method = method;
    this.#url = url;
  }

  getMethod(): string { return this.#method; }
  getURL(): string { return this.#url; }
  setHeader(name: string, value: string): void { this.#headers[name] = value; }
  getHeader(name: string): string | undefined { return this.#headers[name]; }
  setProgressHandler(handler: (bytes: number) => void): void { this.#progress = handler; }
  getUnderlyingObject(): undefined { return undefined; }

  async abort(): Promise<void> {
    if (this.#held) this.#held.aborted = true;
  }

  async send(body: Blob | null): Promise<HttpResponse> {
    const store = this.#store;
    const { pathname } = new URL(this.#url);
    store.log.push(`${this.#method} ${pathname}`);
    assert.equal(this.#headers['Tus-Resumable'], '1.0.0');
    assert.match(this.#headers['Authorization']!, /^Bearer g\d+$/);
    const bytes = body ? new Uint8Array(await body.arrayBuffer()) : undefined;
    if (store.down) throw new Error('no network');
    const scripted = store.scripted(`${this.#method} ${pathname}`);
    if (scripted) return response(scripted);
    if (this.#method === 'POST') {
      const stored = store.create(Number(this.#headers['Upload-Length']), parseMetadata(this.#headers['Upload-Metadata']!));
      if (bytes) store.take(stored.id, bytes);
      return response({ status: 201, headers: { location: `/v1/uploads/${stored.id}`, 'upload-offset': String(bytes?.length ?? 0) } });
    }
    const id = pathname.split('/').at(-1)!;
    const stored = store.uploads.get(id);
    if (!stored) return response(problem(404, 'not_found'));
    const at = (): Record<string, string> => ({ 'upload-offset': String(store.offset(id)), 'upload-length': String(stored.size) });
    if (this.#method === 'HEAD') return response({ status: 200, headers: at() });
    if (this.#method === 'DELETE') {
      store.uploads.delete(id);
      return response({ status: 204 });
    }
    const offset = Number(this.#headers['Upload-Offset']);
    if (offset !== store.offset(id)) return response(problem(409, 'wrong_offset'));
    if (!store.hold) {
      this.#progress(bytes!.length);
      store.take(id, bytes!);
      return response({ status: 204, headers: at() });
    }
    return new Promise((resolve, reject) => {
      let taken = 0;
      const held: Held = {
        id, offset, aborted: false,
        take: (count) => {
          store.take(id, bytes!.subarray(taken, taken + count));
          taken += count;
          this.#progress(taken);
        },
        finish: () => {
          held.take(bytes!.length - taken);
          resolve(response({ status: 204, headers: at() }));
        },
        cut: () => reject(new Error('connection reset')),
        answer: (answer) => resolve(response(answer)),
      };
      this.#held = held;
      store.held.push(held);
    });
  }
}

function response({ status, headers = {}, body }: Answer): HttpResponse {
  return {
    getStatus: () => status,
    getHeader: (name) => headers[name.toLowerCase()],
    getBody: () => (body === undefined ? '' : JSON.stringify(body)),
    getUnderlyingObject: () => undefined,
  };
}

export class MemoryBytes implements ByteKeep {
  readonly held = new Map<string, Blob>();
  most = Infinity;

  put(key: string, bytes: Blob): Promise<boolean> {
    if (bytes.size <= this.most) this.held.set(key, bytes);
    return Promise.resolve(bytes.size <= this.most);
  }

  get(key: string): Promise<Blob | undefined> {
    return Promise.resolve(this.held.get(key));
  }

  remove(key: string): Promise<void> {
    this.held.delete(key);
    return Promise.resolve();
  }
}

/** Lets everything happen that no timer holds back, until `done`; fails if it never comes. */
export async function until(what: string, done: () => boolean): Promise<void> {
  for (let turn = 0; turn < 500; turn++) {
    if (done()) return;
    await new Promise((next) => setImmediate(next));
  }
  assert.fail(`this did not come about: ${what}`);
}

/** The same without an end to wait for: for showing that something does not happen. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((next) => setImmediate(next));
}
