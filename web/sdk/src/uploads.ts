/** All uploads of a device: a few at a time, the others in line, and what is unfinished kept for the next page. */
import type { HttpStack } from 'tus-js-client';
import { guessKind } from './attachments.js';
import { IndexedBytes, type ByteKeep } from './bytes.js';
import type { FileToSend } from './conversation.js';
import type { Keep } from './outbox.js';
import { Parcel } from './parcel.js';
import type { Rest } from './rest.js';
import { terminate } from './transfer.js';
import { Upload, isSame, type UploadPort, type UploadProgress, type UploadRecord } from './upload.js';
import { Gate, RequestError, uuidv7 } from './util.js';
import type { AttachmentKind, UploadStatus } from './wire.js';

export interface UploadOptions {
  /** Guessed from the type if left out. */
  kind?: AttachmentKind | undefined;
  /** Its own name if it is a `File`. */
  name?: string | undefined;
  onProgress?: ((progress: UploadProgress) => void) | undefined;
}

export interface UploadsOptions {
  keep?: Keep | undefined;
  /** Where bytes outlive a reload; the browser's own database if left out. Only used with `keep`. */
  bytes?: ByteKeep | undefined;
  /** Uploads at a time. More share the same line and finish later each; a browser has six connections for everything. */
  parallel?: number | undefined;
  httpStack?: HttpStack | undefined;
  random?: (() => number) | undefined;
}

/** What uploads ask of their session. */
export interface UploadsPort {
  readonly rest: Rest;
  address(path: string): string;
  serverNow(): number;
  /** Whether there is a token to ask with: a page that has just been opened has none yet. */
  signedIn(): boolean;
  changed(upload: Upload): void;
  /** All files of a parcel are there: the message goes out. */
  deliver(parcel: Parcel): void;
}

/** What one message can refer to. */
export const ATTACHMENTS_MAX = 10;
/** Unfinished uploads a device may have, all conversations together; some 1 KB each, and the bytes as `KEPT_ALL_BYTES_MAX` says. */
export const UPLOADS_MAX = 200;
const PARALLEL = 3;
const NAME_CHARS_MAX = 255;
const TYPE_CHARS_MAX = 127;
/** Questions after uploads at a time, and how long the server may take to answer each. */
const POLLS_MAX = 2;
const POLL_S = 25;
/** … while others wait to ask. */
const POLL_BUSY_S = 2;
const POLL_PATIENCE_MS = 10_000;

export class Uploads {
  readonly #port: UploadsPort;
  readonly #keep: Keep | undefined;
  readonly #bytes: ByteKeep | undefined;
  readonly #key: string;
  readonly #parallel: number;
  readonly #httpStack: HttpStack | undefined;
  readonly #all = new Map<string, Upload>();
  readonly #parcels = new Map<string, Parcel>();
  readonly #line: Upload[] = [];
  readonly #placed = new Set<Upload>();
  readonly #polls = new Gate(POLLS_MAX);
  readonly #uploadPort: UploadPort;
  readonly #hurry = (): void => this.hurry();
  readonly #leaving = (): void => this.#save();
  #stopped = true;

  constructor(port: UploadsPort, options: UploadsOptions, key = 'trunkline.uploads') {
    this.#port = port;
    this.#keep = options.keep;
    // Bytes without a record of what they are would be of no use.
    if (options.keep) this.#bytes = options.bytes ?? (typeof indexedDB === 'undefined' ? undefined : new IndexedBytes());
    this.#key = key;
    this.#parallel = options.parallel ?? PARALLEL;
    this.#httpStack = options.httpStack;
    const random = options.random ?? Math.random;
    this.#uploadPort = {
      httpStack: options.httpStack,
      random,
      serverNow: () => port.serverNow(),
      address: (path) => port.address(path),
      grant: async ({ conv, kind, bytes, name, type }) => {
        if (!port.signedIn()) throw new RequestError('disconnected', 'There is no connection to the server.');
        return port.rest.grantUpload(conv, { kind, bytes, name, ...(type ? { type } : {}) });
      },
      status: (url, grant, signal) => this.#status(url, grant, signal),
      bytes: async (kept) => this.#bytes?.get(kept),
      wantPlace: (upload, first) => this.#wantPlace(upload, first),
      leavePlace: (upload) => this.#leavePlace(upload),
      holds: (upload) => this.#all.has(upload.key),
      changed: (upload) => this.#changed(upload),
      save: () => this.#save(),
      terminate: (url, grant) => terminate(url, grant, this.#httpStack),
    };
  }

