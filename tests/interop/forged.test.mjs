// Forged input during a call: memory stays where it was, and the call does not notice.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';

import { generator } from './lib/lossy.mjs';
import { assertFlows, callOfTwo, openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';

const PACKETS = 100_000;
const SOURCES = 500;
/** Packets a second: what the port's socket carries beside the call without the kernel dropping any. */
const BATCH = 100;
const BATCH_MS = 10;
const MEMORY_MAX = 1024 * 1024;
/** Seconds of the call alone in which memory must hardly grow before the flood begins. */
const QUIET_SAMPLES = 10;

/** An RTP packet that nobody sealed: a random SSRC, or one of the call's own. */
function forgedRtp(random, ssrcs) {
  const packet = Buffer.alloc(12 + 200 + Math.floor(random() * 900));
  for (let i = 12; i < packet.length; i += 1) packet[i] = random() * 256;
  packet[0] = 0x80;
  packet[1] = 96 + Math.floor(random() * 32);
  packet.writeUInt16BE(Math.floor(random() * 65536), 2);
  packet.writeUInt32BE(Math.floor(random() * 2 ** 32), 4);
  const known = ssrcs[Math.floor(random() * ssrcs.length * 2)];
  packet.writeUInt32BE(known ?? Math.floor(random() * 2 ** 32), 8);
  return packet;
}

/** A binding request for the call's own ufrag, whole but for its MESSAGE-INTEGRITY (RFC 8489 §14.5). */
function forgedStun(random, ufrag) {
  const username = Buffer.from(`${ufrag}:${Math.floor(random() * 1e9).toString(36)}`);
  const attribute = (type, value) => {
    const head = Buffer.alloc(4);
    head.writeUInt16BE(type, 0);
    head.writeUInt16BE(value.length, 2);
    return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
  };
  const header = Buffer.alloc(20);
  header.writeUInt16BE(0x0001, 0);
  header.writeUInt32BE(0x2112a442, 4);
  for (let i = 8; i < 20; i += 1) header[i] = random() * 256;
  const attributes = Buffer.concat([attribute(0x0006, username), attribute(0x0025, Buffer.alloc(0))]);
  const sized = (length) => {
    header.writeUInt16BE(length, 2);
    return Buffer.concat([header, attributes]);
  };
  const integrity = createHmac('sha1', 'not the password').update(sized(attributes.length + 24)).digest();
  const signed = Buffer.concat([sized(attributes.length + 24), attribute(0x0008, integrity)]);
  signed.writeUInt16BE(attributes.length + 32, 2);
  const fingerprint = Buffer.alloc(4);
  fingerprint.writeUInt32BE((crc32(signed) ^ 0x5354554e) >>> 0);
  return Buffer.concat([signed, attribute(0x8028, fingerprint)]);
}

/** All of 127/8 is this machine: addresses enough. */
async function sources(random) {
  const byte = () => 1 + Math.floor(random() * 254);
  return Promise.all(Array.from({ length: SOURCES }, () => new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.bind(0, `127.${byte()}.${byte()}.${byte()}`, () => resolve(socket));
  })));
}

test(`${PACKETS} forged packets during a call`, { timeout: 180_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const { alice, bob } = await callOfTwo(browser, server, { warmUpMs: 10_000 });
  const { ufrag, ssrcs } = await alice.page.evaluate(() => {
    const [peer] = window.probe.live();
    const found = (sdp, pattern) => [...sdp.matchAll(pattern)].map((match) => match[1]);
    return {
      ufrag: found(peer.remoteDescription.sdp, /a=ice-ufrag:(\S+)/g)[0],
      ssrcs: found(peer.localDescription.sdp, /a=ssrc:(\d+)/g).map(Number),
    };
  });
  const random = generator(9);
  const sockets = await sources(random);
  t.after(() => sockets.forEach((socket) => socket.close()));
  let answers = 0;
  for (const socket of sockets) socket.on('message', () => { answers += 1; });
  const [host, port] = server.sfu.split(':');

  const send = async (packets) => {
    for (let sent = 0; sent < packets; sent += BATCH) {
      for (let i = 0; i < BATCH; i += 1) {
        const packet = i % 2 ? forgedStun(random, ufrag) : forgedRtp(random, ssrcs);
        sockets[Math.floor(random() * SOURCES)].send(packet, Number(port), host);
      }
      await new Promise((resolve) => setTimeout(resolve, BATCH_MS));
    }
  };

  // A shard that has had no client yet touches its receive buffers (2 MB, once) with its first full batch: a first small
  // burst does that, so that what is measured is what forged packets leave behind.
  await send(PACKETS / 50);
  // A young call still fills its own packet rings: what the flood adds shows only once that has settled.
  const samples = [];
  await until('the call\'s own memory has settled', async () => {
    samples.push(await server.residentBytes());
    const [before] = samples.slice(-QUIET_SAMPLES);
    return samples.length >= QUIET_SAMPLES && samples.at(-1) - before < MEMORY_MAX / 8;
  }, { ms: 60_000, every: 1_000 });

  const dropsBefore = await server.metric('sfu_dropped_packets_total');
  const memoryBefore = await server.residentBytes();
  const begun = performance.now();
  const flood = send(PACKETS).then(() => (performance.now() - begun) / 1000);
  const [seconds, atAlice, atBob] = await Promise.all([flood, alice.watch(15_000), bob.watch(15_000)]);
  const memoryAfter = await server.residentBytes();
  const drops = (await server.metric('sfu_dropped_packets_total')) - dropsBefore;
  t.diagnostic(`${PACKETS} packets in ${seconds.toFixed(1)} s from ${SOURCES} addresses; dropped and counted: ${drops}; `
    + `memory ${memoryBefore} → ${memoryAfter} (${memoryAfter - memoryBefore})`);

  await t.test('each was seen and dropped', () => assert.ok(drops >= PACKETS * 0.95, `${drops}`));
  await t.test('leave memory within 1 MB', () => assert.ok(memoryAfter - memoryBefore <= MEMORY_MAX, `${memoryAfter - memoryBefore}`));
  await t.test('leave the call unharmed', () => {
    assertFlows('alice', atAlice, { seconds: 15, gapMsMax: 1_000 });
    assertFlows('bob', atBob, { seconds: 15, gapMsMax: 1_000 });
  });
  await t.test('get no answer that could be turned on others', () => assert.ok(answers <= PACKETS / 100, `${answers} answers`));
});
