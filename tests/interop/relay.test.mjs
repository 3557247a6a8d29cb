// The same call where the network allows nothing but TURN, and coturn's own client through our relay.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { assertFlows, callOfTwo, openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';
import { freePort, SECRET } from './lib/turn.mjs';

const run = promisify(execFile);
const SECONDS = 10;

test('a call through TURN alone', { timeout: 120_000 }, async (t) => {
  const server = await Server.start({ TURN__SECRETS: JSON.stringify([SECRET]) });
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const { alice, bob } = await callOfTwo(browser, server, { query: { relay: 1 }, warmUpMs: 6_000 });

  await t.test('goes through the relay on both sides', async () => {
    for (const person of [alice, bob]) {
      const pair = await person.selectedPair();
      assert.equal(pair.local, 'relay', person.user);
    }
  });

  await t.test('flows without a freeze', async () => {
    const [atAlice, atBob] = await Promise.all([alice.watch(SECONDS * 1000), bob.watch(SECONDS * 1000)]);
    assertFlows('alice', atAlice, { seconds: SECONDS, gapMsMax: 700 });
    assertFlows('bob', atBob, { seconds: SECONDS, gapMsMax: 700 });
  });
});

test("coturn's client relays through us", { timeout: 60_000 }, async (t) => {
  const server = await Server.start({ TURN__SECRETS: JSON.stringify([SECRET]) });
  t.after(() => server.stop());
  const peerPort = await freePort();
  const peer = spawn('turnutils_peer', ['-L', '127.0.0.1', '-p', String(peerPort)], { stdio: 'ignore' });
  t.after(() => peer.kill());
  const [, turnPort] = server.turn.split(':');
  const username = `${Math.floor(Date.now() / 1000) + 600}:alice`;
  const password = createHmac('sha1', SECRET).update(username).digest('base64');
  const uclient = async (...options) => {
    const { stdout } = await run('turnutils_uclient', [
      '-u', username, '-w', password, '-e', '127.0.0.1', '-r', String(peerPort), '-p', turnPort,
      '-n', '100', '-m', '2', '-l', '400', '-c', ...options, '127.0.0.1',
    ], { timeout: 40_000 });
    return stdout;
  };
  const lost = (output) => Number(/Total lost packets (\d+)/.exec(output)?.[1] ?? NaN);

  await t.test('with indications, and nothing is lost', async () => {
    const output = await until('coturn\'s peer answers', () => uclient('-s').catch(() => undefined), { ms: 40_000 });
    assert.equal(lost(output), 0, output);
  });

  await t.test('a wrong password opens nothing', async () => {
    const wrong = run('turnutils_uclient', ['-u', username, '-w', 'wrong', '-e', '127.0.0.1', '-r', String(peerPort), '-p', turnPort, '-n', '1', '-m', '1', '-s', '127.0.0.1'], { timeout: 20_000 });
    await assert.rejects(wrong);
  });
});
