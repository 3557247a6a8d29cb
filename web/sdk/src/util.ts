/** Small tools without a home of their own. */

type Listener<T> = (value: T) => void;

/** Typed events. A listener that throws does not keep the others from hearing. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Listens; the returned function stops listening. */
  on<K extends keyof Events>(event: K, listener: Listener<Events[K]>): () => void {
    let set = this.#listeners.get(event);
    if (!set) this.#listeners.set(event, (set = new Set()));
    set.add(listener as Listener<never>);
    return () => set.delete(listener as Listener<never>);
  }

  /** Whether anybody listens. */
  heard(event: keyof Events): boolean {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  protected emit<K extends keyof Events>(event: K, value: Events[K]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        (listener as Listener<Events[K]>)(value);
      } catch (error) {
        console.error(`a listener of '${String(event)}' failed`, error);
      }
    }
  }
}

/** A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then random bits. */
export function uuidv7(now: number = Date.now()): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let i = 0, rest = now; i < 6; i++) {
    bytes[5 - i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** What went wrong with a request: `code` is stable, `message` is for people. */
export class RequestError extends Error {
  readonly code: string;
  readonly retryMs: number | undefined;
  /** The HTTP status it came with, where it came by HTTP. */
  readonly status: number | undefined;
  /** The limit that was reached, in what `code` counts (bytes for `too_large`). */
  readonly limit: number | undefined;

  constructor(code: string, text: string, retryMs?: number | null, more: { status?: number | undefined; limit?: number | null | undefined } = {}) {
    super(text);
    this.name = 'RequestError';
    this.code = code;
    this.retryMs = retryMs ?? undefined;
    this.status = more.status;
    this.limit = more.limit ?? undefined;
  }
}

/** The problem document (RFC 9457) of an HTTP answer as an error; what is no such document gives way to the status. */
export function problemError(status: number, body: unknown): RequestError {
  const problem = (body !== null && typeof body === 'object' ? body : {}) as Record<string, unknown>;
  const { code, detail, title, retry_ms: retryMs, limit } = problem;
  const text = [detail, title].find((one) => typeof one === 'string') as string | undefined;
  return new RequestError(
    typeof code === 'string' ? code : status === 404 ? 'not_found' : 'internal',
    text ?? `The server answered ${status}.`,
    typeof retryMs === 'number' ? retryMs : undefined,
    { status, limit: typeof limit === 'number' ? limit : undefined },
  );
}

const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB'];

/** `1 byte`, `980 bytes`, `64 KB`, `2.4 MB`: thousands, as people's file managers count. */
export function sizeWords(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  if (unit === 0) return `${Math.round(value)} ${value === 1 ? 'byte' : 'bytes'}`;
  return `${value < 9.95 && unit > 1 ? value.toFixed(1).replace(/\.0$/, '') : Math.round(value)} ${UNITS[unit]}`;
}

/** Lets so many through at a time; the others wait in line. */
export class Gate {
  readonly #most: number;
  readonly #line: (() => void)[] = [];
  #inside = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#line.length;
  }

  async through<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#most) await new Promise<void>((enter) => this.#line.push(enter));
    else this.#inside++;
    try {
      return await work();
    } finally {
      // A place is handed on, not given back and taken again: nobody slips in between.
      const next = this.#line.shift();
      if (next) next();
      else this.#inside--;
    }
  }
}

/** Faults that a later attempt of the same request may not meet. */
export function isRetryable(error: unknown): boolean {
  return error instanceof RequestError
    && (error.retryMs !== undefined
      || ['disconnected', 'timeout', 'unavailable', 'rate_limited', 'internal'].includes(error.code));
}

/** The first wait after a lost connection; doubled each time up to the last. A lower value finds a restarted server sooner and hits it harder. */
export const RETRY_FIRST_MS = 500;
/** The longest wait. A higher value spares a server that is down and keeps people waiting once it is back. */
export const RETRY_LAST_MS = 15_000;

/**
 * How long to wait before attempt `attempt` (0 is the first after a loss), in milliseconds: between half and the whole
 * of an exponential ceiling, or, when the server named a range in `bye`, anywhere in that range.
 */
export function retryDelay(attempt: number, random: () => number, named?: readonly [number, number]): number {
  if (named) {
    const low = Math.max(0, named[0]);
    return Math.round(low + random() * Math.max(0, named[1] - low));
  }
  const ceiling = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling * (0.5 + random() / 2));
}

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
