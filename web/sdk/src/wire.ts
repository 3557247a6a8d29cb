/**
 * The wire messages of `docs/protocol.md`, version 1, as types, and the table that checks what a
 * server sends before anybody relies on it. Times are Unix milliseconds unless a name says otherwise.
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = 'trunkline.v1.json';

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface MediaFlags {
  audio: boolean;
  video: boolean;
}

export type Role = 'owner' | 'admin' | 'member';

export interface MemberInfo {
  user: string;
  role: Role;
  /** Every message up to this sequence number has reached a device of the member. */
  delivered: number;
  /** … and has been read up to this one. */
  read: number;
}

/** A conversation as the server lists it. */
export interface Head {
  conv: string;
  title?: string | null;
  last_seq: number;
  /** The oldest message that can still be fetched. */
  min_seq: number;
  members: MemberInfo[];
  /** Seconds after which messages and what they refer to are deleted; absent or null: never. */
  retention_s?: number | null;
}

export type AttachmentKind = 'photo' | 'voice' | 'file';

/** Stored bytes as a message refers to them. */
export interface Attachment {
  /** The id of the upload that brought it. */
  id: string;
  /** What it turned out to be: a photo that cannot be shown is a file. */
  kind: AttachmentKind;
  name?: string | null;
  /** MIME type of the best variant. */
  type: string;
  /** Size of the best variant. */
  bytes: number;
  /** Upright, in pixels. */
  width?: number | null;
  height?: number | null;
  /** A placeholder of some 25 bytes, base64. */
  thumbhash?: string | null;
  /** Whether the variant `original` moves. */
  animated?: boolean | null;
  duration_ms?: number | null;
  /** 64 loudnesses, 0–255 each, base64. */
  waveform?: string | null;
  /** What can be fetched, the smallest first: long edges (`320`, `1280`, `2048`) and `original`, or `audio`, or `file`. */
  variants: string[];
}

/** The right to upload one thing into a conversation. */
export interface UploadGrant {
  grant: string;
  /** Where to upload to, by tus. */
  endpoint: string;
  /** After this the grant begins no upload; one that it began may go on. */
  expires_at: number;
  bytes_max: number;
  direct: boolean;
}

/** RFC 9457. */
export interface Problem {
  code: string;
  title?: string | null;
  detail?: string | null;
  status?: number | null;
  retry_ms?: number | null;
  limit?: number | null;
}

/** What has become of an upload. */
export interface UploadStatus {
  id: string;
  state: 'receiving' | 'processing' | 'ready' | 'failed';
  offset: number;
  bytes?: number | null;
  attachment?: Attachment | null;
  problem?: Problem | null;
}

/** Signed addresses of an attachment's variants. */
export interface AttachmentLinks {
  id: string;
  expires_at: number;
  links: Record<string, string>;
}

export interface WireMessage {
  conv: string;
  seq: number;
  /** The sender's own id of the message, a UUIDv7. */
  id: string;
  user: string;
  device: string;
  kind: string;
  body: Json;
  attachments?: Attachment[];
  at: number;
}

export type CallState = 'inviting' | 'ringing' | 'connecting' | 'connected' | 'ended';
export type LegState = 'inviting' | 'ringing' | 'joined' | 'left' | 'declined' | 'answered_elsewhere';
export type EndReason = 'declined' | 'cancelled' | 'timed_out' | 'busy' | 'failed' | 'ended';

export interface Leg {
  user: string;
  device: string;
  state: LegState;
  media?: MediaFlags | null;
}

export interface CallInfo {
  call: string;
  conv: string;
  state: CallState;
  /** Grows with every change; an older one is ignored. */
  ver: number;
  caller: { user: string; device: string };
  media: MediaFlags;
  ring_until?: number | null;
  /** This device's own state; `none` before it rings, and while it has no part. */
  you: LegState | 'none';
  legs: Leg[];
  reason?: EndReason | null;
  at?: number;
}

/** The body of a message of kind `call`: what became of a call. */
export interface CallOutcome {
  call: string;
  outcome: 'missed' | 'declined' | 'cancelled' | 'ended' | 'failed' | 'busy';
  caller: string;
  video: boolean;
  seconds: number;
}

export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

export interface SlotInfo {
  slot: number;
  mid_audio?: string | null;
  mid_video?: string | null;
  /** Null while nobody is in it. */
  user: string | null;
  device: string | null;
}

export interface SlotView {
  slot: number;
  /** CSS pixels × device pixel ratio; 0×0 pauses the video. */
  width: number;
  height: number;
}

