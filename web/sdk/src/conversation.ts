/** One conversation as this device holds it: what it has, what is on its way, and who has read what. */
import type { Parcel } from './parcel.js';
import type { Upload } from './upload.js';
import type { RequestError } from './util.js';
import type { Attachment, AttachmentKind, Head, Json, MemberInfo, WireMessage } from './wire.js';

export interface Outgoing {
  /** The message's own id: the same in every attempt. */
  readonly id: string;
  readonly conv: string;
  readonly kind: string;
  readonly body: Json;
  /** Ids of what it refers to. */
  readonly attachments?: string[];
  /** The same as this device knows it, to show until the server's own word comes; in the order of the ids. */
  readonly shown?: Attachment[];
  /** When the person sent it, by this device's clock. */
  readonly at: number;
  /** Why it will not be sent without the person asking again. */
  failed?: RequestError;
}

export type DeliveryMark = 'sending' | 'failed' | 'sent' | 'delivered' | 'read';

export interface Gap {
  from: number;
  to: number;
  why: string;
}

/** A file, or bytes that are to be one, and what they are. */
export interface FileToSend {
  file: Blob;
  /** Guessed from the type if left out; a voice note says so itself. */
  kind?: AttachmentKind | undefined;
  /** Its own name if it is a `File`. */
  name?: string | undefined;
}

/** What a conversation asks of its session. */
export interface ConversationPort {
  readonly user: string;
  sendMessage(conv: Conversation, kind: string, body: Json, attachments?: string[]): Outgoing;
  sendFiles(conv: Conversation, files: readonly FileToSend[], text: string): Parcel;
  parcels(conv: Conversation): Parcel[];
  loadOlder(conv: Conversation): Promise<boolean>;
  markRead(conv: Conversation): void;
  typing(conv: Conversation): void;
}

/** Messages kept in memory of one conversation; older ones are fetched again when scrolled to. Some 1 KB each. */
export const MESSAGES_KEPT_MAX = 2_000;

export class Conversation {
  readonly id: string;
  title: string | undefined;
  /** Seconds that messages are kept; undefined: for ever. */
  retentionS: number | undefined;
  members: MemberInfo[] = [];
  /** The newest sequence number known to exist. */
  lastSeq = 0;
  /** The oldest one that the server can still give. */
  minSeq = 1;
  /** Everything up to here, and from where this device began, has arrived; undefined before the first page. */
  cursor: number | undefined;
  /** In order of sequence number. */
  readonly messages: WireMessage[] = [];
  /** Sent by the person, not yet acknowledged by the server; in order. */
  readonly outgoing: Outgoing[] = [];
  readonly gaps: Gap[] = [];
  /** @internal What the server was told has arrived. */
  acked: number | undefined;
  readonly #port: ConversationPort;
  readonly #seen = new Map<string, number>();

  constructor(id: string, port: ConversationPort) {
    this.id = id;
    this.#port = port;
  }

  /** Sends words. Returns at once; the message stands in `outgoing` until the server has it. */
  send(text: string): Outgoing {
    return this.#port.sendMessage(this, 'text', { text });
  }

  /** Sends any kind of message. */
  sendKind(kind: string, body: Json, attachments?: string[]): Outgoing {
    return this.#port.sendMessage(this, kind, body, attachments);
  }

  /** Uploads a file and sends it as a message when it is ready, also if the page is reloaded in between. */
  sendFile(file: Blob, options: Omit<FileToSend, 'file'> & { text?: string } = {}): Upload {
    return this.sendFiles([{ ...options, file }], options.text).uploads[0]!;
  }

  /** The same for up to ten files that are to be one message. The parcel stands in `parcels` until it is one. */
  sendFiles(files: readonly FileToSend[], text = ''): Parcel {
    return this.#port.sendFiles(this, files, text);
  }

  /** Files on their way to becoming messages of this conversation, in the order in which they were sent. */
  get parcels(): Parcel[] {
    return this.#port.parcels(this);
  }

  /** Fetches a page of older messages; false if there are none. */
  loadOlder(): Promise<boolean> {
    return this.#port.loadOlder(this);
  }

  /** The person has seen everything that is here. */
  markRead(): void {
    this.#port.markRead(this);
  }

  /** The person is typing; told to the others at most every three seconds. */
  typing(): void {
    this.#port.typing(this);
  }

