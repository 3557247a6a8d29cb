/** One thing on its way to the server: asked for, sent, gone on with, and waited for until it is an attachment. */
import type { HttpStack } from 'tus-js-client';
import { transfer } from './transfer.js';
import { Emitter, RequestError, isRetryable, retryDelay, sizeWords } from './util.js';
import type { Attachment, AttachmentKind, UploadGrant, UploadStatus } from './wire.js';

export type UploadState =
  /** Waits for its turn. */
  | 'queued'
  /** Asks whether it may. */
  | 'granting'
  | 'uploading'
  | 'paused'
  /** The server has it all and works on it. */
  | 'processing'
  | 'ready'
  | 'failed'
  | 'cancelled';

export interface UploadProgress {
  sent: number;
  total: number;
  /** 0–1. */
  ratio: number;
}

export interface UploadEvents {
  state: UploadState;
  progress: UploadProgress;
  /** Anything to draw anew but the progress: its state, what it waits for, its id. */
  change: Upload;
}

/** What outlives a reload. */
export interface UploadRecord {
  readonly key: string;
  readonly conv: string;
  kind: AttachmentKind;
  readonly name: string;
  readonly type: string;
  readonly bytes: number;
  /** When the file was last changed; 0 if it is no file. Tells it from another when the person chooses it again. */
  readonly stamp: number;
  readonly at: number;
  /** The message it is to be part of. */
  readonly parcel?: { id: string; text: string; at: number } | undefined;
  grant?: string | undefined;
  grantUntil?: number | undefined;
  endpoint?: string | undefined;
  /** Where it is on the server. */
  url?: string | undefined;
  /** How far it was when last looked at, for showing. */
  sent?: number | undefined;
  /** The server has every byte. */
  whole?: boolean | undefined;
  paused?: boolean | undefined;
  failed?: { code: string; text: string; limit?: number | undefined } | undefined;
  ready?: Attachment | undefined;
}

/** What an upload asks of all uploads together. */
export interface UploadPort {
  readonly httpStack: HttpStack | undefined;
  random(): number;
  /** The server's clock, Unix milliseconds. */
  serverNow(): number;
  address(path: string): string;
  grant(record: UploadRecord): Promise<UploadGrant>;
  status(url: string, grant: string, signal: AbortSignal): Promise<UploadStatus>;
  bytes(key: string): Promise<Blob | undefined>;
  /** Asks for one of the few places; `begin` is called when there is one. */
  wantPlace(upload: Upload, first: boolean): void;
  leavePlace(upload: Upload): void;
  /** Whether it is still one of those that are not over. */
  holds(upload: Upload): boolean;
  /** Its record is to be kept, and its state to be told. */
  changed(upload: Upload): void;
  /** Something that a reload should know. */
  save(): void;
  terminate(url: string, grant: string): void;
}

/** Times that a grant or an upload may turn out to be gone before that is told to the person. */
const RESTARTS_MAX = 2;
/** A grant that ends within this is not begun with. */
const GRANT_MARGIN_MS = 5_000;
/** The server is asked what has become of an upload at most this often, should it not wait itself. */
const POLL_EVERY_MS = 1_000;
/** Statuses that say 'not now'. */
const LATER = new Set([408, 409, 423, 425, 429]);

export class Upload extends Emitter<UploadEvents> {
  /** @internal */
  readonly record: UploadRecord;
  /** Why it failed; `code` is stable. */
  error: RequestError | undefined;
  /** What it waits for before it goes on by itself: the way to the server, or the server; undefined while it goes on. */
  waiting: 'network' | 'server' | undefined;
  /** The bytes did not outlive a reload: the person has to choose the file again, see {@link offer}. */
  needsFile = false;
  /** The bytes, where this page has them: for showing. */
  file: Blob | undefined;
  readonly #port: UploadPort;
  #state: UploadState;
  #sent: number;
  /** The furthest that any attempt came: coming further is what makes an attempt a good one. */
  #reached = 0;
  #restarts = 0;
  #run: AbortController | undefined;
  #nudge: (() => void) | undefined;