export interface SessionLimits {
  frame_bytes: number;
  body_bytes: number;
  history: number;
  sends_per_second: number;
}

export interface Welcome {
  t: 'welcome';
  session: string;
  user: string;
  device: string;
  now: number;
  heads: Head[];
  calls: CallInfo[];
  limits: SessionLimits;
  relays?: { ice_servers: IceServer[]; ttl_s: number } | null;
}

export type Ok = { t: 'ok'; id: string; conv?: string; seq?: number; at?: number; call?: string; ver?: number };
export type Page = { t: 'page'; id: string; conv: string; messages: WireMessage[]; more: boolean };
export type MediaAnswer = { t: 'media.answer'; id: string; call: string; sdp: string };
export type ErrorFrame = { t: 'error'; id?: string | null; code: string; text: string; retry_ms?: number | null };
export type ByeCode = 'shutdown' | 'revoked' | 'replaced' | 'slow' | 'protocol';

export type ServerFrame =
  | Welcome
  | Ok
  | Page
  | MediaAnswer
  | ErrorFrame
  | ({ t: 'message' } & WireMessage)
  | { t: 'receipt'; conv: string; user: string; delivered: number; read: number }
  | { t: 'gap'; conv: string; from: number; to: number; why: string }
  | { t: 'behind' }
  | { t: 'typing'; conv: string; user: string }
  | { t: 'presence'; user: string; state: string; last_seen?: number | null }
  | ({ t: 'conversation' } & Head)
  | ({ t: 'call' } & CallInfo)
  | { t: 'slots'; call: string; slots: SlotInfo[] }
  | { t: 'media.gone'; call: string; why: string }
  | { t: 'bye'; code: ByeCode; retry_ms: [number, number] };

export type ClientFrame =
  | { t: 'hello'; v: number; token: string; device?: string; cursors: Record<string, number> }
  | { t: 'send'; id: string; conv: string; kind: string; body: Json; attachments?: string[] }
  | { t: 'ack'; conv: string; seq: number }
  | { t: 'read'; conv: string; seq: number }
  | { t: 'history'; id: string; conv: string; before?: number; after?: number; limit?: number }
  | { t: 'typing'; conv: string }
  | { t: 'presence'; state: string }
  | { t: 'call.invite'; id: string; conv: string; call: string; media: MediaFlags }
  | { t: 'call.ringing'; call: string }
  | { t: 'call.accept'; id: string; call: string; media: MediaFlags }
  | { t: 'call.decline' | 'call.cancel' | 'call.end'; id: string; call: string }
  | { t: 'call.media'; call: string; media: MediaFlags }
  | { t: 'media.offer'; id: string; call: string; sdp: string }
  | { t: 'media.view'; call: string; slots: SlotView[] };

/** A client frame that the server answers with a frame of the same id. */
export type RequestFrame = Extract<ClientFrame, { id: string }>;
export type Reply = Ok | Page | MediaAnswer;

type Kind = 'string' | 'number' | 'boolean' | 'array' | 'object' | 'any';
type Shape = Record<string, Kind | `${Exclude<Kind, 'any'>}?`>;

const HEAD: Shape = {
  conv: 'string', title: 'string?', last_seq: 'number', min_seq: 'number', members: 'array', retention_s: 'number?',
};
const MESSAGE: Shape = {
  conv: 'string', seq: 'number', id: 'string', user: 'string', device: 'string', kind: 'string', body: 'any',
  attachments: 'array?', at: 'number',
};
const ATTACHMENT: Shape = {
  id: 'string', kind: 'string', name: 'string?', type: 'string', bytes: 'number', width: 'number?', height: 'number?',
  thumbhash: 'string?', animated: 'boolean?', duration_ms: 'number?', waveform: 'string?', variants: 'array',
};
const CALL: Shape = {
  call: 'string', conv: 'string', state: 'string', ver: 'number', caller: 'object', media: 'object',
  ring_until: 'number?', you: 'string', legs: 'array', reason: 'string?', at: 'number?',
};