  get others(): MemberInfo[] {
    return this.members.filter((member) => member.user !== this.#port.user);
  }

  get hasOlder(): boolean {
    const first = this.messages[0]?.seq ?? (this.cursor ?? this.lastSeq) + 1;
    return first > this.minSeq;
  }

  /** How far I have read, on any of my devices. */
  get readUpTo(): number {
    return this.members.find((member) => member.user === this.#port.user)?.read ?? 0;
  }

  /** Messages of others, and calls I missed, that I have not read. */
  get unread(): number {
    const read = this.readUpTo;
    const oldest = this.messages[0]?.seq ?? this.lastSeq + 1;
    let count = Math.max(0, oldest - 1 - Math.max(read, this.minSeq - 1));
    for (let i = this.messages.length - 1; i >= 0; i--) {
      const message = this.messages[i]!;
      if (message.seq <= read) break;
      if (this.#countsAsUnread(message)) count++;
    }
    return count;
  }

  #countsAsUnread(message: WireMessage): boolean {
    if (message.kind !== 'call') return message.user !== this.#port.user;
    const body = message.body as { outcome?: unknown; caller?: unknown } | null;
    return body?.caller !== this.#port.user && (body?.outcome === 'missed' || body?.outcome === 'cancelled');
  }

  /** What the sender's mark beside a message of mine should be. In a group, read means read by all. */
  mark(message: WireMessage): DeliveryMark {
    const others = this.others;
    if (others.length > 0 && others.every((member) => member.read >= message.seq)) return 'read';
    if (others.length > 0 && others.every((member) => Math.max(member.delivered, member.read) >= message.seq)) return 'delivered';
    return 'sent';
  }

  // What follows is for the session.

  /** @internal */
  applyHead(head: Head): void {
    this.title = head.title ?? undefined;
    this.retentionS = head.retention_s ?? undefined;
    const known = new Map(this.members.map((member) => [member.user, member]));
    // Receipts only grow; a head that was read before a receipt must not take it back.
    this.members = head.members.map((member) => ({
      ...member,
      delivered: Math.max(member.delivered, known.get(member.user)?.delivered ?? 0),
      read: Math.max(member.read, known.get(member.user)?.read ?? 0),
    }));
    this.lastSeq = Math.max(this.lastSeq, head.last_seq);
    this.minSeq = Math.max(this.minSeq, head.min_seq);
    if (this.cursor === undefined && this.lastSeq === 0) this.cursor = 0;
  }

  /** @internal Takes a message in; false if it was here already. */
  insert(message: WireMessage): boolean {
    this.lastSeq = Math.max(this.lastSeq, message.seq);
    const index = this.#indexOf(message.seq);
    if (this.messages[index]?.seq === message.seq) return false;
    // Ids are the sender's: only the same device can mean the same message by one.
    const identity = `${message.user}/${message.device}/${message.id}`;
    const twin = this.#seen.get(identity);
    if (twin !== undefined && twin !== message.seq) {
      this.#skip(message.seq);
      return false;
    }
    this.messages.splice(index, 0, message);
    this.#seen.set(identity, message.seq);
    this.#advance();
    return true;
  }

  /** @internal The first page has come, and it reaches up to `seq`: from here on, the order is known. */
  begin(seq: number): void {
    if (this.cursor !== undefined) return;
    this.cursor = seq;
    this.#advance();
  }

  /** @internal Part of the log can not be had any more. */
  applyGap(gap: Gap): void {
    this.gaps.push(gap);
    if (this.gaps.length > 100) this.gaps.shift();
    if (this.cursor !== undefined && gap.from <= this.cursor + 1 && gap.to > this.cursor) this.cursor = gap.to;
    this.#advance();
  }

  /** @internal False if nothing changed. */
  applyReceipt(user: string, delivered: number, read: number): boolean {
    const member = this.members.find((one) => one.user === user);
    if (!member || (member.delivered >= delivered && member.read >= read)) return false;
    member.delivered = Math.max(member.delivered, delivered);
    member.read = Math.max(member.read, read);
    return true;
  }

  /** @internal Whether messages exist that have not arrived here. */
  get behind(): boolean {
    return this.cursor !== undefined && this.cursor < this.lastSeq;
  }

  /** @internal */
  settle(id: string): void {
    const index = this.outgoing.findIndex((one) => one.id === id);
    if (index >= 0) this.outgoing.splice(index, 1);
  }

  /** @internal Forgets the oldest messages beyond {@link MESSAGES_KEPT_MAX}. */
  trim(): void {
    const excess = this.messages.length - MESSAGES_KEPT_MAX;
    if (excess <= 0) return;
    for (const old of this.messages.splice(0, excess)) this.#seen.delete(`${old.user}/${old.device}/${old.id}`);
  }

  #indexOf(seq: number): number {
    let low = 0;
    let high = this.messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle]!.seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #skip(seq: number): void {
    if (this.cursor === seq - 1) this.cursor = seq;
    this.#advance();
  }

  #advance(): void {
    if (this.cursor === undefined) return;
    for (let i = this.#indexOf(this.cursor + 1); this.messages[i]?.seq === this.cursor + 1; i++) this.cursor++;
  }
}
