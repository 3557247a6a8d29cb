// What the TURN tests share: a server that listens for UDP, TCP and TLS, its URIs, and credentials.
import { execFile } from 'node:child_process';
import { createHmac, randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Server } from './server.mjs';

const run = promisify(execFile);
export const SECRET = 'a-secret-shared-by-the-test-and-the-server';

/**
 * A port of loopback that is free for UDP and TCP, below those that the system gives out by itself: one of those could be
 * a socket's of a browser or a relay before our server has it.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    if ((await isFreeForUdp(port)) && (await isFreeForTcp(port))) return port;
  }
}

function isFreeForUdp(port) {
  const socket = createSocket('udp4');
  return new Promise((resolve) => {
    socket.once('error', () => socket.close(() => resolve(false)));
    socket.bind(port, '127.0.0.1', () => socket.close(() => resolve(true)));
  });
}

function isFreeForTcp(port) {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A certificate for localhost that signs itself, and its key; gone when the test is over. */
export async function certificate(t) {
  const dir = await mkdtemp(join(tmpdir(), 'trunkline-turn-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const files = { certificate: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
  await run('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE',
    '-keyout', files.key, '-out', files.certificate,
  ]);
  return files;
}

/** A server whose relay speaks all three; `choose` names the only one that clients are told of. */
export async function relay(t, { choose = ['udp', 'tcp', 'tls'], settings = {} } = {}) {
  const files = await certificate(t);
  const [plain, tls] = [await freePort(), await freePort()];
  const uris = {
    udp: `turn:127.0.0.1:${plain}?transport=udp`,
    tcp: `turn:127.0.0.1:${plain}?transport=tcp`,
    tls: `turns:localhost:${tls}?transport=tcp`,
  };
  const server = await Server.start({
    TURN__LISTEN: `127.0.0.1:${plain}`,
    TURN__LISTEN_TCP: `127.0.0.1:${plain}`,
    TURN__LISTEN_TLS: `127.0.0.1:${tls}`,
    TURN__TLS_CERTIFICATE: files.certificate,
    TURN__TLS_KEY: files.key,
    TURN__SECRETS: JSON.stringify([SECRET]),
    TURN__URLS: JSON.stringify([choose].flat().map((transport) => uris[transport])),
    ...settings,
  });
  t.after(() => server.stop());
  return { server, uris, ports: { udp: plain, tcp: plain, tls }, certificate: files.certificate };
}

/** What signaling would mint. */
export function credentials(user = 'alice', secret = SECRET) {
  const username = `${Math.floor(Date.now() / 1000) + 600}:${user}`;
  return { username, password: createHmac('sha1', secret).update(username).digest('base64') };
}
