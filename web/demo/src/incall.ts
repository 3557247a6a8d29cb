/** The call in which this page takes part: its media, from the first ring to the end. No drawing. */
import { CallMedia, Emitter, LocalMedia, type Call, type Conversation, type MediaFlags, type Session } from '@trunkline/sdk';
import type { Knobs } from './knobs.js';

/** How long the media connection waits for camera and microphone. */
const PATIENCE_MS = 2_500;

export type Phase = 'dialling' | 'joining' | 'live' | 'over';

export interface InCallEvents {
  /** Anything to draw anew. */
  change: InCall;
  /** The call is over for this page; `reason` as the server gives it, `left` if this person left it. */
  over: { reason: string | undefined; outgoing: boolean };
  /** Something for the person to know. */
  notice: string;
}

export class InCall extends Emitter<InCallEvents> {
  readonly session: Session;
  readonly conversation: Conversation;
  /** Whether the person asked for video when it began. */
  readonly video: boolean;
  readonly outgoing: boolean;
  call: Call | undefined;
  readonly local: LocalMedia;
  /** Whether camera and microphone have been asked for and have answered. */
  captured = false;
  media: CallMedia | undefined;
  phase: Phase;
  /** When it came about, for the timer; Unix milliseconds. */
  since: number | undefined;
  /** The person hung up before the server had answered the invitation. */
  #gaveUp = false;
  /** Whether this device has been in the call: before, an earlier refusal of its own is no end. */
  #wasIn = false;
  #patience: ReturnType<typeof setTimeout> | undefined;
  readonly #knobs: Knobs;
  readonly #stops: (() => void)[] = [];

  private constructor(session: Session, conversation: Conversation, knobs: Knobs, video: boolean, outgoing: boolean) {
    super();
    this.session = session;
    this.conversation = conversation;
    this.#knobs = knobs;
    this.video = video;
    this.outgoing = outgoing;
    this.phase = outgoing ? 'dialling' : 'joining';
    this.local = new LocalMedia(knobs.capture);
    this.#stops.push(this.local.on('change', () => this.emit('change', this)));
  }

  /** Rings everybody in the conversation. */
  static dial(session: Session, conversation: Conversation, knobs: Knobs, video: boolean): InCall {
    const self = new InCall(session, conversation, knobs, video, true);
    void self.#dial();
    return self;
  }

  /** Takes a ringing call, or joins a live one. */
  static join(session: Session, conversation: Conversation, knobs: Knobs, call: Call, video: boolean): InCall {
    const self = new InCall(session, conversation, knobs, video, false);
    self.#bind(call);
    void self.#join(call);
    return self;
  }

  /** Goes on with a call that this device never left: the page was reloaded. */
  static resume(session: Session, conversation: Conversation, knobs: Knobs, call: Call): InCall {
    const before = call.legs.find((leg) => leg.user === session.user && leg.device === session.device)?.media;
    const self = new InCall(session, conversation, knobs, before?.video ?? call.media.video, call.outgoing);
    self.#bind(call);
    void self.#capture({ audio: true, video: self.video });
    return self;
  }

  get other(): string {
    const { conversation } = this;
    return conversation.title || conversation.others.map((one) => one.user).join(', ');
  }

  /** The caller takes back, the others leave. */
  async hangUp(): Promise<void> {
    const { call } = this;
    const cancel = this.phase === 'dialling';
    this.#gaveUp = true;
    this.#finish(undefined);
    if (!call || call.ended) return;
    try {
      await (cancel ? call.cancel() : call.end());
    } catch (error) {
      // Somebody may have accepted in this very moment.
      if (cancel) await call.end().catch(() => undefined);
      else if ((error as { code?: string }).code !== 'call_ended') throw error;
    }
  }

  async setMicrophone(on: boolean): Promise<void> {
    await this.local.setAudio(on);
    this.#announce();
  }

  async setCamera(on: boolean): Promise<void> {
    await this.local.setVideo(on);
    this.#announce();
  }

  async #dial(): Promise<void> {
    // The camera first: nobody is rung for a call that this device turns out not to be able to make.
    await this.#capture({ audio: true, video: this.video });
    if (this.#gaveUp) return;
    try {
      const call = await this.session.invite(this.conversation, this.local.media);
      if (this.#gaveUp) return void call.cancel().catch(() => call.end().catch(() => undefined));
      this.#bind(call);
    } catch (error) {
      this.#finish((error as { code?: string }).code === 'busy' ? 'busy' : undefined);
      if ((error as { code?: string }).code !== 'busy') this.emit('notice', error instanceof Error ? error.message : 'The call could not be made.');
    }
  }

  async #join(call: Call): Promise<void> {
    const media: MediaFlags = { audio: true, video: this.video };
    const capturing = this.#capture(media);
    try {
      await call.accept(media);
    } catch (error) {
      this.#finish(call.reason ?? 'failed');
      this.emit('notice', error instanceof Error ? error.message : 'The call could not be joined.');
      return;
    }
    this.#settle();
    await capturing;
    const got = this.local.media;
    if (this.phase === 'over') return;
    if (got.audio !== media.audio || got.video !== media.video) this.#announce();
  }

  async #capture(want: MediaFlags): Promise<void> {
    await this.local.open(want);
    if (this.phase === 'over') return;
    this.captured = true;
    if (this.local.fault) this.emit('notice', this.local.fault);
    this.#settle();
  }

  #announce(): void {
    this.call?.setMedia(this.local.media);
    this.emit('change', this);
  }

  #bind(call: Call): void {
    this.call = call;
    this.#stops.push(call.on('change', () => this.#settle()));
    this.#settle();
  }

  /** Does what the call's state asks for. */
  #settle(): void {
    const { call } = this;
    if (!call || this.phase === 'over') return;
    if (call.ended) return this.#finish(call.reason);
    const away = call.you === 'left' || call.you === 'declined' || call.you === 'answered_elsewhere';
    if (away && (this.#wasIn || this.outgoing)) return this.#finish(undefined);
    if (call.live && call.you === 'joined') {
      this.#wasIn = true;
      if (this.phase !== 'live') this.since ??= Date.now();
      this.phase = 'live';
      this.#startMedia(call);
    }
    this.emit('change', this);
  }

  #startMedia(call: Call): void {
    if (this.media) return;
    if (!this.captured && Date.now() - (this.since ?? 0) < PATIENCE_MS) {
      // The first offer says how large the camera is, so it is worth a moment; nobody waits for a question unanswered.
      this.#patience ??= setTimeout(() => this.#settle(), PATIENCE_MS);
      return;
    }
    const media = new CallMedia(call, this.local, {
      slots: this.#knobs.slots,
      iceServers: this.session.iceServers,
      iceTransportPolicy: this.#knobs.relay ? 'relay' : 'all',
    });
    this.media = media;
    this.#stops.push(
      media.on('participants', () => this.emit('change', this)),
      media.on('state', () => this.emit('change', this)),
      media.on('fault', (error) => console.warn('media', error)),
    );
    void media.start();
  }

  #finish(reason: string | undefined): void {
    if (this.phase === 'over') return;
    this.phase = 'over';
    for (const stop of this.#stops) stop();
    clearTimeout(this.#patience);
    this.media?.close();
    this.local.close();
    this.emit('over', { reason, outgoing: this.outgoing });
  }
}
