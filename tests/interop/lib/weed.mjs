// A SeaweedFS of a test's own: a real S3 server on ports that nobody else has. See media-store/blob/src/testing.rs for
// what each flag is for.
import { spawn } from 'node:child_process';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { until, within } from './server.mjs';

const PROGRAM = process.env.TRUNKLINE_WEED ?? fileURLToPath(new URL('../../../target/venv/bin/weed', import.meta.url));
const START_MS = 60_000;
const BUCKET = 'trunkline';
const REGION = 'us-east-1';
const ACCESS_KEY = 'test-key';
/** Below those that the kernel gives to outgoing connections. */
const PORTS = [11_000, 21_000];
const PORT_COUNT = 9;
/** SeaweedFS's own worker looks for the admin's gRPC port so far above its HTTP port. */
const GRPC_OFFSET = 10_000;

/** Kills the server once this process says so, or is no more. */
const WATCHED = '"$@" & child=$!; read -r _; kill -9 "$child"; wait "$child" 2> /dev/null';

export class Weed {
  /** Starts it, with an empty bucket. Give it to `t.after(() => weed.stop())`. */
  static async start() {
    const folder = await mkdtemp(join(tmpdir(), 'trunkline-weed-'));
    const weed = new Weed(folder, await freePorts());
    await within(START_MS, 'SeaweedFS takes objects', weed.#untilReady()).catch(async (error) => {
      const log = await readFile(join(folder, 'weed.log'), 'utf8');
      await weed.stop();
      throw new Error(`${error.message}; its log ends:\n${log.slice(-2_000)}`);
    });
    return weed;
  }

  #folder;
  #child;
  #secret = randomBytes(16).toString('hex');
  #ports;

  constructor(folder, first) {
    this.#folder = folder;
    this.#ports = { first, admin: first + PORT_COUNT - 1 };
    this.endpoint = `http://127.0.0.1:${first}`;
    const services = ['s3', 'master', 'volume', 'filer'].flatMap((service, i) =>
      [`-${service}.port=${first + 2 * i}`, `-${service}.port.grpc=${first + 2 * i + 1}`]);
    const log = openSync(join(folder, 'weed.log'), 'a');
    this.#child = spawn('sh', [
      '-c', WATCHED, 'sh', PROGRAM, 'mini', '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-master.telemetry=false', '-webdav=false',
      '-admin.ui=false', '-s3.port.iceberg=0', '-s3.port.lance=0', '-dir', folder, `-bucket=${BUCKET}`, ...services,
      `-admin.port=${this.#ports.admin}`,
    ], {
      cwd: folder, stdio: ['pipe', log, log],
      env: { ...process.env, AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: this.#secret },
    });
    closeSync(log);
  }

  async #untilReady() {
    await until('the bucket is there', () => this.request('HEAD').then(({ status }) => status === 200, () => false), { ms: START_MS });
    await until('objects are taken', async () => (await this.request('PUT', '/probe', {}, 'x')).status === 200, { ms: START_MS });
    await this.request('DELETE', '/probe');
  }

  /** The server's settings that make this its store. */
  get settings() {
    return {
      MEDIA__S3_ENDPOINT: this.endpoint, MEDIA__S3_BUCKET: BUCKET, MEDIA__S3_REGION: REGION,
      MEDIA__S3_ACCESS_KEY: ACCESS_KEY, MEDIA__S3_SECRET_KEY: this.#secret,
    };
  }

  /** A request about the bucket or an object in it, signed as AWS has it (Signature Version 4, in headers). */
  request(method, object = '', query = {}, body = undefined) {
    const path = `/${BUCKET}${object}`;
    const search = Object.entries(query).sort().map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join('&');
    const at = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const scope = `${at.slice(0, 8)}/${REGION}/s3/aws4_request`;
    const headers = { host: new URL(this.endpoint).host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'x-amz-date': at };
    const names = Object.keys(headers).join(';');
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`).join('');
    const canonical = [method, path, search, lines, names, 'UNSIGNED-PAYLOAD'].join('\n');
    const toSign = ['AWS4-HMAC-SHA256', at, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
    const key = scope.split('/').reduce((last, part) => createHmac('sha256', last).update(part).digest(), `AWS4${this.#secret}`);
    const signature = createHmac('sha256', key).update(toSign).digest('hex');
    const authorization = `AWS4-HMAC-SHA256 Credential=${ACCESS_KEY}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
    return fetch(`${this.endpoint}${path}${search && `?${search}`}`, { method, body, headers: { ...headers, authorization } });
  }

  /** The keys of all objects. */
  async keys() {
    const text = await (await this.request('GET', '', { 'list-type': '2', 'max-keys': '1000' })).text();
    return [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key);
  }

  /** How many multipart uploads nobody has ended. */
  async pendingMultiparts() {
    const text = await (await this.request('GET', '', { uploads: '' })).text();
    return [...text.matchAll(/<UploadId>/g)].length;
  }

  async stop() {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await ended;
    await rm(this.#folder, { recursive: true, force: true });
    const { first, admin } = this.#ports;
    for (let port = first; port <= admin + GRPC_OFFSET; port = port === admin ? admin + GRPC_OFFSET : port + 1) {
      for (const name of ['admin-grpc', 'filer', 'filer-grpc', 'master-grpc', 's3', 's3-grpc', 'volume-grpc']) {
        await rm(`/tmp/seaweedfs-${name}-${port}.sock`, { force: true });
      }
    }
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

async function freePorts() {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const first = PORTS[0] + Math.floor(Math.random() * (PORTS[1] - PORTS[0] - PORT_COUNT));
    const all = [...Array(PORT_COUNT).keys()].map((n) => first + n).concat(first + PORT_COUNT - 1 + GRPC_OFFSET);
    if ((await Promise.all(all.map(isFree))).every(Boolean)) return first;
  }
  throw new Error('no free ports');
}
