/**
 * One WebSocket that comes back: hello and welcome, requests and their answers, reconnecting with jitter. It knows
 * nothing of conversations or calls.
 */
import { Emitter, RequestError, isRetryable, retryDelay, sleep } from './util.js';
import {
  PROTOCOL_VERSION, SUBPROTOCOL, decodeServerFrame,
  type ClientFrame, type Reply, type RequestFrame, type ServerFrame, type Welcome,
} from './wire.js';

export type ConnectionState = 'idle' | 'connecting' | 'online' | 'waiting' | 'closed';

/** What this class uses of the browser's WebSocket. */
export interface SocketLike {
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

export interface ConnectionOptions {
  /** Where the server is, `https://…`; the session's path is added. */
  url: string;
  /** A JWT, or a function that gives a fresh one each time it is asked. */
  token: string | (() => string | Promise<string>);
  /** This device's id; needed unless the token names one. */
  device?: string | undefined;
  cursors: () => Record<string, number>;
  socket?: ((url: string, protocol: string) => SocketLike) | undefined;
  random?: (() => number) | undefined;
}

export interface ConnectionEvents {
  state: ConnectionState;
  welcome: Welcome;
  frame: ServerFrame;
  /** The server will not have us, and asking again would not help. */
  refused: RequestError;
}

const HELLO_TIMEOUT_MS = 10_000;
/** A request that takes longer has met a dead connection: the socket is dropped and opened again. */
const REQUEST_TIMEOUT_MS = 10_000;
/** A connection that lived this long counts as good: the next loss starts again with the shortest wait. */
const STABLE_MS = 5_000;
/** Requests waiting for answers at a time. Each costs a timer and a closure. */
const PENDING_MAX = 256;
const FATAL = new Set(['bad_token', 'expired_token', 'bad_version', 'bad_id', 'forbidden']);
const OPEN = 1;

interface Pending {
  resolve: (reply: Reply) => void;
  reject: (error: RequestError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class Connection extends Emitter<ConnectionEvents> {
  readonly #options: ConnectionOptions;
  readonly #random: () => number;
  readonly #pending = new Map<string, Pending>();
  #state: ConnectionState = 'idle';
  #socket: SocketLike | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #byeRange: [number, number] | undefined;
  #refusedToken: string | undefined;
  #token = '';
  /** When the next attempt is due, Unix milliseconds; meaningful while `waiting`. */
  retryAt = 0;

  constructor(options: ConnectionOptions) {
    super();
    this.#options = options;
    this.#random = options.random ?? Math.random;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The token in use; for REST. */
  get token(): string {
    return this.#token;
  }

  /** Connects, or hurries a waiting connection. */
  open(): void {
    if (this.#state === 'connecting' || this.#state === 'online') return;
    clearTimeout(this.#timer);
    void this.#connect();
  }

  /** Leaves for good; `open` comes back. */
  close(): void {
    this.#release('closed');
    this.#setState('closed');
  }

  /** Sends a frame that has no answer; false if there is no connection to send it on. */
  tell(frame: ClientFrame): boolean {
    if (this.#state !== 'online' || this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** One attempt on the present connection. Rejects with a {@link RequestError}. */
  request(frame: RequestFrame, timeoutMs: number = REQUEST_TIMEOUT_MS): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#pending.size >= PENDING_MAX) return reject(new RequestError('rate_limited', 'Too many requests at once.', 1000));
      if (!this.tell(frame)) return reject(new RequestError('disconnected', 'There is no connection to the server.'));
      const timer = setTimeout(() => {
        this.#pending.delete(frame.id);
        reject(new RequestError('timeout', 'The server did not answer in time.'));
        this.#lost();
      }, timeoutMs);
      this.#pending.set(frame.id, { resolve, reject, timer });
    });
  }

  /**
   * Asks again, with the same id, through lost connections and retryable faults, until `withinMs` have passed. Only for
   * requests that may be repeated; all of the protocol's may.
   */
  async requestUntil(frame: RequestFrame, withinMs = 20_000): Promise<Reply> {
    const deadline = Date.now() + withinMs;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#online(deadline - Date.now());
        return await this.request(frame);
      } catch (error) {
        const wait = error instanceof RequestError && error.retryMs !== undefined ? error.retryMs : Math.min(200 * 2 ** attempt, 2000);
        if (!isRetryable(error) || Date.now() + wait >= deadline) throw error;
        await sleep(wait);
      }
    }
  }

  #online(withinMs: number): Promise<void> {
    if (this.#state === 'online') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = (error?: RequestError): void => {
        clearTimeout(timer);
        stop();
        if (error) reject(error);
        else resolve();
      };
      const timer = setTimeout(() => done(new RequestError('disconnected', 'There is no connection to the server.')), withinMs);
      const stop = this.on('state', (state) => {
        if (state === 'online') done();
        else if (state === 'closed') done(new RequestError('closed', 'The session is closed.'));
      });
    });
  }

