// The real server binary, on ports that nobody else has, in a data directory of its own.
import { spawn, execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BINARY = process.env.TRUNKLINE_BINARY ?? fileURLToPath(new URL('../../../target/debug/trunkline', import.meta.url));
const READY_MS = 20_000;
const STOP_MS = 15_000;

const DEFAULTS = {
  TRUNKLINE_HTTP__LISTEN: '127.0.0.1:0',
  TRUNKLINE_OPS__LISTEN: '127.0.0.1:0',
  TRUNKLINE_SFU__LISTEN: '127.0.0.1:0',
  TRUNKLINE_SFU__SHARDS: '2',
  TRUNKLINE_TURN__LISTEN: '127.0.0.1:0',
  TRUNKLINE_TURN__EXTERNAL_IP: '127.0.0.1',
  TRUNKLINE_TURN__ALLOW_PEERS: '["127.0.0.0/8"]',
  TRUNKLINE_SIGNALING__DEMO_LOGINS: 'true',
  TRUNKLINE_LOG__FORMAT: 'json',
};

/** A running server. Start it with `Server.start`, and give it to `t.after(() => server.stop())`. */
export class Server {
  /**
   * `settings` are environment variables without `TRUNKLINE_`: `{ SFU__ADVERTISE: '["127.0.0.1:9"]' }`. `dir` is the data
   * directory that an earlier server was stopped with `keep` in.
   */
  static async start(settings = {}, { dir } = {}) {
    dir ??= await mkdtemp(join(tmpdir(), 'trunkline-interop-'));
    const overrides = Object.entries(settings).map(([key, value]) => [`TRUNKLINE_${key}`, String(value)]);
    const env = { ...process.env, ...DEFAULTS, TRUNKLINE_DATA__DIR: dir, ...Object.fromEntries(overrides) };
    const server = new Server(dir, env);
    await server.#ready;
    return server;
  }

  logs = [];
  #child;
  #env;
  #ready;
  #exited;

  constructor(dir, env) {
    this.dir = dir;
    this.#env = env;
    this.#child = spawn(BINARY, ['serve'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#exited = new Promise((resolve) => this.#child.once('exit', (code, signal) => resolve(signal ?? code)));
    this.#ready = this.#untilReady();
  }

  get pid() {
    return this.#child.pid;
  }

  async #untilReady() {
    const lines = createInterface({ input: this.#child.stderr });
    const ready = new Promise((resolve) => {
      lines.on('line', (line) => {
        this.logs.push(line);
        if (line.startsWith('{')) {
          const entry = JSON.parse(line);
          if (entry.message === 'ready') resolve(entry);
        }
      });
    });
    const ended = this.#exited.then((how) => { throw new Error(`the server ended (${how}):\n${this.logs.join('\n')}`); });
    const entry = await within(READY_MS, 'the server is ready', Promise.race([ready, ended]));
    this.http = entry.http;
    this.ops = entry.ops;
    this.sfu = entry.sfu;
    this.turn = entry.turn;
    this.url = `http://${entry.http}`;
  }

  /** A token, signed by the server's own command. */
  async token(user, ...more) {
    const { stdout } = await run(BINARY, ['token', '--user', user, ...more], { env: this.#env });
    return stdout.trim();
  }

  /** Another command of the binary, with this server's configuration; the process. It outlives the server. */
  command(...args) {
    return spawn(BINARY, args, { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** A REST request as `user`; the answer's JSON. */
  async rest(user, method, path, body) {
    const headers = { authorization: `Bearer ${await this.token(user)}`, 'content-type': 'application/json' };
    const response = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? undefined : response.json();
  }

  /** A conversation of `users`; the first one makes it. */
  async conversation(users, title) {
    const head = await this.rest(users[0], 'POST', '/v1/conversations', title ? { members: users, title } : { members: users });
    return head.conv;
  }

  /** All messages of a conversation, as `user` sees them. */
  async messages(user, conv) {
    return (await this.rest(user, 'GET', `/v1/conversations/${conv}/messages?after=0&limit=200`)).messages;
  }

  /** The sum of a metric over its labels; 0 if it was never counted. */
  async metric(name) {
    const text = await (await fetch(`http://${this.ops}/metrics`)).text();
    return text.split('\n')
      .filter((line) => line.startsWith(name) && /^[ {]/.test(line.slice(name.length)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  /** Resident memory, in bytes. */
  async residentBytes() {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
  }

  /** The most memory that was resident since `forgetPeak`, in bytes: the kernel's own high-water mark. */
  async peakBytes() {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
  }

  /** From now on the peak is what is resident from now on. */
  async forgetPeak() {
    await writeFile(`/proc/${this.pid}/clear_refs`, '5');
  }

  /** Asks it to stop, waits until it has, and removes its data unless told to keep it. Gives its exit code. */
  async stop({ keep = false } = {}) {
    this.#child.kill('SIGTERM');
    const how = await within(STOP_MS, 'the server stopped', this.#exited).catch((error) => {
      this.#child.kill('SIGKILL');
      throw error;
    });
    if (!keep) await rm(this.dir, { recursive: true, force: true });
    return how;
  }
}

/** The promise, or an error that says what did not happen in time. */
export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks `probe` until it gives something true, which is the result. */
export async function until(what, probe, { ms = 10_000, every = 100 } = {}) {
  const deadline = performance.now() + ms;
  let last;
  do {
    last = await probe();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, every));
  } while (performance.now() < deadline);
  throw new Error(`not within ${ms} ms: ${what} (last: ${JSON.stringify(last)})`);
}
