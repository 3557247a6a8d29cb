/** A signed-in device: its conversations, its calls, and a connection that heals. */
import { Call, type CallPort } from './call.js';
import { Connection, type ConnectionOptions, type ConnectionState } from './connection.js';
import { Conversation, type ConversationPort, type Gap, type Outgoing } from './conversation.js';
import { MediaLinks } from './links.js';
import { Outbox, type Keep } from './outbox.js';
import type { Parcel } from './parcel.js';
import { Rest } from './rest.js';
import type { Upload } from './upload.js';
import { Uploads, type UploadOptions, type UploadsOptions } from './uploads.js';
import { Emitter, RequestError, uuidv7 } from './util.js';
import {
  isAttachment, type Attachment, type CallInfo, type ClientFrame, type Head, type Json, type MediaFlags, type Ok, type Page, type Reply,
  type RequestFrame, type ServerFrame, type SessionLimits, type Welcome, type WireMessage,
} from './wire.js';

export interface SessionOptions extends Omit<ConnectionOptions, 'cursors'> {
  /** Lets unacknowledged messages and unfinished uploads outlive a reload of the page. Keep `device` the same with it. */
  keep?: Keep | undefined;
  /** How many uploads go at a time, and where their bytes are kept. */
  uploads?: Omit<UploadsOptions, 'keep' | 'random'> | undefined;
  /** Messages fetched when a conversation is first seen and for each older page. */
  pageSize?: number | undefined;
}

export interface SessionEvents {
  state: ConnectionState;
  /** Signed in (again): `user`, `limits`, heads and live calls are current. */
  ready: Session;
  /** The server refuses this device; the session is closed. */
  refused: RequestError;
  /** A fault that belongs to no request. */
  fault: RequestError;
  conversation: Conversation;
  /** A message that was not here before; never twice. */
  message: { conversation: Conversation; message: WireMessage };
  /** A message of ours changed: acknowledged, failed. */
  outgoing: { conversation: Conversation; message: Outgoing };
  /** An upload began, or its state is another: see {@link Session.pendingUploads}. How far it is, it tells itself. */
  upload: Upload;
  gap: { conversation: Conversation; gap: Gap };
  receipt: Conversation;
  typing: { conversation: Conversation; user: string };
  presence: { user: string; state: string; lastSeen: number | undefined };
  /** A call began, changed or ended. */
  call: Call;
  /** This device should ring. Listening for it tells the caller that it does. */
  ring: Call;
}

const DEFAULT_LIMITS: SessionLimits = { frame_bytes: 65_536, body_bytes: 16_384, history: 200, sends_per_second: 20 };
/** After this long with a hole in a conversation, it is fetched rather than waited for. */
const HOLE_MS = 1_500;
const CHECK_MS = 4_000;
const TYPING_EVERY_MS = 3_000;
/** Ended calls remembered, so that a late frame does not bring one back. */
const ENDED_CALLS_KEPT = 32;

