/** A server that is a script: sockets whose frames a test reads and answers. */
import type { SocketLike } from '../src/connection.js';
import { Session, type SessionOptions } from '../src/session.js';
import { CLIENT_SHAPES, frameFault, type ClientFrame, type Head, type WireMessage } from '../src/wire.js';

export type Frame = ClientFrame & { t: string };

export class FakeSocket implements SocketLike {
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  readonly sent: ClientFrame[] = [];
  onframe: ((frame: ClientFrame) => void) | undefined;

  constructor(readonly url: string, readonly protocol: string) {}

  send(text: string): void {
    const frame: unknown = JSON.parse(text);
    const fault = frameFault(CLIENT_SHAPES, frame);
    if (fault) throw new Error(`the client sent a bad frame: ${fault}`);
    this.sent.push(frame as ClientFrame);
    this.onframe?.(frame as ClientFrame);
  }

  close(): void {
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  give(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  die(): void {
    this.readyState = 3;
    this.onclose?.();
  }

  all<T extends ClientFrame['t']>(type: T): Extract<ClientFrame, { t: T }>[] {
    return this.sent.filter((frame) => frame.t === type) as Extract<ClientFrame, { t: T }>[];
  }
}

export const head = (last = 0, more: Partial<Head> = {}): Head => ({
  conv: 'c1', last_seq: last, min_seq: 1,
  members: [{ user: 'alice', role: 'owner', delivered: 0, read: 0 }, { user: 'bob', role: 'member', delivered: 0, read: 0 }], ...more,
});

export const message = (seq: number, more: Partial<WireMessage> = {}): WireMessage => ({
  conv: 'c1', seq, id: `m${seq}`, user: 'bob', device: 'phone', kind: 'text', body: { text: `words ${seq}` }, at: 1_000 + seq, ...more,
});

export interface World {
  session: Session;
  sockets: FakeSocket[];
  /** The newest socket. */
  socket(): FakeSocket;
  /** Opens the newest socket and welcomes the client. */
  welcome(more?: object): FakeSocket;
}

/** Lets promises that are ready run; no time passes. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

export function world(options: Partial<SessionOptions> = {}): World {
  const sockets: FakeSocket[] = [];
  const session = new Session({
    url: 'https://example.org', token: 'token', device: 'laptop', random: () => 0.5,
    socket: (url, protocol) => {
      const socket = new FakeSocket(url, protocol);
      sockets.push(socket);
      return socket;
    },
    ...options,
  });
  const socket = (): FakeSocket => sockets.at(-1)!;
  const welcome = (more: object = {}): FakeSocket => {
    const now = socket();
    now.open();
    now.give({
      t: 'welcome', session: 's1', user: 'alice', device: 'laptop', now: Date.now(), heads: [], calls: [],
      limits: { frame_bytes: 65536, body_bytes: 16384, history: 200, sends_per_second: 20 }, relays: null, ...more,
    });
    return now;
  };
  return { session, sockets, socket, welcome };
}
