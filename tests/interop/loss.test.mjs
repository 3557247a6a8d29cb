// Five packets in a hundred lost at random, on both legs and in both directions: NACK and RTX repair the picture.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertFlows, callOfTwo, openBrowser } from './lib/people.mjs';
import { LossyLink } from './lib/lossy.mjs';
import { Server } from './lib/server.mjs';

const SECONDS = 20;
const LOSS = 0.05;
const SEED = 20261122;

test('a call over a lossy link', { timeout: 180_000 }, async (t) => {
  const link = await LossyLink.open({ seed: SEED });
  t.after(() => link.close());
  const server = await Server.start({ SFU__ADVERTISE: JSON.stringify([link.address]) });
  t.after(() => server.stop());
  link.forwardTo(server.sfu);
  const browser = await openBrowser();
  t.after(() => browser.close());
  const { alice, bob } = await callOfTwo(browser, server);
  const both = () => Promise.all([alice.watch(SECONDS * 1000), bob.watch(SECONDS * 1000)]);

  let clean;
  await t.test('without loss, for comparison', async () => {
    const [atAlice, atBob] = await both();
    clean = {
      alice: assertFlows('alice', atAlice, { seconds: SECONDS, gapMsMax: 500 }),
      bob: assertFlows('bob', atBob, { seconds: SECONDS, gapMsMax: 500 }),
    };
  });

  await t.test(`with ${LOSS * 100} % loss it decodes nine frames in ten, no freeze over 1 s, concealment under 3 %`, async () => {
    const before = structuredClone(link.counts);
    link.loss = { up: LOSS, down: LOSS };
    const [atAlice, atBob] = await both();
    link.loss = { up: 0, down: 0 };
    for (const direction of ['up', 'down']) {
      const seen = link.counts[direction].seen - before[direction].seen;
      const share = (link.counts[direction].dropped - before[direction].dropped) / seen;
      t.diagnostic(`${direction}: ${seen} packets, ${(share * 100).toFixed(2)} % lost`);
      assert.ok(Math.abs(share - LOSS) < 0.015, `${direction} lost ${share}`);
    }
    for (const [who, seen] of [['alice', atAlice], ['bob', atBob]]) {
      const { picture, sound } = assertFlows(who, seen, { seconds: SECONDS, gapMsMax: 1_000, framesPerSecondMin: 1 });
      const share = picture.frames / clean[who].picture.frames;
      const concealed = sound.concealed / sound.samples;
      t.diagnostic(`${who}: ${picture.frames} of ${clean[who].picture.frames} frames (${(share * 100).toFixed(1)} %), `
        + `longest gap ${picture.longestGapMs} ms, ${picture.retransmitted} repaired, concealed ${(concealed * 100).toFixed(2)} %`);
      assert.ok(share >= 0.9, `${who} decoded ${share} of the frames`);
      assert.ok(concealed < 0.03, `${who} had ${concealed} of the sound concealed`);
      assert.ok(picture.retransmitted > 0, `${who} got no retransmission`);
    }
  });
});