  /** @internal */
  constructor(port: UploadPort, record: UploadRecord, file?: Blob) {
    super();
    this.#port = port;
    this.record = record;
    this.file = file;
    this.#sent = record.whole ? record.bytes : (record.sent ?? 0);
    this.#state = record.ready ? 'ready' : record.failed ? 'failed' : record.paused ? 'paused' : 'queued';
    if (record.failed) this.error = new RequestError(record.failed.code, record.failed.text, undefined, { limit: record.failed.limit });
  }

  /** Names it on this device, before and after the server has named it. */
  get key(): string {
    return this.record.key;
  }

  /** The server's name of it, which will be the attachment's; undefined before the server has answered. */
  get id(): string | undefined {
    return this.attachment?.id ?? this.record.url?.split(/[?#]/)[0]!.split('/').filter(Boolean).at(-1);
  }

  get conv(): string {
    return this.record.conv;
  }

  /** What it is sent as. The attachment may turn out to be another: a photo that cannot be shown is a file. */
  get kind(): AttachmentKind {
    return this.record.kind;
  }

  get name(): string {
    return this.record.name;
  }

  get type(): string {
    return this.record.type;
  }

  get state(): UploadState {
    return this.#state;
  }

  get progress(): UploadProgress {
    const total = this.record.bytes;
    return { sent: this.#sent, total, ratio: total > 0 ? this.#sent / total : this.record.whole ? 1 : 0 };
  }

  /** What it has become, once it is `ready`. */
  get attachment(): Attachment | undefined {
    return this.record.ready;
  }

  /** Stops until {@link resume}. What the server has stays there. */
  pause(): void {
    if (this.#state !== 'queued' && this.#state !== 'granting' && this.#state !== 'uploading') return;
    this.record.paused = true;
    this.#halt();
    this.#setState('paused');
  }

  /** Goes on from where the server has it. */
  resume(): void {
    if (this.#state !== 'paused' || this.needsFile) return;
    this.record.paused = undefined;
    this.#enqueue(true);
  }

  /** Starts a failed upload again, from nothing; as another kind, if it is better sent as one (a damaged photo as a file). */
  retry(kind: AttachmentKind = this.kind): void {
    if (this.#state !== 'failed') return;
    this.#dropFromServer();
    this.record.kind = kind;
    this.record.failed = undefined;
    this.error = undefined;
    this.#restarts = 0;
    this.#enqueue(true);
  }

  /** Gives it up, here and on the server. What is ready is given up only while its message waits for other files. */
  cancel(): void {
    if (this.#state === 'cancelled' || !this.#port.holds(this)) return;
    this.#halt();
    this.#dropFromServer();
    this.#setState('cancelled');
  }

  /** Gives back the file that did not outlive a reload; false if it is another one. */
  offer(file: Blob): boolean {
    if (!this.needsFile || !isSame(this.record, file)) return false;
    this.file = file;
    this.needsFile = false;
    this.resume();
    return true;
  }

  /** The bytes, wherever this device has them: for showing what an earlier page began. */
  async load(): Promise<Blob | undefined> {
    return (this.file ??= await this.#port.bytes(this.record.key));
  }

  // What follows is for all uploads together.

  /** @internal There is a place for it, or it needs none. */
  begin(): void {
    if (this.#state === 'queued') void this.#go();
  }

  /** @internal The page or the session goes; nothing is lost. */
  suspend(): void {
    if (this.#state !== 'queued' && this.#state !== 'granting' && this.#state !== 'uploading' && this.#state !== 'processing') return;
    this.#halt();
    this.#state = 'queued';
  }

  /** @internal The network or the server seems to be there again. */
  hurry(): void {
    this.#nudge?.();
  }

  // ——— going

  async #go(): Promise<void> {
    const run = new AbortController();
    this.#run = run;
    for (let attempt = 0; !run.signal.aborted;) {
      const before = this.#reached;
      try {
        await this.#step(run.signal);
        return;
      } catch (error) {
        if (run.signal.aborted) return;
        const fault = error instanceof RequestError ? error : new RequestError('internal', String(error));
        const course = this.#course(fault);
        if (course === 'fail') return this.#fail(fault);
        if (course === 'again') {
          this.#halt();
          return this.#enqueue(true);
        }
        // An attempt that brought bytes over was a good one: the next wait is short again.
        if (this.#reached > before) attempt = 0;
        await this.#wait(fault, attempt++, run.signal);
      }
    }
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { record } = this;
    if (!record.whole) {
      const file = await this.load();
      if (signal.aborted) return;
      if (!file) return this.#askForFile();
      if (record.url === undefined) await this.#ensureGrant(signal);
      if (signal.aborted) return;
      await this.#transfer(file, signal);
      record.whole = true;
      this.#sent = record.bytes;
    }
    this.#port.leavePlace(this);
    this.#setState('processing');
    await this.#untilReady(signal);
  }

  async #ensureGrant(signal: AbortSignal): Promise<void> {
    const { record } = this;
    if (record.grant !== undefined && (record.grantUntil ?? 0) - GRANT_MARGIN_MS > this.#port.serverNow()) return;
    this.#setState('granting');
    const grant = await this.#port.grant(record);
    if (signal.aborted) return;
    this.#heard();
    if (record.bytes > grant.bytes_max) throw tooLarge(record, grant.bytes_max);
    Object.assign(record, { grant: grant.grant, grantUntil: grant.expires_at, endpoint: grant.endpoint });
    this.#port.save();
  }

  async #transfer(file: Blob, signal: AbortSignal): Promise<void> {
    const { record } = this;
    this.#setState('uploading');
    try {
      await transfer(file, {
        endpoint: this.#port.address(record.endpoint ?? '/v1/uploads'),
        url: record.url,
        grant: record.grant ?? '',
        name: record.name,
        type: record.type,
        httpStack: this.#port.httpStack,
        began: (url) => {
          this.#heard();
          if (record.url === url) return;
          record.url = url;
          this.#port.changed(this);
          this.emit('change', this);
        },
        progress: (sent) => {
          this.#sent = record.sent = sent;
          if (sent > this.#reached) this.#reached = sent;
          this.emit('progress', this.progress);
        },
        nudgeable: (nudge) => (this.#nudge = nudge),
      }, signal);
    } finally {
      if (!signal.aborted) this.#nudge = undefined;
    }
  }

  async #untilReady(signal: AbortSignal): Promise<void> {
    const { record } = this;
    while (!signal.aborted) {
      const asking = new AbortController();
      const stop = (): void => asking.abort();
      signal.addEventListener('abort', stop);
      this.#nudge = stop;
      const asked = Date.now();
      let status: UploadStatus;
      try {
        status = await this.#port.status(record.url!, record.grant ?? '', asking.signal);
      } catch (error) {
        // Nudged: the question is asked again at once, over whatever network there is now.
        if (asking.signal.aborted && !signal.aborted) continue;
        throw error;
      } finally {
        signal.removeEventListener('abort', stop);
      }
      if (signal.aborted) return;
      this.#nudge = undefined;
      this.#heard();
      if (status.state === 'ready' && status.attachment) return this.#finish(status.attachment);
      if (status.state === 'failed') return this.#fail(problemOf(status));
      if (status.state === 'ready') throw new RequestError('gone', 'The server has deleted it, because it was not sent for too long.', undefined, { status: 410 });
      if (status.state === 'receiving' && status.offset < record.bytes) {
        // The server has less than it said: it lost its newest bytes. They are sent again.
        this.#halt();
        record.whole = undefined;
        return this.#enqueue(true);
      }
      // A server that answers at once (it is about to stop, or something between cuts the waiting short) is not asked in a loop.
      if (Date.now() - asked < POLL_EVERY_MS) await this.#rest(POLL_EVERY_MS, signal);
    }
  }

  /** What to do about a fault. */
  #course(fault: RequestError): 'wait' | 'again' | 'fail' {
    const { record } = this;
    const status = fault.status ?? 0;
    if (fault.code === 'disconnected' || LATER.has(status)) return 'wait';
    if (this.#state !== 'granting' && (status === 401 || status === 404 || status === 410)) {
      if (this.#restarts++ >= RESTARTS_MAX) return 'fail';
      if (status === 401) record.grant = undefined;
      if (fault.code !== 'expired_grant') record.url = record.whole = undefined;
      return 'again';
    }
    // A refusal stays one.
    if (status >= 400 && status < 500 && fault.retryMs === undefined) return 'fail';
    return status >= 500 || isRetryable(fault) ? 'wait' : 'fail';
  }

  #wait(fault: RequestError, attempt: number, signal: AbortSignal): Promise<void> {
    this.#setWaiting(fault.code === 'disconnected' ? 'network' : 'server');
    return this.#rest(fault.retryMs ?? retryDelay(attempt, () => this.#port.random()), signal);
  }

  /** Waits, unless hurried or stopped. */
  #rest(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((done) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        this.#nudge = undefined;
        done();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener('abort', end);
      this.#nudge = end;
    });
  }

  /** The server has answered. */
  #heard(): void {
    this.#setWaiting(undefined);
  }

  #askForFile(): void {
    this.needsFile = true;
    this.#halt();
    this.#setState('paused');
  }

  #finish(attachment: Attachment): void {
    this.record.ready = attachment;
    this.#halt();
    this.#setState('ready');
  }

  #fail(fault: RequestError): void {
    this.error = fault.code === 'too_large' && fault.limit !== undefined ? tooLarge(this.record, fault.limit) : fault;
    const { code, message: text, limit } = this.error;
    this.record.failed = { code, text, limit };
    this.#halt();
    this.#setState('failed');
  }

  #enqueue(first: boolean): void {
    this.#setState('queued');
    this.#port.wantPlace(this, first);
  }

  /** Ends what goes on, without a word. */
  #halt(): void {
    this.#run?.abort();
    this.#run = undefined;
    this.#nudge = undefined;
    this.waiting = undefined;
    this.#port.leavePlace(this);
  }

