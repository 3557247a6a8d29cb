// A call in Chromium where the network lets nothing out but TURN over UDP, over TCP, and over TLS.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertFlows, callOfTwo, openBrowser } from './lib/people.mjs';
import { relay } from './lib/turn.mjs';

const SECONDS = 8;

for (const transport of ['udp', 'tcp', 'tls']) {
  test(`a call through TURN over ${transport.toUpperCase()}`, { timeout: 120_000 }, async (t) => {
    const { server } = await relay(t, { choose: transport });
    // The certificate is the test's own. That a wrong one is refused is Chromium's business.
    const browser = await openBrowser('--ignore-certificate-errors');
    t.after(() => browser.close());
    const { alice, bob } = await callOfTwo(browser, server, { query: { relay: 1 }, warmUpMs: 6_000 });
    for (const person of [alice, bob]) {
      const pair = await person.selectedPair();
      assert.deepEqual([pair.local, pair.relayProtocol], ['relay', transport], person.user);
    }
    const [atAlice, atBob] = await Promise.all([alice.watch(SECONDS * 1000), bob.watch(SECONDS * 1000)]);
    assertFlows('alice', atAlice, { seconds: SECONDS, gapMsMax: 700 });
    assertFlows('bob', atBob, { seconds: SECONDS, gapMsMax: 700 });
  });
}
