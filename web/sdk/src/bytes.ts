/** Where the bytes of unfinished uploads outlive a reload. */

/** What {@link IndexedBytes} is to an upload; anything that keeps a `Blob` by a key. */
export interface ByteKeep {
  /** False if it is too much to keep; that costs only the survival of a reload. */
  put(key: string, bytes: Blob): Promise<boolean>;
  get(key: string): Promise<Blob | undefined>;
  remove(key: string): Promise<void>;
}

/**
 * The most of one file that is kept, bytes. A higher value lets larger files go on by themselves after a reload, at the
 * price of writing them to the person's disk once more; beyond it the person is asked for the file again.
 */
export const KEPT_FILE_BYTES_MAX = 64_000_000;
/** All kept files together, of all windows. A lower value spares the browser's quota for this origin. */
export const KEPT_ALL_BYTES_MAX = 256_000_000;
/** What a window left that never came back is forgotten after this; the server has let go of it long before. */
const KEPT_MS_MAX = 7 * 86_400_000;

interface Entry {
  key: string;
  bytes: number;
  at: number;
}

/** Which of `entries` are too old to keep, and whether `bytes` more fit beside the rest. */
export function roomFor(entries: readonly Entry[], bytes: number, now: number): { old: string[]; fits: boolean } {
  const old = entries.filter((entry) => now - entry.at > KEPT_MS_MAX).map((entry) => entry.key);
  const held = entries.filter((entry) => !old.includes(entry.key)).reduce((sum, entry) => sum + entry.bytes, 0);
  return { old, fits: bytes <= KEPT_FILE_BYTES_MAX && held + bytes <= KEPT_ALL_BYTES_MAX };
}

const ENTRIES = 'entries';
const BYTES = 'bytes';

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** Bytes in the browser's own database. Where there is none, or it is full or forbidden, nothing is kept. */
export class IndexedBytes implements ByteKeep {
  readonly #name: string;
  #database: Promise<IDBDatabase> | undefined;

  constructor(name = 'trunkline.uploads') {
    this.#name = name;
  }

  async put(key: string, bytes: Blob): Promise<boolean> {
    if (bytes.size > KEPT_FILE_BYTES_MAX) return false;
    try {
      const transaction = (await this.#open()).transaction([ENTRIES, BYTES], 'readwrite');
      const entries = transaction.objectStore(ENTRIES);
      const { old, fits } = roomFor(await done(entries.getAll() as IDBRequest<Entry[]>), bytes.size, Date.now());
      for (const one of old) {
        entries.delete(one);
        transaction.objectStore(BYTES).delete(one);
      }
      if (fits) {
        entries.put({ key, bytes: bytes.size, at: Date.now() } satisfies Entry);
        transaction.objectStore(BYTES).put(bytes, key);
      }
      await finished(transaction);
      return fits;
    } catch {
      return false;
    }
  }

  async get(key: string): Promise<Blob | undefined> {
    try {
      const transaction = (await this.#open()).transaction(BYTES, 'readonly');
      const value: unknown = await done(transaction.objectStore(BYTES).get(key));
      return value instanceof Blob ? value : undefined;
    } catch {
      return undefined;
    }
  }

  async remove(key: string): Promise<void> {
    try {
      const transaction = (await this.#open()).transaction([ENTRIES, BYTES], 'readwrite');
      transaction.objectStore(ENTRIES).delete(key);
      transaction.objectStore(BYTES).delete(key);
      await finished(transaction);
    } catch {
      // It goes with age.
    }
  }

  #open(): Promise<IDBDatabase> {
    this.#database ??= (async () => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(ENTRIES, { keyPath: 'key' });
        request.result.createObjectStore(BYTES);
      };
      const database = await done(request);
      // A newer page in another window must not wait for this one.
      database.onversionchange = () => database.close();
      return database;
    })();
    this.#database.catch(() => (this.#database = undefined));
    return this.#database;
  }
}