  /** Those not finished, and those whose message has not been sent; in the order in which they were begun. */
  get pending(): Upload[] {
    return [...this.#all.values()];
  }

  parcels(conv: string): Parcel[] {
    return [...this.#parcels.values()].filter((parcel) => parcel.conv === conv);
  }

  /**
   * Begins to upload, or gets in line. A file that an earlier page began and could not keep is recognised and gone on with.
   * Throws a `RequestError` if there are too many.
   */
  add(conv: string, file: Blob, options: UploadOptions = {}): Upload {
    const lost = this.pending.find((one) => one.conv === conv && one.needsFile && isSame(one.record, file));
    if (lost?.offer(file)) return lost;
    return this.#add(conv, { file, ...options }, undefined, options.onProgress);
  }

  /** Uploads files and sends them as one message. Throws a `RequestError` if there are too many. */
  send(conv: string, files: readonly FileToSend[], text: string): Parcel {
    if (files.length === 0) throw new RequestError('bad_frame', 'There is no file to send.');
    if (files.length > ATTACHMENTS_MAX) {
      throw new RequestError('too_large', `One message holds up to ${ATTACHMENTS_MAX} files.`, undefined, { limit: ATTACHMENTS_MAX });
    }
    this.#checkRoom(files.length);
    const parcel = new Parcel(uuidv7(), conv, Date.now(), text);
    this.#parcels.set(parcel.id, parcel);
    for (const file of files) this.#add(conv, file, parcel);
    return parcel;
  }

  /** What an earlier page of this device left unfinished. */
  restore(): void {
    let kept: UploadRecord[] = [];
    try {
      const value: unknown = JSON.parse(this.#keep?.getItem(this.#key) ?? '[]');
      if (Array.isArray(value)) kept = value.slice(0, UPLOADS_MAX) as UploadRecord[];
    } catch {
      // What cannot be read cannot be gone on with.
    }
    for (const record of kept) {
      const upload = this.#take(record);
      if (upload.state === 'queued') this.#line.push(upload);
    }
  }

  /** Goes on with everything. */
  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    globalThis.addEventListener?.('online', this.#hurry);
    globalThis.addEventListener?.('pagehide', this.#leaving);
    // The last page may have gone between the last upload and its message.
    for (const parcel of [...this.#parcels.values()]) this.#deliver(parcel);
    this.#pump();
  }

  /** Stops everything without giving anything up. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    globalThis.removeEventListener?.('online', this.#hurry);
    globalThis.removeEventListener?.('pagehide', this.#leaving);
    for (const upload of this.#all.values()) {
      upload.suspend();
      if (upload.state === 'queued' && !this.#line.includes(upload)) this.#line.push(upload);
    }
    this.#save();
  }

  /** The network or the server seems to be there again: nobody waits any longer than needed. */
  hurry(): void {
    for (const upload of this.#all.values()) upload.hurry();
  }

  /** Gives everything up, here and on the server: for signing out. */
  clear(): void {
    for (const upload of this.pending) upload.cancel();
  }

  #add(conv: string, { file, kind, name }: FileToSend, parcel?: Parcel, onProgress?: (progress: UploadProgress) => void): Upload {
    this.#checkRoom(1);
    const record: UploadRecord = {
      key: uuidv7(), conv, kind: kind ?? guessKind(file.type),
      name: [...((name ?? (file as Partial<File>).name) || 'file')].slice(0, NAME_CHARS_MAX).join(''),
      type: file.type.slice(0, TYPE_CHARS_MAX), bytes: file.size, stamp: (file as Partial<File>).lastModified ?? 0, at: Date.now(),
      parcel: parcel && { id: parcel.id, text: parcel.text, at: parcel.at },
    };
    const upload = this.#take(record, file);
    if (onProgress) upload.on('progress', onProgress);
    void this.#bytes?.put(record.key, file).then(() => {
      // It may have been over before it was kept.
      if (!this.#all.has(record.key)) return this.#bytes?.remove(record.key);
    });
    this.#changed(upload);
    this.#wantPlace(upload, false);
    return upload;
  }

  #take(record: UploadRecord, file?: Blob): Upload {
    const upload = new Upload(this.#uploadPort, record, file);
    this.#all.set(record.key, upload);
    if (record.parcel) {
      const { id, text, at } = record.parcel;
      let parcel = this.#parcels.get(id);
      if (!parcel) this.#parcels.set(id, (parcel = new Parcel(id, record.conv, at, text)));
      parcel.uploads.push(upload);
    }
    return upload;
  }

  #checkRoom(more: number): void {
    if (this.#all.size + more > UPLOADS_MAX) {
      throw new RequestError('too_large', `Up to ${UPLOADS_MAX} files can be on their way at a time.`, undefined, { limit: UPLOADS_MAX });
    }
  }

  async #status(url: string, grant: string, signal: AbortSignal): Promise<UploadStatus> {
    return this.#polls.through(async () => {
      const waitS = this.#polls.waiting > 0 ? POLL_BUSY_S : POLL_S;
      const patience = new AbortController();
      const stop = (): void => patience.abort();
      const timer = setTimeout(stop, waitS * 1000 + POLL_PATIENCE_MS);
      signal.addEventListener('abort', stop);
      if (signal.aborted) stop();
      try {
        return await this.#port.rest.uploadStatus(url, grant, waitS, patience.signal);
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', stop);
      }
    });
  }

  #wantPlace(upload: Upload, first: boolean): void {
    if (this.#line.includes(upload)) return;
    if (first) this.#line.unshift(upload);
    else this.#line.push(upload);
    // Not in the middle of what the upload is doing.
    queueMicrotask(() => this.#pump());
  }

  #leavePlace(upload: Upload): void {
    const index = this.#line.indexOf(upload);
    if (index >= 0) this.#line.splice(index, 1);
    if (this.#placed.delete(upload)) queueMicrotask(() => this.#pump());
  }

  #pump(): void {
    if (this.#stopped) return;
    for (const upload of [...this.#line]) {
      // What the server has whole sends nothing more, and needs no place.
      if (!upload.record.whole && this.#placed.size >= this.#parallel) continue;
      this.#line.splice(this.#line.indexOf(upload), 1);
      if (!upload.record.whole) this.#placed.add(upload);
      upload.begin();
    }
  }

  #changed(upload: Upload): void {
    const parcel = upload.record.parcel && this.#parcels.get(upload.record.parcel.id);
    if (upload.state === 'ready') void this.#bytes?.remove(upload.key);
    if (upload.state === 'cancelled' || (upload.state === 'ready' && !parcel)) this.#forget(upload);
    if (parcel && upload.state === 'cancelled') {
      const index = parcel.uploads.indexOf(upload);
      if (index >= 0) parcel.uploads.splice(index, 1);
      if (parcel.uploads.length === 0) this.#parcels.delete(parcel.id);
    }
    this.#save();
    this.#port.changed(upload);
    if (!parcel) return;
    parcel.tell();
    this.#deliver(parcel);
  }

  #deliver(parcel: Parcel): void {
    if (this.#stopped || !this.#parcels.has(parcel.id) || !parcel.ready) return;
    this.#parcels.delete(parcel.id);
    // Kept as a message before it is forgotten as a parcel: whenever the page goes, one of the two is there.
    this.#port.deliver(parcel);
    for (const upload of parcel.uploads) this.#forget(upload);
    this.#save();
    parcel.tell();
  }

  #forget(upload: Upload): void {
    this.#all.delete(upload.key);
    void this.#bytes?.remove(upload.key);
  }

  #save(): void {
    try {
      this.#keep?.setItem(this.#key, JSON.stringify([...this.#all.values()].map((upload) => upload.record)));
    } catch {
      // A full store costs only the survival of a reload.
    }
  }
}
