// Other people's TURN clients through our relay: aioice over UDP, TCP and TLS; libnice over UDP and TCP.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { until } from './lib/server.mjs';
import { credentials, relay, SECRET } from './lib/turn.mjs';

const run = promisify(execFile);
const PYTHON = process.env.TRUNKLINE_PYTHON ?? fileURLToPath(new URL('../../target/venv/bin/python', import.meta.url));
/** The one that Debian's packages are for. */
const DEBIAN_PYTHON = '/usr/bin/python3';
const BINARY = process.env.TRUNKLINE_BINARY ?? fileURLToPath(new URL('../../target/debug/trunkline', import.meta.url));
const script = (name) => fileURLToPath(new URL(`./python/${name}.py`, import.meta.url));
const PACKETS = 50;

test('aioice relays through us', { timeout: 90_000 }, async (t) => {
  const { server, ports } = await relay(t);
  for (const transport of ['udp', 'tcp', 'tls']) {
    await t.test(`over ${transport.toUpperCase()}`, async () => {
      const { username, password } = credentials();
      const { stdout } = await run(PYTHON, [script('turn_relay'), '127.0.0.1', String(ports[transport]), transport, username, password], { timeout: 30_000 });
      assert.deepEqual(JSON.parse(stdout), { alice: PACKETS, bob: PACKETS, candidates: ['relay'] });
    });
  }
  await t.test('and leaves no allocation behind', async () => {
    await until('no allocation is left', async () => await server.metric('turn_allocations') === 0);
  });
});

// libnice leaves loopback out: a network of its own, with another interface.
const NETWORK = [
  'ip link set lo up', 'ip link add outside type veth peer name inside', 'ip address add 198.51.100.1/24 dev outside',
  'ip link set inside up', 'ip link set outside up', 'exec "$@"',
].join(' && ');

/** Who is not root becomes it in a namespace of users, where the machine lets one. */
const AS_ROOT = process.getuid() === 0 ? [] : ['--user', '--map-root-user'];

for (const transport of ['udp', 'tcp']) {
  test(`libnice relays through us over ${transport.toUpperCase()}`, { timeout: 60_000 }, async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'trunkline-nice-'));
    t.after(() => rm(dir, { recursive: true, force: true }));
    const env = {
      ...process.env,
      TRUNKLINE_DATA__DIR: dir,
      TRUNKLINE_OPS__LISTEN: 'off',
      TRUNKLINE_LOG__FORMAT: 'json',
      TRUNKLINE_TURN__LISTEN: '198.51.100.1:3478',
      TRUNKLINE_TURN__EXTERNAL_IP: '198.51.100.1',
      TRUNKLINE_TURN__ALLOW_PEERS: '["198.51.100.1"]',
      TRUNKLINE_TURN__SECRETS: JSON.stringify([SECRET]),
    };
    const { stdout } = await run('unshare', [
      ...AS_ROOT, '--net', 'sh', '-c', NETWORK, 'sh', DEBIAN_PYTHON, script('nice_relay'), BINARY, transport,
    ], { env, timeout: 40_000 });
    const { alice, bob, candidates, first } = JSON.parse(stdout);
    assert.deepEqual({ alice, bob, candidates, first }, {
      alice: PACKETS, bob: PACKETS, candidates: ['relayed'], first: ['bob 0000', 'alice 0000'],
    });
  });
}
