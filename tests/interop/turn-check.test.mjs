// `trunkline turn check`, as an operator runs it: against our relay, and against coturn.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { until } from './lib/server.mjs';
import { certificate, freePort, relay, SECRET } from './lib/turn.mjs';

/** Runs it; the exit code and what it printed as JSON. */
async function check(server, ...args) {
  const child = server.command('turn', 'check', '--json', ...args);
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => { out += data; });
  child.stderr.on('data', (data) => { err += data; });
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.ok(out, err);
  const report = JSON.parse(out);
  const outcomes = (name) => report.servers.flatMap(({ checks }) => checks).filter((found) => found.check === name).map((found) => found.outcome);
  return { code, report, outcomes };
}

test('turn check', { timeout: 90_000 }, async (t) => {
  const { server, uris, certificate: ca } = await relay(t, { settings: { TURN__ALLOW_PEERS: '["127.0.0.1"]' } });
  const dir = await mkdtemp(join(tmpdir(), 'trunkline-turn-check-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const secretFile = join(dir, 'secret');
  await writeFile(secretFile, `${SECRET}\n`);
  const ours = ['--secret-file', secretFile, '--allow-peer', '127.0.0.1', '--ca', ca];

  await t.test('finds everything in order over UDP, TCP and TLS', async () => {
    const { code, report, outcomes } = await check(server, ...ours, uris.udp, uris.tcp, uris.tls);
    assert.equal(code, 0, JSON.stringify(report, null, 1));
    assert.equal(report.ok, true);
    assert.deepEqual(outcomes('relay'), ['ok', 'ok', 'ok']);
    assert.deepEqual(outcomes('policy'), Array(3).fill(['skipped', 'ok', 'ok', 'skipped']).flat());
    assert.deepEqual(outcomes('certificate'), ['ok']);
  });

  await t.test('fails for a certificate that nobody trusts, and for another secret', async () => {
    const untrusted = await check(server, ...ours.slice(0, -2), uris.tls);
    assert.equal(untrusted.code, 1);
    assert.deepEqual(untrusted.outcomes('certificate'), ['failed']);
    const wrong = await check(server, '--secret', 'another secret than the server has', uris.udp);
    assert.equal(wrong.code, 1);
    assert.deepEqual(wrong.outcomes('allocate'), ['failed']);
  });

  await t.test('finds what coturn leaves open', async (t) => {
    const [port, tls] = [await freePort(), await freePort()];
    const files = await certificate(t);
    const coturn = spawn('turnserver', [
      '-n', '--no-cli', '--use-auth-secret', '--static-auth-secret', SECRET, '--realm', 'test', '--allow-loopback-peers',
      '--listening-ip', '127.0.0.1', '--relay-ip', '127.0.0.1', '--listening-port', String(port), '--tls-listening-port', String(tls),
      '--cert', files.certificate, '--pkey', files.key, '--pidfile', join(dir, 'pid'), '--userdb', join(dir, 'db'),
      '--log-file', join(dir, 'log'), '--simple-log', '--no-stdout-log',
    ], { stdio: 'ignore' });
    t.after(() => coturn.kill());
    await until('coturn answers', async () => (await check(server, '--patience', '200ms', `turn:127.0.0.1:${port}`)).report.ok, { ms: 20_000 });
    const { code, outcomes } = await check(
      server, '--secret-file', secretFile, '--allow-peer', '127.0.0.1', '--ca', files.certificate,
      `turn:127.0.0.1:${port}`, `turn:127.0.0.1:${port}?transport=tcp`, `turns:localhost:${tls}`,
    );
    assert.equal(code, 1);
    assert.deepEqual(outcomes('relay'), ['ok', 'ok', 'ok']);
    assert.deepEqual(outcomes('policy'), Array(3).fill(['skipped', 'failed', 'failed', 'skipped']).flat());
  });
});