export class Session extends Emitter<SessionEvents> {
  readonly rest: Rest;
  readonly uploads: Uploads;
  /** Addresses for what messages refer to. */
  readonly mediaLinks: MediaLinks;
  readonly conversations = new Map<string, Conversation>();
  readonly calls = new Map<string, Call>();
  user = '';
  device = '';
  limits = DEFAULT_LIMITS;
  iceServers: RTCIceServer[] = [];
  /** The server's clock minus ours, milliseconds. */
  clockOffset = 0;
  /** Times signed in; more than one means reconnected. */
  welcomes = 0;
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #pageSize: number;
  readonly #pulling = new Set<string>();
  readonly #acks = new Set<Conversation>();
  readonly #wantedReads = new Map<string, number>();
  readonly #typedAt = new Map<string, number>();
  readonly #ports: ConversationPort & CallPort;
  #holeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SessionOptions) {
    super();
    this.#pageSize = options.pageSize ?? 50;
    this.#connection = new Connection({ ...options, cursors: () => this.cursors() });
    this.rest = new Rest(options.url, () => this.#connection.token);
    this.#outbox = new Outbox(
      {
        isOnline: () => this.#connection.state === 'online',
        send: (message) => this.#sendOnce(message),
        sent: (message, ok) => this.#acknowledged(message, ok),
        failed: (message) => this.emit('outgoing', { conversation: this.#conversation(message.conv), message }),
      },
      options.keep,
    );
    this.uploads = new Uploads({
      rest: this.rest,
      address: (path) => new URL(path, options.url).href,
      serverNow: () => Date.now() + this.clockOffset,
      signedIn: () => this.welcomes > 0,
      changed: (upload) => this.emit('upload', upload),
      deliver: (parcel) => this.#deliver(parcel),
    }, { ...options.uploads, keep: options.keep, random: options.random });
    this.mediaLinks = new MediaLinks({
      fetch: (id, variant) => this.rest.attachmentLinks(id, variant),
      now: () => Date.now() + this.clockOffset,
      address: (path) => new URL(path, options.url).href,
    });
    this.#ports = this.#makePorts();
    this.#connection.on('welcome', (welcome) => this.#welcome(welcome));
    this.#connection.on('frame', (frame) => this.#frame(frame));
    this.#connection.on('refused', (error) => {
      // Another window may have taken over this device and its uploads with it.
      this.uploads.stop();
      this.emit('refused', error);
    });
    this.#connection.on('state', (state) => {
      if (state === 'online') this.#online();
      this.emit('state', state);
    });
    for (const message of this.#outbox.restore()) this.#conversation(message.conv).outgoing.push(message);
    this.uploads.restore();
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** When the next attempt to connect is due, Unix milliseconds; meaningful while the state is `waiting`. */
  get retryAt(): number {
    return this.#connection.retryAt;
  }

  /** Messages not yet acknowledged. */
  get unsent(): number {
    return this.#outbox.size;
  }

  /** Connects and keeps connected; call it also to hurry (the network came back, the person pressed a button). */
  connect(): void {
    this.#connection.open();
    this.uploads.start();
  }

  /**
   * Finds out whether a connection that looks alive still is: for when the device changed networks or woke up. A dead one
   * is noticed within four seconds instead of at the next message.
   */
  check(): void {
    const [conversation] = this.conversations.keys();
    if (this.state !== 'online' || conversation === undefined) return this.connect();
    void this.#connection.request({ t: 'history', id: uuidv7(), conv: conversation, limit: 1 }, CHECK_MS).catch(() => undefined);
  }

  close(): void {
    clearTimeout(this.#holeTimer);
    this.#outbox.stop();
    this.uploads.stop();
    this.#connection.close();
  }

  /** The highest sequence number held per conversation, as `hello` tells it. */
  cursors(): Record<string, number> {
    const cursors: Record<string, number> = {};
    for (const [id, { cursor }] of this.conversations) if (cursor !== undefined) cursors[id] = cursor;
    return cursors;
  }

  /** Starts a conversation with people, by their user ids. */
  async createConversation(members: string[], title?: string): Promise<Conversation> {
    const all = members.includes(this.user) ? members : [this.user, ...members];
    const conversation = this.#applyHead(await this.rest.createConversation(all, title));
    void this.#begin(conversation);
    return conversation;
  }

  /** Uploads not finished, or not sent yet; after a reload those of the page before. */
  get pendingUploads(): Upload[] {
    return this.uploads.pending;
  }

  /**
   * Uploads something into a conversation without sending it: `upload.attachment` is there when it is `ready`, and
   * {@link sendAttachments} sends it. To do both, use `conversation.sendFile`.
   */
  upload(conversation: Conversation | string, file: Blob, options: UploadOptions = {}): Upload {
    return this.uploads.add(typeof conversation === 'string' ? conversation : conversation.id, file, options);
  }

  /** Sends what has been uploaded, with words or without. Throws a `RequestError` if one of the uploads is not ready. */
  sendAttachments(conversation: Conversation, what: readonly (Upload | string)[], text = ''): Outgoing {
    const shown: Attachment[] = [];
    const ids = what.map((one) => {
      if (typeof one === 'string') return one;
      if (!one.attachment) throw new RequestError('bad_attachment', `${one.name} has not been uploaded yet.`);
      shown.push(one.attachment);
      return one.attachment.id;
    });
    return this.#send(conversation, 'text', { text }, ids, shown);
  }

  /** Gives a failed message another try, under the same id. */
  retry(message: Outgoing): void {
    delete message.failed;
    this.#outbox.add(message);
    this.emit('outgoing', { conversation: this.#conversation(message.conv), message });
  }

  /** Gives a message up. One already on its way may still arrive. */
  discard(message: Outgoing): void {
    this.#outbox.remove(message.id);
    this.#conversation(message.conv).settle(message.id);
    this.emit('outgoing', { conversation: this.#conversation(message.conv), message });
  }

  /**
   * Rings everybody in the conversation. If they are calling us at the same moment, the call that comes back is theirs,
   * already accepted.
   */
  async invite(conversation: Conversation, media: MediaFlags): Promise<Call> {
    const wanted = uuidv7();
    const reply = await this.#connection.requestUntil(
      { t: 'call.invite', id: uuidv7(), conv: conversation.id, call: wanted, media }, 10_000);
    const call = this.#call(reply.t === 'ok' && reply.call ? reply.call : wanted, conversation.id);
    call.sending = { ...media };
    if (call.ver < 0) {
      // The call's own frame may come after the answer.
      call.caller = { user: this.user, device: this.device };
      call.media = { ...media };
    }
    return call;
  }

  /** Tells who cares whether this person is here. */
  setPresence(state: string): void {
    this.#connection.tell({ t: 'presence', state });
  }

  #makePorts(): ConversationPort & CallPort {
    const session = this;
    return {
      get user() { return session.user; },
      get clockOffset() { return session.clockOffset; },
      tell: (frame: ClientFrame) => this.#connection.tell(frame),
      requestUntil: (frame: RequestFrame, withinMs?: number): Promise<Reply> => this.#connection.requestUntil(frame, withinMs),
      sendMessage: (conv, kind, body, attachments) => this.#send(conv, kind, body, attachments),
      sendFiles: (conv, files, text) => this.uploads.send(conv.id, files, text),
      parcels: (conv) => this.uploads.parcels(conv.id),
      loadOlder: (conv) => this.#loadOlder(conv),
      markRead: (conv) => this.#markRead(conv),
      typing: (conv) => this.#typing(conv),
    };
  }

  // ——— connection

  #welcome(welcome: Welcome): void {
    this.user = welcome.user;
    this.device = welcome.device;
    this.limits = { ...DEFAULT_LIMITS, ...welcome.limits };
    this.iceServers = welcome.relays?.ice_servers ?? [];
    this.clockOffset = welcome.now - Date.now();
    this.welcomes++;
    for (const head of welcome.heads) this.#applyHead(head);
    const present = new Set(welcome.heads.map((head) => head.conv));
    for (const id of [...this.conversations.keys()]) {
      // Left or removed while away; what is still to be sent there would be refused, which tells the person.
      if (!present.has(id) && this.conversations.get(id)!.outgoing.length === 0) this.conversations.delete(id);
    }
    const live = new Set(welcome.calls.map((call) => call.call));
    for (const call of [...this.calls.values()]) {
      if (!live.has(call.id) && !call.ended) {
        call.vanish();
        this.emit('call', call);
      }
    }
    for (const info of welcome.calls) this.#applyCall(info);
  }

  #online(): void {
    this.emit('ready', this);
    for (const [id, seq] of this.#wantedReads) this.#connection.tell({ t: 'read', conv: id, seq });
    for (const conversation of this.conversations.values()) {
      // The last connection may have swallowed an acknowledgement.
      conversation.acked = undefined;
      if (conversation.cursor) this.#ackSoon(conversation);
    }
    this.#outbox.flush();
    this.uploads.hurry();
    void this.#beginAll();
    this.#watchHoles();
  }

  async #beginAll(): Promise<void> {
    // One after the other: a device with many conversations does not ask for all of them at once.
    for (const conversation of [...this.conversations.values()]) await this.#begin(conversation);
  }

  #frame(frame: ServerFrame): void {
    switch (frame.t) {
      case 'message': return this.#message(frame);
      case 'receipt': {
        const conversation = this.conversations.get(frame.conv);
        if (conversation?.applyReceipt(frame.user, frame.delivered, frame.read)) this.emit('receipt', conversation);
        return;
      }
      case 'conversation': {
        const conversation = this.#applyHead(frame);
        if (!conversation.members.some((member) => member.user === this.user)) this.conversations.delete(conversation.id);
        else void this.#begin(conversation);
        return;
      }
      case 'gap': {
        const conversation = this.#conversation(frame.conv);
        const gap = { from: frame.from, to: frame.to, why: frame.why };
        conversation.applyGap(gap);
        return this.emit('gap', { conversation, gap });
      }
      case 'behind':
        for (const conversation of this.conversations.values()) void this.#pull(conversation);
        return;
      case 'typing': {
        const conversation = this.conversations.get(frame.conv);
        if (conversation) this.emit('typing', { conversation, user: frame.user });
        return;
      }
      case 'presence': return this.emit('presence', { user: frame.user, state: frame.state, lastSeen: frame.last_seen ?? undefined });
      case 'call': return this.#applyCall(frame);
      case 'slots': return this.calls.get(frame.call)?.applySlots(frame.slots);
      case 'media.gone': return this.calls.get(frame.call)?.applyGone(frame.why);
      case 'error': return this.emit('fault', new RequestError(frame.code, frame.text, frame.retry_ms));
      default: return;
    }
  }

  // ——— conversations

  #conversation(id: string): Conversation {
    let conversation = this.conversations.get(id);
    if (!conversation) this.conversations.set(id, (conversation = new Conversation(id, this.#ports)));
    return conversation;
  }

  #applyHead(head: Head): Conversation {
    const conversation = this.#conversation(head.conv);
    conversation.applyHead(head);
    this.emit('conversation', conversation);
    return conversation;
  }

  #message(message: WireMessage): void {
    const conversation = this.#conversation(message.conv);
    if (!this.#take(conversation, message)) return;
    conversation.trim();
    if (conversation.behind) this.#watchHoles();
  }

  /** One message into its conversation, from wherever it came; false if it was there already. */
  #take(conversation: Conversation, message: WireMessage): boolean {
    // The echo of our own message is as good as its acknowledgement, which may have been lost.
    if (message.user === this.user && message.device === this.device) {
      conversation.settle(message.id);
      this.#outbox.remove(message.id);
    }
    // Whatever an attachment is that this client does not understand: the words are still words.
    if (message.attachments) message.attachments = message.attachments.filter(isAttachment);
    const fresh = conversation.insert(message);
    if (conversation.cursor !== undefined) this.#ackSoon(conversation);
    if (fresh) this.emit('message', { conversation, message });
    return fresh;
  }

  /** The newest page of a conversation that this device has never looked into. */
  async #begin(conversation: Conversation): Promise<void> {
    if (conversation.cursor !== undefined || this.#pulling.has(conversation.id)) return;
    await this.#exclusively(conversation, async () => {
      const upTo = conversation.lastSeq;
      const page = await this.#history(conversation, { before: upTo + 1 });
      for (const message of page.messages) this.#take(conversation, message);
      conversation.begin(upTo);
      this.#ackSoon(conversation);
      this.emit('conversation', conversation);
    });
  }

  /** Everything after the cursor. */
  async #pull(conversation: Conversation): Promise<void> {
    if (conversation.cursor === undefined) return this.#begin(conversation);
    await this.#exclusively(conversation, async () => {
      for (let more = true; more;) {
        const from = conversation.cursor!;
        const page = await this.#history(conversation, { after: from });
        for (const message of page.messages) this.#take(conversation, message);
        // What a page leaves out does not exist any more.
        const last = page.messages.at(-1)?.seq;
        const held = conversation.cursor ?? from;
        if (last !== undefined && held < last) conversation.applyGap({ from: held + 1, to: last, why: 'expired' });
        more = page.more && (conversation.cursor ?? from) > from;
      }
      conversation.trim();
      this.#ackSoon(conversation);
    });
  }

  async #loadOlder(conversation: Conversation): Promise<boolean> {
    if (!conversation.hasOlder) return false;
    let any = false;
    await this.#exclusively(conversation, async () => {
      const before = conversation.messages[0]?.seq ?? conversation.lastSeq + 1;
      const page = await this.#history(conversation, { before });
      for (const message of page.messages) {
        if (message.attachments) message.attachments = message.attachments.filter(isAttachment);
        any = conversation.insert(message) || any;
      }
      if (!any) conversation.minSeq = before;
      this.emit('conversation', conversation);
    });
    return any;
  }

  async #exclusively(conversation: Conversation, work: () => Promise<void>): Promise<void> {
    if (this.#pulling.has(conversation.id)) return;
    this.#pulling.add(conversation.id);
    try {
      await work();
    } catch (error) {
      // Lost connections are met again after the next welcome; the rest is told.
      if (error instanceof RequestError && error.code !== 'disconnected' && error.code !== 'closed') this.emit('fault', error);
    } finally {
      this.#pulling.delete(conversation.id);
    }
  }

  async #history(conversation: Conversation, where: { before: number } | { after: number }): Promise<Page> {
    const limit = Math.min('after' in where ? this.limits.history : this.#pageSize, this.limits.history);
    const reply = await this.#connection.request({ t: 'history', id: uuidv7(), conv: conversation.id, ...where, limit });
    if (reply.t !== 'page') throw new RequestError('internal', `history was answered with ${reply.t}`);
    reply.messages.sort((a, b) => a.seq - b.seq);
    return reply;
  }

  /** Fetches what the server has and we lack, if it does not come by itself. */
  #watchHoles(): void {
    if (this.#holeTimer !== undefined) return;
    this.#holeTimer = setTimeout(() => {
      this.#holeTimer = undefined;
      for (const conversation of this.conversations.values()) if (conversation.behind) void this.#pull(conversation);
    }, HOLE_MS);
  }

  #ackSoon(conversation: Conversation): void {
    if (this.#acks.size === 0) queueMicrotask(() => this.#sendAcks());
    this.#acks.add(conversation);
  }

  #sendAcks(): void {
    for (const conversation of this.#acks) {
      const mine = conversation.members.find((member) => member.user === this.user);
      const seq = conversation.cursor ?? 0;
      if (seq > (conversation.acked ?? 0) && this.#connection.tell({ t: 'ack', conv: conversation.id, seq })) {
        conversation.acked = seq;
        if (mine) mine.delivered = Math.max(mine.delivered, seq);
      }
    }
    this.#acks.clear();
  }

  #markRead(conversation: Conversation): void {
    const seq = conversation.cursor ?? 0;
    if (seq <= conversation.readUpTo) return;
    conversation.applyReceipt(this.user, seq, seq);
    this.#wantedReads.set(conversation.id, seq);
    this.#connection.tell({ t: 'read', conv: conversation.id, seq });
    this.emit('receipt', conversation);
  }

  #typing(conversation: Conversation): void {
    const now = Date.now();
    if (now - (this.#typedAt.get(conversation.id) ?? 0) < TYPING_EVERY_MS) return;
    this.#typedAt.set(conversation.id, now);
    this.#connection.tell({ t: 'typing', conv: conversation.id });
  }

  // ——— sending

  #send(conversation: Conversation, kind: string, body: Json, attachments?: string[], shown?: Attachment[], id = uuidv7()): Outgoing {
    const message: Outgoing = {
      id, conv: conversation.id, kind, body, at: Date.now(), ...(attachments ? { attachments } : {}), ...(shown?.length ? { shown } : {}),
    };
    conversation.outgoing.push(message);
    this.#typedAt.delete(conversation.id);
    this.#outbox.add(message);
    this.emit('outgoing', { conversation, message });
    return message;
  }

  /** The files of a parcel are with the server: here is their message. */
  #deliver(parcel: Parcel): void {
    const conversation = this.#conversation(parcel.conv);
    // An earlier page may have come this far.
    if (conversation.outgoing.some((one) => one.id === parcel.id)) return;
    const shown = parcel.uploads.map((upload) => upload.attachment!);
    this.#send(conversation, 'text', { text: parcel.text }, shown.map((one) => one.id), shown, parcel.id);
  }

  async #sendOnce({ id, conv, kind, body, attachments }: Outgoing): Promise<Ok> {
    const reply = await this.#connection.request({ t: 'send', id, conv, kind, body, ...(attachments ? { attachments } : {}) });
    if (reply.t !== 'ok') throw new RequestError('internal', `send was answered with ${reply.t}`);
    return reply;
  }

  #acknowledged(message: Outgoing, ok: Ok): void {
    const conversation = this.#conversation(message.conv);
    const shown = message.shown ?? [];
    if (ok.seq !== undefined && shown.length < (message.attachments?.length ?? 0)) {
      // Only the server knows what the ids stand for: the message stays with the unsent until its echo comes.
      conversation.lastSeq = Math.max(conversation.lastSeq, ok.seq);
      this.#watchHoles();
      return;
    }
    conversation.settle(message.id);
    // The echo may be behind other messages: show the message now, where it stands in the order.
    if (ok.seq !== undefined) {
      this.#message({
        conv: message.conv, seq: ok.seq, id: message.id, user: this.user, device: this.device, kind: message.kind,
        body: message.body, attachments: shown, at: ok.at ?? message.at,
      });
    }
    this.emit('outgoing', { conversation, message });
  }

  // ——— calls

  #call(id: string, conv: string): Call {
    let call = this.calls.get(id);
    if (!call) {
      this.calls.set(id, (call = new Call(id, conv, this.#ports)));
      this.#forgetOldCalls();
    }
    return call;
  }

  #applyCall(info: CallInfo): void {
    const call = this.#call(info.call, info.conv);
    const rang = call.ringing;
    if (!call.apply(info)) return;
    this.emit('call', call);
    if (call.ringing && !rang) {
      // After a welcome the connection is not open for talk until the listeners of this very frame return.
      if (this.heard('ring')) queueMicrotask(() => this.#connection.tell({ t: 'call.ringing', call: call.id }));
      this.emit('ring', call);
    }
  }

  #forgetOldCalls(): void {
    const ended = [...this.calls.values()].filter((call) => call.ended);
    for (const call of ended.slice(0, Math.max(0, ended.length - ENDED_CALLS_KEPT))) this.calls.delete(call.id);
  }
}
