// One HTTP/1.1 request on a socket of its own, sent piece by piece: what a phone with a bad network looks like.
import { once } from 'node:events';
import { connect } from 'node:net';

export class RawRequest {
  /** Connects and sends the head. */
  static async open(url, method, headers) {
    const { hostname, port, pathname, search, host } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, 'connect');
    const lines = Object.entries({ host, connection: 'close', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    const request = new RawRequest(socket);
    await request.send(`${method} ${pathname}${search} HTTP/1.1\r\n${lines.join('')}\r\n`);
    return request;
  }

  #socket;
  #text = '';
  #answered;

  constructor(socket) {
    this.#socket = socket;
    this.#answered = new Promise((resolve) => {
      socket.on('data', (bytes) => {
        this.#text += bytes.toString('latin1');
        const status = /^HTTP\/1\.1 (\d{3}) .*\r\n\r\n/s.exec(this.#text);
        if (status) resolve({ status: Number(status[1]), at: performance.now(), text: this.#text });
      });
      // Whoever hangs may lose the connection before an answer: that has no status.
      socket.on('error', () => resolve({ status: 0, at: performance.now(), text: this.#text }));
      socket.on('close', () => resolve({ status: 0, at: performance.now(), text: this.#text }));
    });
  }

  /** More of it; resolves once the kernel has it. */
  send(bytes) {
    return new Promise((resolve, reject) => { this.#socket.write(bytes, (error) => (error ? reject(error) : resolve())); });
  }

  /** `{ status, at }`: the answer's status, and when its head was there. */
  answer() {
    return this.#answered;
  }

  close() {
    this.#socket.destroy();
  }
}
