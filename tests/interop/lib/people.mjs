// People at the page: each one a Chromium profile of its own, driven by the names that a screen reader would say.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

import { until } from './server.mjs';

const EXECUTABLE = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
const PROBE = fileURLToPath(new URL('./probe.js', import.meta.url));
const STATION = fileURLToPath(new URL('./station.js', import.meta.url));

/** What two cores carry, encoded three times over and decoded, for two or three people. */
const CAPTURE = '320x240@15';

const FLAGS = [
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
  // Several windows at once: none of them is in the background.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

/** A browser with these flags besides; close it when the test is over. */
export async function openBrowser(...flags) {
  const sandbox = process.getuid() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath: EXECUTABLE, headless: true, args: [...FLAGS, ...flags, ...sandbox] });
}

/** Somebody who has opened the page with a link that logs in. */
export class Person {
  /** `query` are the page's knobs: `{ relay: 1 }`. `url` is another way to the server, through a link that can be cut. */
  static async open(browser, server, user, { device, query = {}, url = server.url } = {}) {
    const context = await browser.newContext({ viewport: { width: 900, height: 640 }, permissions: ['camera', 'microphone'] });
    await context.addInitScript({ path: PROBE });
    const page = await context.newPage();
    const person = new Person(page, user);
    const token = await server.token(user, ...(device ? ['--device', device] : []));
    await page.goto(`${url}/?${new URLSearchParams({ capture: CAPTURE, ...query })}#token=${token}`);
    await until(`${user} is logged in`, () => page.evaluate(() => window.trunkline?.session?.state === 'online'));
    return person;
  }

  problems = [];

  constructor(page, user) {
    this.page = page;
    this.user = user;
    page.on('pageerror', (error) => this.problems.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.problems.push(message.text());
    });
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  async press(name) {
    await this.button(name).click();
  }

  /** Opens the conversation whose line in the list says `title`. */
  async openConversation(title) {
    await this.page.getByRole('navigation', { name: 'Conversations' }).getByRole('button', { name: title }).first().click();
  }

  /** Opens the conversation and rings. */
  async ring(title, { video = true } = {}) {
    await this.openConversation(title);
    await this.press(video ? 'Call with video' : 'Call');
  }

  async sees(name, ms = 10_000) {
    await this.button(name).waitFor({ state: 'visible', timeout: ms });
  }

  async seesNot(name, ms = 10_000) {
    await this.button(name).waitFor({ state: 'hidden', timeout: ms });
  }

  async accept() {
    await this.sees('Accept');
    await this.press('Accept');
  }

  /** Waits until media flows: `others` pictures decode and make sound. */
  async hearsAndSees(others = 1, ms = 30_000) {
    await until(`${this.user} decodes ${others} picture(s) and sound`, async () => {
      const streams = [...(await this.inbound()).values()];
      const pictures = streams.filter((s) => s.kind === 'video' && s.framesDecoded > 10).length;
      const sounds = streams.filter((s) => s.kind === 'audio' && s.totalAudioEnergy > 0).length;
      return pictures >= others && sounds >= others;
    }, { ms, every: 250 });
  }

  async inbound() {
    const entries = await this.page.evaluate(async () => [...await window.probe.inbound()].map(([id, r]) => [id, JSON.parse(JSON.stringify(r))]));
    return new Map(entries);
  }

  watch(ms) {
    return this.page.evaluate((duration) => window.probe.watch(duration), ms);
  }

  selectedPair() {
    return this.page.evaluate(() => window.probe.selectedPair());
  }

  /** How many offers this page has ever made, and how many connections. */
  negotiation() {
    return this.page.evaluate(() => ({ ...window.probe.count, peers: window.probe.peers.length }));
  }

  /** This device's own state in its newest call. */
  callState() {
    return this.page.evaluate(() => {
      const calls = [...(window.trunkline.session?.calls.values() ?? [])];
      const call = calls.at(-1);
      return call && { id: call.id, state: call.state, you: call.you, reason: call.reason };
    });
  }

  async close() {
    await this.page.context().close();
  }
}

/** A page of the server that is used for its origin only: WHIP and WHEP with the browser's own means (station.js). */
export class Station {
  static async open(browser, server) {
    const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
    await context.addInitScript({ path: PROBE });
    await context.addInitScript({ path: STATION });
    const page = await context.newPage();
    await page.goto(`${server.url}/`);
    return new Station(page);
  }

  constructor(page) {
    this.page = page;
  }

  publish(url, token, options) {
    return this.page.evaluate((all) => window.station.publish(...all), [url, token, options]);
  }

  view(url, token) {
    return this.page.evaluate((all) => window.station.view(...all), [url, token]);
  }

  setActive(rid, active) {
    return this.page.evaluate((all) => window.station.setActive(...all), [rid, active]);
  }

  /** `outbound` or `inbound`. */
  pictures(direction) {
    return this.page.evaluate((type) => window.station.pictures(type), `${direction}-rtp`);
  }

  async close() {
    await this.page.context().close();
  }
}

/** Two people in a call that flows; both directions warmed up. */
export async function callOfTwo(browser, server, { query, warmUpMs = 10_000 } = {}) {
  await server.conversation(['alice', 'bob']);
  const alice = await Person.open(browser, server, 'alice', { query });
  const bob = await Person.open(browser, server, 'bob', { query });
  await alice.ring('bob');
  await bob.accept();
  await Promise.all([alice.hearsAndSees(), bob.hearsAndSees()]);
  // Chromium starts small and ramps up; figures before that say little.
  await Promise.all([alice.watch(warmUpMs), bob.watch(warmUpMs)]);
  return { alice, bob };
}

/** The streams that moved at all: slots that nobody is in are not of interest. */
export function moving(streams) {
  return streams.filter((stream) => stream.packets > 0);
}

/** One picture and one sound came, without a freeze. */
export function assertFlows(who, { video, audio }, { seconds, gapMsMax, framesPerSecondMin = 8 }) {
  const [picture] = moving(video).sort((a, b) => b.frames - a.frames);
  const [sound] = moving(audio).sort((a, b) => b.energy - a.energy);
  assert.ok(picture, `${who} got no picture`);
  assert.ok(sound, `${who} got no sound`);
  assert.ok(picture.frames >= framesPerSecondMin * seconds, `${who} decoded ${picture.frames} frames in ${seconds} s`);
  assert.ok(picture.longestGapMs <= gapMsMax, `${who} saw a freeze of ${picture.longestGapMs} ms`);
  assert.ok(sound.energy > 0, `${who} heard silence`);
  return { picture, sound };
}
