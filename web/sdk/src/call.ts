/** One call, as this device knows it. */
import { Emitter, uuidv7 } from './util.js';
import type {
  CallInfo, CallState, ClientFrame, EndReason, Leg, LegState, MediaFlags, Reply, RequestFrame, SlotInfo, SlotView,
} from './wire.js';

/** What a call asks of its session. */
export interface CallPort {
  readonly user: string;
  tell(frame: ClientFrame): boolean;
  requestUntil(frame: RequestFrame, withinMs?: number): Promise<Reply>;
  /** The server's clock minus ours, milliseconds. */
  readonly clockOffset: number;
}

export interface CallEvents {
  /** Something in the call's fields changed. */
  change: Call;
  /** Who is in which slot now; the whole list. */
  slots: SlotInfo[];
  /** The media server lost this participant's transport. */
  gone: string;
  ended: EndReason;
}

export class Call extends Emitter<CallEvents> {
  readonly id: string;
  readonly #port: CallPort;
  conv: string;
  state: CallState = 'inviting';
  ver = -1;
  caller = { user: '', device: '' };
  /** What was asked for when it began. */
  media: MediaFlags = { audio: true, video: true };
  you: LegState | 'none' = 'none';
  legs: Leg[] = [];
  reason: EndReason | undefined;
  /** When ringing stops, by this device's clock. */
  ringUntil: number | undefined;
  slots: SlotInfo[] = [];
  /** What this device last said that it sends. */
  sending: MediaFlags = { audio: true, video: true };

  constructor(id: string, conv: string, port: CallPort) {
    super();
    this.id = id;
    this.conv = conv;
    this.#port = port;
  }

  /** Whether I called. */
  get outgoing(): boolean {
    return this.caller.user === this.#port.user;
  }

  get ended(): boolean {
    return this.state === 'ended';
  }

  /** Whether this device should ring. */
  get ringing(): boolean {
    if (this.ver < 0 || this.outgoing || this.ended || (this.ringUntil ?? Infinity) <= Date.now()) return false;
    if (this.you === 'ringing' || this.you === 'inviting') return true;
    // A device has no leg before it says that it rings; another one of its user's may have decided already.
    const decided = this.legs.some((leg) => leg.user === this.#port.user && leg.state !== 'ringing');
    return this.you === 'none' && !this.live && !decided;
  }

  /** Whether people talk in it now. */
  get live(): boolean {
    return this.state === 'connecting' || this.state === 'connected';
  }

  /** Takes the call, or joins it while it is live. */
  async accept(media: MediaFlags = this.media): Promise<void> {
    this.sending = { ...media };
    await this.#ask({ t: 'call.accept', id: uuidv7(), call: this.id, media });
  }

  async decline(): Promise<void> {
    await this.#ask({ t: 'call.decline', id: uuidv7(), call: this.id });
  }

  /** Takes the invitation back before anybody accepted. */
  async cancel(): Promise<void> {
    await this.#ask({ t: 'call.cancel', id: uuidv7(), call: this.id });
  }

  /** Leaves; in a conversation of two this ends the call. */
  async end(): Promise<void> {
    await this.#ask({ t: 'call.end', id: uuidv7(), call: this.id });
  }

  /** Tells the others what this device sends now. */
  setMedia(media: MediaFlags): void {
    this.sending = { ...media };
    this.#port.tell({ t: 'call.media', call: this.id, media });
  }

  /** Trades an SDP offer for the media server's answer. */
  async offer(sdp: string): Promise<string> {
    const reply = await this.#ask({ t: 'media.offer', id: uuidv7(), call: this.id, sdp });
    if (reply.t !== 'media.answer') throw new Error(`media.offer was answered with ${reply.t}`);
    return reply.sdp;
  }

  view(slots: SlotView[]): void {
    this.#port.tell({ t: 'media.view', call: this.id, slots });
  }

  /** What a participant says that it sends; undefined if it has not said. */
  mediaOf(user: string, device: string): MediaFlags | undefined {
    return this.legs.find((leg) => leg.user === user && leg.device === device)?.media ?? undefined;
  }

  /** @internal Takes the server's word; false if it is old news. */
  apply(info: CallInfo): boolean {
    if (info.ver <= this.ver || this.state === 'ended') return false;
    this.ver = info.ver;
    this.conv = info.conv;
    this.state = info.state;
    this.caller = info.caller;
    this.media = info.media;
    this.you = info.you;
    this.legs = info.legs;
    this.reason = info.reason ?? undefined;
    this.ringUntil = info.ring_until ? info.ring_until - this.#port.clockOffset : undefined;
    this.emit('change', this);
    if (info.state === 'ended') this.emit('ended', this.reason ?? 'ended');
    return true;
  }

  /** @internal The call went away while nobody was listening. */
  vanish(): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.reason ??= 'ended';
    this.emit('change', this);
    this.emit('ended', this.reason);
  }

  /** @internal */
  applySlots(slots: SlotInfo[]): void {
    this.slots = slots;
    this.emit('slots', slots);
  }

  /** @internal */
  applyGone(why: string): void {
    this.emit('gone', why);
  }

  #ask(frame: RequestFrame): Promise<Reply> {
    return this.#port.requestUntil(frame);
  }
}