  #dropFromServer(): void {
    const { record } = this;
    if (record.url !== undefined) this.#port.terminate(record.url, record.grant ?? '');
    record.url = record.grant = record.grantUntil = record.endpoint = record.whole = record.sent = record.ready = undefined;
    this.#sent = this.#reached = 0;
  }

  #setState(state: UploadState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#port.changed(this);
    this.emit('state', state);
    this.emit('change', this);
  }

  #setWaiting(waiting: 'network' | 'server' | undefined): void {
    if (this.waiting === waiting) return;
    this.waiting = waiting;
    this.emit('change', this);
  }
}

/** Whether a file is the one of a record, as far as that can be told without reading it. */
export function isSame(record: UploadRecord, file: Blob): boolean {
  const { name, lastModified } = file as Partial<File>;
  return file.size === record.bytes && (name ?? record.name) === record.name
    && (lastModified === undefined || record.stamp === 0 || lastModified === record.stamp);
}

function tooLarge(record: UploadRecord, limit: number): RequestError {
  const what = { photo: 'A photo', voice: 'A voice note', file: 'A file' }[record.kind];
  return new RequestError(
    'too_large', `${what} may have up to ${sizeWords(limit)} here; this one has ${sizeWords(record.bytes)}.`, undefined, { limit });
}

function problemOf({ problem }: UploadStatus): RequestError {
  return new RequestError(
    problem?.code ?? 'internal', problem?.detail ?? problem?.title ?? 'The server could not use this file.', undefined,
    { status: problem?.status ?? undefined, limit: problem?.limit });
}
