// A user-space network between a browser and the server: TCP, byte for byte, that can be held, cut and mended at the
// moment that a test wants.
import { connect, createServer } from 'node:net';

export class CuttableLink {
  /** To `host:port`. */
  static async open(address) {
    const link = new CuttableLink(address);
    await new Promise((resolve, reject) => {
      link.#front.once('error', reject);
      link.#front.listen(0, '127.0.0.1', resolve);
    });
    return link;
  }

  /** Bytes that went through, by direction. */
  counts = { up: 0, down: 0 };
  #to;
  #front = createServer((client) => this.#carry(client));
  #pairs = new Set();
  #isCut = false;
  #holdAt = Infinity;
  #held = () => {};

  constructor(address) {
    const at = address.lastIndexOf(':');
    this.#to = { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
  }

  get url() {
    return `http://127.0.0.1:${this.#front.address().port}`;
  }

  /** A connection that brings more than `bytes` up from now on stands still there; resolves when one does. */
  holdAt(bytes) {
    this.#holdAt = bytes;
    for (const pair of this.#pairs) pair.up = 0;
    return new Promise((resolve) => { this.#held = resolve; });
  }

  /** What is held goes on, and nothing is held any more. */
  release() {
    this.#holdAt = Infinity;
    for (const { client } of this.#pairs) client.resume();
  }

  /** Every connection breaks, and no new one comes about. */
  cut() {
    this.#isCut = true;
    this.#breakAll();
  }

  mend() {
    this.#isCut = false;
  }

  close() {
    this.#breakAll();
    this.#front.close();
  }

  #breakAll() {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  #carry(client) {
    if (this.#isCut) {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ ...this.#to, noDelay: true });
    const pair = { client, server, up: 0 };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    client.on('data', (bytes) => {
      pair.up += bytes.length;
      this.counts.up += bytes.length;
      if (!server.write(bytes)) client.pause();
      if (pair.up > this.#holdAt) {
        client.pause();
        this.#held();
      }
    });
    server.on('drain', () => {
      if (pair.up <= this.#holdAt) client.resume();
    });
    server.on('data', (bytes) => {
      this.counts.down += bytes.length;
      if (!client.write(bytes)) server.pause();
    });
    client.on('drain', () => server.resume());
    for (const [one, other] of [[client, server], [server, client]]) {
      one.on('error', () => other.destroy());
      one.on('end', () => other.end());
      one.on('close', () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}