/** What each frame from the server must carry; a question mark allows absence and null. */
export const SERVER_SHAPES = {
  welcome: {
    session: 'string', user: 'string', device: 'string', now: 'number', heads: 'array', calls: 'array',
    limits: 'object', relays: 'object?',
  },
  ok: { id: 'string', conv: 'string?', seq: 'number?', at: 'number?', call: 'string?', ver: 'number?' },
  page: { id: 'string', conv: 'string', messages: 'array', more: 'boolean' },
  'media.answer': { id: 'string', call: 'string', sdp: 'string' },
  error: { id: 'string?', code: 'string', text: 'string', retry_ms: 'number?' },
  message: MESSAGE,
  receipt: { conv: 'string', user: 'string', delivered: 'number', read: 'number' },
  gap: { conv: 'string', from: 'number', to: 'number', why: 'string' },
  behind: {},
  typing: { conv: 'string', user: 'string' },
  presence: { user: 'string', state: 'string', last_seen: 'number?' },
  conversation: HEAD,
  call: CALL,
  slots: { call: 'string', slots: 'array' },
  'media.gone': { call: 'string', why: 'string' },
  bye: { code: 'string', retry_ms: 'array' },
} satisfies Record<ServerFrame['t'], Shape>;

/** The same for what a client sends: the tests hold the server's fixtures against it. */
export const CLIENT_SHAPES = {
  hello: { v: 'number', token: 'string', device: 'string?', cursors: 'object?' },
  send: { id: 'string', conv: 'string', kind: 'string', body: 'any', attachments: 'array?' },
  ack: { conv: 'string', seq: 'number' },
  read: { conv: 'string', seq: 'number' },
  history: { id: 'string', conv: 'string', before: 'number?', after: 'number?', limit: 'number?' },
  typing: { conv: 'string' },
  presence: { state: 'string' },
  'call.invite': { id: 'string', conv: 'string', call: 'string', media: 'object' },
  'call.ringing': { call: 'string' },
  'call.accept': { id: 'string', call: 'string', media: 'object' },
  'call.decline': { id: 'string', call: 'string' },
  'call.cancel': { id: 'string', call: 'string' },
  'call.end': { id: 'string', call: 'string' },
  'call.media': { call: 'string', media: 'object' },
  'media.offer': { id: 'string', call: 'string', sdp: 'string' },
  'media.view': { call: 'string', slots: 'array' },
} satisfies Record<ClientFrame['t'], Shape>;

const NESTED: Record<string, Record<string, Shape>> = {
  welcome: { heads: HEAD, calls: CALL },
  page: { messages: MESSAGE },
  slots: { slots: { slot: 'number', mid_audio: 'string?', mid_video: 'string?', user: 'string?', device: 'string?' } },
};

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** The first field of `value` that does not fit, as a sentence; undefined if all do. Extra fields are fine. */
export function misfit(shape: Shape, value: Record<string, unknown>): string | undefined {
  for (const [field, rule] of Object.entries(shape)) {
    const optional = rule.endsWith('?');
    const wanted = optional ? rule.slice(0, -1) : rule;
    const got = kindOf(value[field]);
    if (optional && (got === 'undefined' || got === 'null')) continue;
    if (wanted === 'any' ? got === 'undefined' : got !== wanted) return `${field} is ${got}, not ${wanted}`;
  }
  return undefined;
}

/** Why `value` is no frame of the given table, as a sentence; undefined if it is one. */
export function frameFault(shapes: Record<string, Shape>, value: unknown): string | undefined {
  if (kindOf(value) !== 'object') return 'not an object';
  const frame = value as Record<string, unknown>;
  const type = frame['t'];
  if (typeof type !== 'string') return 'no type';
  const shape = Object.hasOwn(shapes, type) ? shapes[type] : undefined;
  if (!shape) return `unknown type ${type}`;
  const fault = misfit(shape, frame);
  if (fault) return `${type}: ${fault}`;
  for (const [field, inner] of Object.entries(NESTED[type] ?? {})) {
    for (const item of frame[field] as unknown[]) {
      const itemFault = kindOf(item) === 'object' ? misfit(inner, item as Record<string, unknown>) : 'not an object';
      if (itemFault) return `${type}.${field}: ${itemFault}`;
    }
  }
  return undefined;
}

/** Whether a value can be shown as an attachment. A message with one that cannot is still a message. */
export function isAttachment(value: unknown): value is Attachment {
  if (kindOf(value) !== 'object') return false;
  const attachment = value as Record<string, unknown>;
  return misfit(ATTACHMENT, attachment) === undefined
    && (attachment['variants'] as unknown[]).every((name) => typeof name === 'string');
}

/** A frame from the server, or a sentence that says what is wrong with it. */
export function decodeServerFrame(text: string): ServerFrame | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'not JSON';
  }
  return frameFault(SERVER_SHAPES, value) ?? (value as ServerFrame);
}
