/** Messages on their way: kept until the server has acknowledged them, sent again with the same id until it does. */
import type { Outgoing } from './conversation.js';
import { RequestError, isRetryable } from './util.js';
import type { Json, Ok } from './wire.js';

/** Where unacknowledged messages outlive a reload; `sessionStorage` fits. */
export interface Keep {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export interface OutboxPort {
  isOnline(): boolean;
  /** One attempt. */
  send(message: Outgoing): Promise<Ok>;
  sent(message: Outgoing, ok: Ok): void;
  failed(message: Outgoing): void;
}

/** Unacknowledged messages a device may hold, all conversations together. */
export const OUTBOX_MAX = 500;
const RETRY_MS = 1_000;

/**
 * One message of a conversation is in flight at a time, so that a message that must be sent again is not overtaken by
 * the next. Conversations do not wait for each other.
 */
export class Outbox {
  readonly #port: OutboxPort;
  readonly #keep: Keep | undefined;
  readonly #key: string;
  readonly #queues = new Map<string, Outgoing[]>();
  readonly #busy = new Set<string>();
  readonly #waiting = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(port: OutboxPort, keep?: Keep, key = 'trunkline.outbox') {
    this.#port = port;
    this.#keep = keep;
    this.#key = key;
  }

  get size(): number {
    let size = 0;
    for (const queue of this.#queues.values()) size += queue.length;
    return size;
  }

  /** What an earlier page of this device left unsent. */
  restore(): Outgoing[] {
    let kept: Outgoing[] = [];
    try {
      const value: unknown = JSON.parse(this.#keep?.getItem(this.#key) ?? '[]');
      if (Array.isArray(value)) kept = value.slice(0, OUTBOX_MAX) as Outgoing[];
    } catch {
      // What cannot be read cannot be sent.
    }
    for (const message of kept) this.#queue(message.conv).push(message);
    return kept;
  }

  add(message: Outgoing): void {
    if (this.size >= OUTBOX_MAX) {
      message.failed = new RequestError('too_large', 'Too many messages are waiting to be sent.');
      this.#port.failed(message);
      return;
    }
    this.#queue(message.conv).push(message);
    this.#save();
    this.#pump(message.conv);
  }

  /** Takes a message out whose acknowledgement came another way (its echo), or that the person gave up. */
  remove(id: string): void {
    for (const [conv, queue] of this.#queues) {
      const index = queue.findIndex((message) => message.id === id);
      if (index < 0) continue;
      queue.splice(index, 1);
      if (queue.length === 0) this.#queues.delete(conv);
      this.#save();
      return;
    }
  }

  /** The connection is (again) there. */
  flush(): void {
    for (const conv of [...this.#queues.keys()]) {
      clearTimeout(this.#waiting.get(conv));
      this.#waiting.delete(conv);
      this.#pump(conv);
    }
  }

  /** Forgets its timers. */
  stop(): void {
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
  }

  #queue(conv: string): Outgoing[] {
    let queue = this.#queues.get(conv);
    if (!queue) this.#queues.set(conv, (queue = []));
    return queue;
  }

  #pump(conv: string): void {
    const message = this.#queues.get(conv)?.[0];
    if (!message || this.#busy.has(conv) || this.#waiting.has(conv) || !this.#port.isOnline()) return;
    this.#busy.add(conv);
    this.#port.send(message).then(
      (ok) => {
        this.#busy.delete(conv);
        this.remove(message.id);
        this.#port.sent(message, ok);
        this.#pump(conv);
      },
      (error: unknown) => {
        this.#busy.delete(conv);
        this.#refused(message, error);
      },
    );
  }

  #refused(message: Outgoing, error: unknown): void {
    if (isRetryable(error)) {
      // A lost connection is waited for by `flush`; the rest come with a time or get ours.
      if (!this.#port.isOnline()) return;
      const wait = (error as RequestError).retryMs ?? RETRY_MS;
      this.#waiting.set(message.conv, setTimeout(() => {
        this.#waiting.delete(message.conv);
        this.#pump(message.conv);
      }, wait));
      return;
    }
    this.remove(message.id);
    message.failed = error instanceof RequestError ? error : new RequestError('internal', String(error));
    this.#port.failed(message);
    this.#pump(message.conv);
  }

  #save(): void {
    const all: { id: string; conv: string; kind: string; body: Json; at: number }[] = [];
    for (const queue of this.#queues.values()) all.push(...queue);
    try {
      this.#keep?.setItem(this.#key, JSON.stringify(all));
    } catch {
      // A full store costs only the survival of a reload.
    }
  }
}
