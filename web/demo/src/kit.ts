/** What everything that shows files has in common. */
import type { Attachment, Session, Upload } from '@trunkline/sdk';

/** How a voice note that this page recorded sounds, until the server has listened to it. */
export interface VoiceSketch {
  waveform: number[];
  seconds: number;
}

/** Pictures of this page's own files that stay at hand. Each holds the file open, not in memory. */
const PREVIEWS_MAX = 80;
/** What could not be loaded is tried again after this, or once there is a connection again. */
const AGAIN_MS = 5_000;
/** Pictures begin to load when they are this near to being seen. */
const NEAR = '600px';

export class MediaKit {
  readonly session: Session;
  /** Shows a photo of the open conversation in full. */
  openPhoto: (attachment: Attachment) => void = () => undefined;
  readonly #previews = new Map<string, string>();
  readonly #sketches = new Map<string, VoiceSketch>();
  readonly #near = new WeakMap<Element, () => void>();
  readonly #watch: IntersectionObserver;

  constructor(session: Session) {
    this.session = session;
    this.#watch = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.#watch.unobserve(target);
        this.#near.get(target)?.();
      }
    }, { rootMargin: NEAR });
  }

  /** Calls once, when the element is about to be seen. */
  whenNear(element: Element, work: () => void): void {
    this.#near.set(element, work);
    this.#watch.observe(element);
  }

  /** Calls once, when it may go better than just now; not if the element is gone by then. */
  whenBack(element: Element, work: () => void): void {
    const again = (): void => {
      clearTimeout(timer);
      stop();
      if (element.isConnected) work();
    };
    const timer = setTimeout(again, AGAIN_MS);
    const stop = this.session.on('ready', again);
  }

  /** The file of an upload as an address for pictures and sound; undefined if this device does not have it any more. */
  async previewOf(upload: Upload): Promise<string | undefined> {
    const known = this.#previews.get(upload.key);
    if (known !== undefined) return known;
    const file = await upload.load();
    if (!file) return undefined;
    const url = this.#previews.get(upload.key) ?? URL.createObjectURL(file);
    this.#previews.set(upload.key, url);
    for (const [key, old] of this.#previews) {
      if (this.#previews.size <= PREVIEWS_MAX) break;
      this.#previews.delete(key);
      URL.revokeObjectURL(old);
    }
    return url;
  }

  /** The upload is an attachment now: what stood for it still does, until the real one is loaded. */
  settled(upload: Upload): void {
    const url = this.#previews.get(upload.key);
    if (url === undefined || !upload.attachment) return;
    this.#previews.delete(upload.key);
    this.#previews.set(upload.attachment.id, url);
  }

  /** This page's own picture of an attachment. */
  previewFor(attachment: Attachment): string | undefined {
    return attachment.kind === 'photo' ? this.#previews.get(attachment.id) : undefined;
  }

  sketch(upload: Upload): VoiceSketch | undefined {
    return this.#sketches.get(upload.key);
  }

  keepSketch(upload: Upload, sketch: VoiceSketch): void {
    this.#sketches.set(upload.key, sketch);
  }
}
