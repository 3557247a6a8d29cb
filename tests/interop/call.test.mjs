// A call between people at the page: it rings, it flows, it mutes, it ends, and what did not come about leaves a trace.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Person, assertFlows, callOfTwo, moving, openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';

const SECONDS = 20;

/** The outcomes that a conversation's calls have left, oldest first. */
async function outcomes(server, user, conv) {
  return (await server.messages(user, conv)).filter((message) => message.kind === 'call').map((message) => message.body.outcome);
}

test('a call of two', { timeout: 180_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const { alice, bob } = await callOfTwo(browser, server);

  await t.test(`each sees and hears the other for ${SECONDS} s without a freeze`, async () => {
    const [atAlice, atBob] = await Promise.all([alice.watch(SECONDS * 1000), bob.watch(SECONDS * 1000)]);
    assertFlows('alice', atAlice, { seconds: SECONDS, gapMsMax: 500 });
    assertFlows('bob', atBob, { seconds: SECONDS, gapMsMax: 500 });
  });

  await t.test('media is sealed with AES-128-GCM', async () => {
    const pair = await alice.selectedPair();
    assert.match(pair.srtpCipher, /GCM/);
  });

  await t.test('mute silences, and the other is told', async () => {
    await alice.press('Mute microphone');
    await bob.page.getByRole('img', { name: 'alice is muted' }).waitFor();
    // What was on its way has been heard by then.
    await bob.watch(1_000);
    const muted = await bob.watch(3_000);
    const energy = moving(muted.audio).reduce((sum, sound) => sum + sound.energy, 0);
    assert.ok(energy < 1e-5, `bob still hears ${energy}`);
    await alice.press('Unmute microphone');
    await until('bob hears alice again', async () => moving((await bob.watch(1_000)).audio).some((sound) => sound.energy > 1e-4));
  });

  await t.test('nobody offered twice', async () => {
    assert.equal((await alice.negotiation()).offers, 1);
    assert.equal((await bob.negotiation()).offers, 1);
  });

  await t.test('hanging up ends it for both', async () => {
    await alice.press('Hang up');
    await bob.seesNot('Hang up');
    await bob.sees('Call with video');
    assert.equal((await bob.callState()).state, 'ended');
    const conv = await server.conversation(['alice', 'bob']);
    assert.deepEqual(await outcomes(server, 'bob', conv), ['ended']);
    await until('the SFU holds no transport', async () => (await server.metric('sfu_transports')) === 0);
  });

  assert.deepEqual([...alice.problems, ...bob.problems], []);
});

test('calls that do not come about', { timeout: 120_000 }, async (t) => {
  const server = await Server.start({ SIGNALING__RING_TIME: '3s' });
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const conv = await server.conversation(['alice', 'bob']);
  const alice = await Person.open(browser, server, 'alice');
  const bob = await Person.open(browser, server, 'bob');

  const bothIdle = async () => {
    await Promise.all([alice.sees('Call with video'), bob.seesNot('Accept')]);
  };

  await t.test('declined', async () => {
    await alice.ring('bob');
    await bob.sees('Decline');
    await bob.press('Decline');
    await bothIdle();
    assert.equal((await alice.callState()).reason, 'declined');
  });

  await t.test('cancelled by the caller: the callee stops ringing within 250 ms, and sees a missed call', async () => {
    await alice.ring('bob');
    await bob.sees('Accept');
    await alice.sees('Cancel call');
    const begun = performance.now();
    await alice.press('Cancel call');
    await bob.seesNot('Accept');
    const took = performance.now() - begun;
    assert.ok(took < 500, `bob rang on for ${took} ms`);
    await bothIdle();
    assert.equal((await bob.callState()).reason, 'cancelled');
  });

  await t.test('timed out', async () => {
    await alice.ring('bob');
    await bob.sees('Accept');
    await bob.seesNot('Accept', 10_000);
    await bothIdle();
    assert.equal((await alice.callState()).reason, 'timed_out');
  });

  await t.test('each left its trace, for both', async () => {
    for (const user of ['alice', 'bob']) {
      assert.deepEqual(await outcomes(server, user, conv), ['declined', 'cancelled', 'missed']);
    }
  });

  await t.test('nobody made a media connection for them', async () => {
    assert.equal((await bob.negotiation()).peers, 0);
    assert.equal(await server.metric('sfu_forwarded_packets_total'), 0);
  });
});

test('a third person joins', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  await server.conversation(['alice', 'bob', 'carol'], 'Trio');
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((user) => Person.open(browser, server, user)));
  await alice.ring('Trio');
  await bob.accept();
  await Promise.all([alice.hearsAndSees(), bob.hearsAndSees()]);
  await carol.accept();

  await t.test('everybody sees and hears the two others', async () => {
    await Promise.all([alice, bob, carol].map((person) => person.hearsAndSees(2)));
  });

  await t.test('and nobody renegotiated', async () => {
    for (const person of [alice, bob, carol]) {
      const { offers, peers } = await person.negotiation();
      assert.deepEqual({ offers, peers }, { offers: 1, peers: 1 }, person.user);
    }
  });

  await t.test('one leaves, the call goes on', async () => {
    await carol.press('Hang up');
    await alice.page.getByLabel('carol', { exact: true }).waitFor({ state: 'hidden' });
    const seen = await alice.watch(3_000);
    assert.ok(moving(seen.video).some((picture) => picture.frames > 0));
    assert.equal((await bob.callState()).you, 'joined');
  });
});

test('two devices of one user', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const conv = await server.conversation(['alice', 'bob']);
  const alice = await Person.open(browser, server, 'alice');
  const phone = await Person.open(browser, server, 'bob', { device: 'phone' });
  const laptop = await Person.open(browser, server, 'bob', { device: 'laptop' });

  await t.test('both ring; one accepts; the other shows it within 250 ms', async () => {
    await alice.ring('bob');
    await Promise.all([phone.sees('Accept'), laptop.sees('Accept')]);
    // Both clocks are this machine's: the moment of the press, and the moment the other page hears of it.
    const heard = laptop.page.evaluate(() => new Promise((resolve) => {
      window.trunkline.session.on('call', (call) => {
        if (call.you === 'answered_elsewhere') resolve(performance.timeOrigin + performance.now());
      });
    }));
    const pressed = await phone.page.evaluate(() => {
      const accept = [...document.querySelectorAll('dialog button')].find((button) => button.textContent === 'Accept');
      const at = performance.timeOrigin + performance.now();
      accept.click();
      return at;
    });
    const took = (await heard) - pressed;
    await laptop.seesNot('Accept');
    assert.ok(took <= 250, `it took ${took} ms`);
    await laptop.page.getByText('Answered on another device').waitFor();
    assert.equal((await laptop.callState()).you, 'answered_elsewhere');
    await Promise.all([alice.hearsAndSees(), phone.hearsAndSees()]);
    assert.equal((await laptop.negotiation()).peers, 0);
  });

  await t.test('afterwards both have the same messages', async () => {
    await phone.press('Hang up');
    await alice.sees('Call with video');
    const held = (person) => person.page.evaluate((id) =>
      window.trunkline.session.conversations.get(id).messages.map(({ seq, id: message, kind }) => ({ seq, message, kind })), conv);
    await until('the call has left its message', async () => (await held(laptop)).length > 0);
    assert.deepEqual(await held(laptop), await held(phone));
    assert.deepEqual(await outcomes(server, 'bob', conv), ['ended']);
  });
});
