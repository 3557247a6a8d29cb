// A user-space lossy link: a UDP forwarder between clients and one server, with a seeded generator, a loss rate per
// direction, and counts. Each client gets an upstream socket of its own, so the server tells them apart.
import { createSocket } from 'node:dgram';

/** mulberry32: small, seeded, the same on every machine. */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const CLIENTS_MAX = 64;

export class LossyLink {
  /** Binds first; `forwardTo` says later where the server is, so that the server can advertise this address. */
  static async open({ seed = 1 } = {}) {
    const link = new LossyLink(seed);
    await new Promise((resolve, reject) => {
      link.#front.once('error', reject);
      link.#front.bind(0, '127.0.0.1', resolve);
    });
    return link;
  }

  /** Fractions 0…1, may change at any time. */
  loss = { up: 0, down: 0 };
  counts = { up: { seen: 0, dropped: 0 }, down: { seen: 0, dropped: 0 } };
  #random;
  #front = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
  #clients = new Map();
  #server;

  constructor(seed) {
    this.#random = generator(seed);
    this.#front.on('message', (packet, from) => this.#up(packet, from));
  }

  /** `127.0.0.1:port`, for `sfu.advertise`. */
  get address() {
    return `127.0.0.1:${this.#front.address().port}`;
  }

  forwardTo(address) {
    const at = address.lastIndexOf(':');
    this.#server = { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
  }

  #up(packet, from) {
    if (!this.#server || this.#drops('up')) return;
    const key = `${from.address}:${from.port}`;
    let socket = this.#clients.get(key);
    if (!socket) {
      if (this.#clients.size >= CLIENTS_MAX) return;
      socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
      socket.on('message', (answer) => {
        if (!this.#drops('down')) this.#front.send(answer, from.port, from.address);
      });
      this.#clients.set(key, socket);
    }
    socket.send(packet, this.#server.port, this.#server.host);
  }

  #drops(direction) {
    const count = this.counts[direction];
    count.seen += 1;
    const drops = this.#random() < this.loss[direction];
    if (drops) count.dropped += 1;
    return drops;
  }

  close() {
    this.#front.close();
    for (const socket of this.#clients.values()) socket.close();
  }
}
