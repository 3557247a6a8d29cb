/** Signed addresses of attachments: asked for once, used until they are about to expire. */
import { bestVariant } from './attachments.js';
import { Gate, RequestError } from './util.js';
import type { Attachment, AttachmentLinks } from './wire.js';

export interface LinksPort {
  fetch(id: string, variant?: string): Promise<AttachmentLinks>;
  /** The server's clock, Unix milliseconds. */
  now(): number;
  /** An address out of the path that the server gives. */
  address(path: string): string;
}

/** Attachments whose links are held; some 300 bytes each. Fewer means asking again when scrolling back. */
const HELD_MAX = 500;
/** Requests at a time. More would crowd out uploads and pictures, which share the browser's six connections. */
const ASKING_MAX = 3;
/** A link is renewed when it would expire within this, so that what begins now can end. */
const MARGIN_MS = 60_000;
/** … and while larger sizes of a photo are still being made, asked for again after this. */
const GROWING_MS = 2_000;
/** The largest size that is made of every photo. */
const LARGEST_EDGE = 2048;

interface Held {
  links: Record<string, string>;
  until: number;
  growing: boolean;
}

export class MediaLinks {
  readonly #port: LinksPort;
  readonly #held = new Map<string, Held>();
  readonly #asked = new Map<string, Promise<Held>>();
  readonly #gate = new Gate(ASKING_MAX);

  constructor(port: LinksPort) {
    this.#port = port;
  }

  /**
   * The address of one variant, good for at least a minute. Rejects with a `RequestError`: `not_member`, `not_found` (also
   * for a variant that there is not), or a lost connection.
   */
  async linkFor(attachment: Attachment, variant: string): Promise<string> {
    const ready = this.peek(attachment, variant);
    if (ready !== undefined) return ready;
    // A size that the attachment does not list may be made on demand.
    const listed = attachment.variants.includes(variant);
    const { links } = await this.#links(attachment, listed ? undefined : variant);
    const path = links[variant] ?? (listed ? (await this.#links(attachment, variant)).links[variant] : undefined);
    if (path === undefined) throw new RequestError('not_found', 'This size of it does not exist.');
    return this.#port.address(path);
  }

  /** The same without asking: undefined if it is not here or about to expire. */
  peek(attachment: Attachment, variant: string): string | undefined {
    const held = this.#held.get(attachment.id);
    if (!held || held.until <= this.#port.now()) return undefined;
    const path = held.links[variant];
    return path === undefined ? undefined : this.#port.address(path);
  }

  /**
   * The variant for a picture whose long edge covers `pixels` (CSS pixels × device pixel ratio), and its address. `final`
   * is false while a better one is still being made: ask again in a few seconds.
   */
  async bestFor(attachment: Attachment, pixels: number): Promise<{ variant: string; url: string; final: boolean }> {
    const { links, growing } = await this.#links(attachment);
    const variant = bestVariant(attachment, pixels, Object.keys(links));
    if (variant === undefined) throw new RequestError('not_found', 'There is nothing to show.');
    const wanted = Math.min(pixels, Math.max(attachment.width ?? 0, attachment.height ?? 0));
    return { variant, url: this.#port.address(links[variant]!), final: !growing || Number(variant) * 1.15 >= wanted };
  }

  #links(attachment: Attachment, variant?: string): Promise<Held> {
    const { id } = attachment;
    const held = this.#held.get(id);
    if (variant === undefined && held && held.until > this.#port.now()) return Promise.resolve(held);
    const key = `${id} ${variant ?? ''}`;
    let asked = this.#asked.get(key);
    if (!asked) {
      asked = this.#gate.through(() => this.#ask(attachment, variant)).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    return asked;
  }

  async #ask(attachment: Attachment, variant: string | undefined): Promise<Held> {
    const { links, expires_at: expires } = await this.#port.fetch(attachment.id, variant);
    const now = this.#port.now();
    const before = this.#held.get(attachment.id);
    const largest = Math.max(0, ...Object.keys(links).map((name) => (/^\d+$/.test(name) ? Number(name) : 0)));
    const growing = attachment.kind === 'photo'
      && largest < Math.min(LARGEST_EDGE, Math.max(attachment.width ?? 0, attachment.height ?? 0));
    const until = Math.min(expires - MARGIN_MS, growing ? now + GROWING_MS : Infinity);
    // An answer about one size does not take the others away.
    const kept = variant !== undefined && before && before.until > now ? before : undefined;
    const held = { links: { ...kept?.links, ...links }, until: Math.min(until, kept?.until ?? Infinity), growing };
    this.#held.delete(attachment.id);
    this.#held.set(attachment.id, held);
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= HELD_MAX) break;
      this.#held.delete(oldest);
    }
    return held;
  }
}
