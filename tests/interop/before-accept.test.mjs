// Before the callee accepts, not one RTP packet is forwarded to or from it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Person, openBrowser } from './lib/people.mjs';
import { Server, within } from './lib/server.mjs';

const RINGING_MS = 4_000;

/** A raw session in the page: no SDK that could behave better than an attacker would. Gives the answer to one request. */
function ask(person, token, device, request) {
  return person.page.evaluate(async ({ token, device, request }) => {
    const socket = new WebSocket(`ws://${location.host}/v1/session`, 'trunkline.v1.json');
    const frames = [];
    let wake = () => {};
    socket.onmessage = ({ data }) => {
      frames.push(JSON.parse(data));
      wake();
    };
    const frame = async (wanted) => {
      for (;;) {
        const found = frames.find(wanted);
        if (found) return found;
        await new Promise((resolve) => { wake = resolve; });
      }
    };
    await new Promise((resolve) => { socket.onopen = resolve; });
    socket.send(JSON.stringify({ t: 'hello', v: 1, token, device, cursors: {} }));
    await frame(({ t }) => t === 'welcome');
    socket.send(JSON.stringify(request));
    const answer = await frame(({ id }) => id === request.id);
    socket.close();
    return answer;
  }, { token, device, request });
}

test('before the callee accepts', { timeout: 90_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  await server.conversation(['alice', 'bob']);
  const alice = await Person.open(browser, server, 'alice');
  const bob = await Person.open(browser, server, 'bob');
  await alice.ring('bob');
  await bob.sees('Accept');

  await t.test('not one packet is forwarded, and the callee has no connection', async () => {
    await bob.page.waitForTimeout(RINGING_MS);
    await bob.sees('Accept');
    assert.equal(await server.metric('sfu_forwarded_packets_total'), 0);
    assert.equal((await bob.negotiation()).peers, 0);
  });

  await t.test('a device of the callee that offers all the same is refused', async () => {
    const call = (await bob.callState()).id;
    const sdp = await bob.page.evaluate(async () => {
      const peer = new RTCPeerConnection();
      peer.addTransceiver('audio', { direction: 'sendrecv' });
      const offer = await peer.createOffer();
      peer.close();
      return offer.sdp;
    });
    const token = await server.token('bob');
    const request = { t: 'media.offer', id: 'too-early', call, sdp };
    const answer = await within(10_000, 'an answer', ask(bob, token, 'impatient', request));
    assert.equal(answer.t, 'error');
    assert.equal(answer.code, 'not_joined');
  });

  await t.test('somebody who is not in the conversation cannot offer into it', async () => {
    const call = (await bob.callState()).id;
    const token = await server.token('mallory');
    const request = { t: 'media.offer', id: 'stranger', call, sdp: 'v=0\r\n' };
    const answer = await within(10_000, 'an answer', ask(bob, token, 'stranger', request));
    assert.equal(answer.t, 'error');
    assert.ok(['not_found', 'not_member', 'forbidden'].includes(answer.code), answer.code);
    assert.equal(await server.metric('sfu_forwarded_packets_total'), 0);
  });

  await t.test('and once it accepts, media flows', async () => {
    await bob.accept();
    await Promise.all([alice.hearsAndSees(), bob.hearsAndSees()]);
    assert.ok(await server.metric('sfu_forwarded_packets_total') > 0);
  });
});