  async #connect(): Promise<void> {
    this.#setState('connecting');
    const { token, url, device, cursors } = this.#options;
    try {
      this.#token = typeof token === 'string' ? token : await token();
    } catch {
      if (this.#state === 'connecting') this.#wait();
      return;
    }
    if (this.#state !== 'connecting') return;
    const address = new URL('/v1/session', url);
    address.protocol = address.protocol === 'http:' || address.protocol === 'ws:' ? 'ws:' : 'wss:';
    const socket = this.#options.socket?.(address.href, SUBPROTOCOL) ?? new WebSocket(address.href, SUBPROTOCOL) as unknown as SocketLike;
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(), HELLO_TIMEOUT_MS);
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      const hello: ClientFrame = { t: 'hello', v: PROTOCOL_VERSION, token: this.#token, cursors: cursors() };
      if (device !== undefined) hello.device = device;
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = (event) => {
      if (this.#socket === socket) this.#receive(String(event.data));
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#lost();
    };
  }

  #receive(text: string): void {
    const frame = decodeServerFrame(text);
    if (typeof frame === 'string') {
      // A newer server may send types that this client does not know: never a reason to leave.
      console.warn(`ignored a frame from the server: ${frame}`);
      return;
    }
    if (this.#state === 'connecting') return this.#handshake(frame);
    if (frame.t === 'bye') return this.#bye(frame.code, frame.retry_ms);
    if (frame.t === 'ok' || frame.t === 'page' || frame.t === 'media.answer' || (frame.t === 'error' && frame.id)) {
      return this.#answer(frame);
    }
    this.emit('frame', frame);
  }

  #handshake(frame: ServerFrame): void {
    if (frame.t === 'welcome') {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => (this.#attempt = 0), STABLE_MS);
      this.#refusedToken = undefined;
      // Listeners learn what the welcome says before they learn that they may ask for things.
      this.emit('welcome', frame);
      this.#setState('online');
    } else if (frame.t === 'bye') {
      this.#bye(frame.code, frame.retry_ms);
    } else if (frame.t === 'error') {
      this.#refused(frame.code, frame.text, frame.retry_ms);
    }
  }

  #refused(code: string, text: string, retryMs: number | null | undefined): void {
    const fresh = typeof this.#options.token === 'function' && this.#refusedToken !== this.#token;
    if (FATAL.has(code) && !(code === 'expired_token' && fresh)) {
      this.#release('closed');
      this.#setState('closed');
      this.emit('refused', new RequestError(code, text));
      return;
    }
    this.#refusedToken = this.#token;
    if (retryMs) this.#byeRange = [retryMs, retryMs * 2];
    this.#lost();
  }

  #bye(code: string, range: [number, number]): void {
    if (code === 'revoked' || code === 'replaced') {
      this.#release('closed');
      this.#setState('closed');
      const text = code === 'revoked' ? 'This device has been signed out.' : 'This device is signed in from another window.';
      this.emit('refused', new RequestError(code, text));
      return;
    }
    if (range.length === 2 && range.every(Number.isFinite)) this.#byeRange = range;
    this.#lost();
  }

  #answer(frame: Reply | Extract<ServerFrame, { t: 'error' }>): void {
    const pending = this.#pending.get(frame.id ?? '');
    if (!pending) return;
    this.#pending.delete(frame.id ?? '');
    clearTimeout(pending.timer);
    if (frame.t === 'error') pending.reject(new RequestError(frame.code, frame.text, frame.retry_ms));
    else pending.resolve(frame);
  }

  #lost(): void {
    if (this.#state !== 'connecting' && this.#state !== 'online') return;
    this.#release('disconnected');
    this.#wait();
  }

  #wait(): void {
    const delay = retryDelay(this.#attempt++, this.#random, this.#byeRange);
    this.#byeRange = undefined;
    this.retryAt = Date.now() + delay;
    this.#timer = setTimeout(() => void this.#connect(), delay);
    this.#setState('waiting');
  }

  #release(code: 'disconnected' | 'closed'): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject, timer } of pending) {
      clearTimeout(timer);
      reject(new RequestError(code, code === 'closed' ? 'The session is closed.' : 'The connection was lost.'));
    }
  }

  #setState(state: ConnectionState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', state);
  }
}
