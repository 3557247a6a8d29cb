/**
 * Sends photos, voice notes and files through the page in Chromium, breaks the network in between, and leaves pictures in
 * `trial/shots`.
 *
 *     npm run build && npm run trial:uploads                    against the stand-in
 *     npm run trial:uploads -- http://127.0.0.1:8480            against a running server with demo logins
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import * as fake from './fake-server.mjs';
import { landscape, movingGif } from './pictures.mjs';

const shots = process.env.SHOTS ?? fileURLToPath(new URL('shots/', import.meta.url));
mkdirSync(shots, { recursive: true });
const address = process.argv[2];
const stand = address ? undefined : await fake.start();
const url = address ?? stand.url;
const suffix = address ? Math.random().toString(36).slice(2, 6) : '';
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required', '--mute-audio'],
});
const faults = [];

/** A wire between a page and the server that can be cut: what was on its way is lost, and nothing answers. */
async function wire(target) {
  const { hostname, port } = new URL(target);
  const ends = new Set();
  let down = false;
  const server = createServer((near) => {
    near.on('error', () => near.destroy());
    if (down) return near.destroy();
    const far = connect(Number(port), hostname);
    far.on('error', () => near.destroy());
    for (const [one, other] of [[near, far], [far, near]]) {
      ends.add(one);
      one.on('close', () => {
        ends.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut: () => {
      down = true;
      for (const end of ends) end.destroy();
    },
    heal: () => (down = false),
  };
}

async function person(name, options = {}) {
  const line = await wire(url);
  const context = await browser.newContext({ viewport: { width: 1180, height: 780 }, permissions: ['microphone'], ...options });
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(`${name}: ${error}`));
  page.on('console', (line) => {
    // What a browser says by itself of a lost network and of a refused upload is meant to happen here.
    if (['error', 'warning'].includes(line.type()) && !/ERR_|status of (413|422)/.test(line.text())) faults.push(`${name}: ${line.text()}`);
  });
  await page.goto(line.url);
  const who = name + suffix;
  await page.getByLabel('Your name').fill(who);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForFunction(() => window.trunkline.session?.state === 'online');
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  return Object.assign(page, {
    who,
    cut: line.cut,
    heal: line.heal,
    /** Bytes a second up; nothing: as fast as it goes. */
    line: (up) => cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: up ?? -1 }),
  });
}

const shot = (page, name) => page.screenshot({ path: `${shots}/${name}.png` });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const open = (page, who) => page.getByRole('navigation', { name: 'Conversations' }).getByRole('button', { name: new RegExp(who) }).first().click();
const say = async (page, text) => {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await button(page, 'Send').click();
};
const file = (name, mimeType, buffer) => ({ name, mimeType, buffer });
const attach = (page, files) => page.getByTestId('attach').setInputFiles(files);
const media = (page, kind, state, n = 0) => page.locator(`.log [data-kind="${kind}"][data-state="${state}"]`).nth(n);
const rest = (page, ms = 500) => page.waitForTimeout(ms);

/** Drops files on the thread, as a person's hand would. */
async function drop(page, files, { stay = false } = {}) {
  const data = await page.evaluateHandle(async (all) => {
    const transfer = new DataTransfer();
    for (const { name, type, base64 } of all) {
      transfer.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], name, { type }));
    }
    return transfer;
  }, files.map(({ name, mimeType, buffer }) => ({ name, type: mimeType, base64: buffer.toString('base64') })));
  const thread = page.getByRole('region', { name: 'Conversation' });
  await thread.dispatchEvent('dragenter', { dataTransfer: data });
  await thread.dispatchEvent('dragover', { dataTransfer: data });
  if (!stay) await thread.dispatchEvent('drop', { dataTransfer: data });
  return () => thread.dispatchEvent('drop', { dataTransfer: data });
}

try {
  if (stand) await (await (await browser.newContext()).newPage()).goto(`${url}/fake-studio`);
  const alice = await person('alice');
  const bob = await person('bob', { colorScheme: 'dark' });
  const carol = await person('carol', { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  const lake = await landscape(bob, { seed: 1, width: 3200, height: 2400 });
  const tall = await landscape(bob, { seed: 2, width: 1200, height: 1700 });
  const album = await Promise.all([3, 4, 5, 6, 7].map((seed) => landscape(bob, { seed, width: 1500, height: 1100 })));
  const pdf = Buffer.concat([Buffer.from('%PDF-1.7\n'), Buffer.alloc(2_400_000, 'words ')]);

  await button(alice, 'New conversation').click();
  await alice.getByLabel('People').fill(bob.who);
  await alice.getByRole('button', { name: 'Start' }).click();
  await say(alice, 'We are there! Look at this.');
  await open(bob, alice.who);

  console.log('a photo is dropped on a slow line');
  await alice.line(350_000);
  const letGo = await drop(alice, [file('lake.jpg', 'image/jpeg', lake)], { stay: true });
  await rest(alice, 300);
  await shot(alice, 'u01-drop-target');
  await letGo();
  await alice.locator('.photo.sending.seen').waitFor();
  await alice.waitForFunction(() => window.trunkline.session.pendingUploads[0]?.progress.ratio > 0.3);
  await shot(alice, 'u02-sending-light');

  console.log('the network goes and comes back');
  const before = await alice.evaluate(() => window.trunkline.session.pendingUploads[0].progress.sent);
  alice.cut();
  await alice.getByText('Waiting for the network…').waitFor();
  await rest(alice, 1_200);
  await shot(alice, 'u03-no-network');
  const offsets = [];
  alice.on('request', (request) => request.method() === 'PATCH' && offsets.push(Number(request.headers()['upload-offset'])));
  alice.heal();
  await media(alice, 'photo', 'shown').waitFor();
  console.log('  sent before', before, 'went on from', offsets);
  assert.ok(offsets.length > 0 && offsets.every((offset) => offset > 0), 'it went on from where it was');
  await media(bob, 'photo', 'shown').waitFor();
  await alice.line();

  console.log('an album, a file, a moving picture');
  await attach(alice, album.map((bytes, n) => file(`walk-${n + 1}.jpg`, 'image/jpeg', bytes)));
  await media(bob, 'photo', 'shown', 5).waitFor();
  await attach(alice, file('фото с озера и очень длинное имя файла, которое не помещается.pdf', 'application/pdf', pdf));
  await media(bob, 'file', 'shown').waitFor();
  await say(bob, 'Beautiful! Is that the lake from last year?');
  await attach(alice, file('ball.gif', 'image/gif', movingGif()));
  await bob.locator('.photo-badge').waitFor();
  await rest(bob);
  await shot(alice, 'u04-thread-light');
  await shot(bob, 'u05-thread-dark');
  const gif = bob.locator('.photo:has(.photo-badge)');
  await gif.hover();
  await gif.locator('.photo-moving[src]').waitFor();
  await bob.mouse.move(5, 5);
  await gif.locator('.photo-moving').waitFor({ state: 'detached' });

  console.log('the full view');
  await bob.locator('.log .photo').nth(2).click();
  const viewer = bob.getByRole('dialog', { name: 'Photo' });
  await viewer.locator('[data-state="shown"]').waitFor();
  await rest(bob);
  await shot(bob, 'u06-full-view');
  const shown = () => viewer.locator('[data-attachment]').getAttribute('data-attachment');
  const first = await shown();
  await bob.keyboard.press('ArrowRight');
  assert.notEqual(await shown(), first);
  await bob.keyboard.press('ArrowLeft');
  assert.equal(await shown(), first);
  for (let n = 0; n < 12; n++) {
    await bob.keyboard.press('Tab');
    assert.equal(await bob.evaluate(() => document.activeElement.closest('dialog') !== null || document.activeElement === document.body), true, 'the focus stays inside');
  }
  const [download] = await Promise.all([bob.waitForEvent('download'), viewer.getByRole('link', { name: /^Download/ }).click()]);
  assert.match(download.suggestedFilename(), /\.jpg$/);
  await bob.keyboard.press('Escape');
  await viewer.waitFor({ state: 'detached' });
  assert.equal(await bob.evaluate(() => document.activeElement.dataset.attachment), first, 'the focus is back where it came from');
  const [fetched] = await Promise.all([bob.waitForEvent('download'), media(bob, 'file', 'shown').click()]);
  assert.match(fetched.suggestedFilename(), /^фото с озера/);

  console.log('a voice note');
  await button(bob, 'Record a voice note').click();
  await button(bob, 'Send voice note').waitFor();
  await rest(bob, 3_500);
  await shot(bob, 'u07-recording-dark');
  await button(bob, 'Send voice note').click();
  await media(bob, 'voice', 'shown').waitFor();
  await media(alice, 'voice', 'shown').waitFor();
  await button(alice, 'Play voice note').click();
  await alice.locator('[data-playing="true"]').waitFor();
  await rest(alice, 1_700);
  await shot(alice, 'u08-voice-playing');
  await alice.getByRole('slider').focus();
  await alice.keyboard.press('Home');
  await alice.getByRole('button', { name: /^Speed/ }).click();
  await alice.getByText('1.5×').waitFor();
  await button(alice, 'Pause voice note').click();
  await alice.locator('[data-playing="false"]').waitFor();
  const box = await button(alice, 'Record a voice note').boundingBox();
  await alice.mouse.move(box.x + 20, box.y + 20);
  await alice.mouse.down();
  await button(alice, 'Send voice note').waitFor();
  await rest(alice, 1_600);
  await shot(alice, 'u09-recording-held');
  await alice.mouse.up();
  await media(alice, 'voice', 'shown', 1).waitFor();
  await button(alice, 'Record a voice note').click();
  await button(alice, 'Cancel recording').waitFor();
  await alice.keyboard.press('Escape');
  await button(alice, 'Record a voice note').waitFor();

  console.log('pause, reload, go on; cancel');
  await alice.line(250_000);
  await attach(alice, [file('plan.pdf', 'application/pdf', pdf), file('tall.jpg', 'image/jpeg', tall), file('archive.zip', 'application/zip', pdf)]);
  await alice.waitForFunction(() => window.trunkline.session.pendingUploads.every((one) => one.progress.ratio > 0.05));
  await button(alice, 'Pause: plan.pdf').click();
  await rest(alice, 900);
  await shot(alice, 'u10-several-light');
  await button(alice, 'Cancel: archive.zip').click();
  await alice.locator('.sending', { hasText: 'archive.zip' }).waitFor({ state: 'detached' });
  const at = await alice.evaluate(() => window.trunkline.session.pendingUploads.find((one) => one.name === 'plan.pdf').progress.sent);
  await alice.reload();
  await open(alice, bob.who);
  await button(alice, 'Resume: plan.pdf').waitFor();
  await alice.waitForFunction(() => document.querySelector('.photo.sending.seen'));
  await rest(alice, 700);
  await shot(alice, 'u11-after-reload');
  offsets.length = 0;
  await alice.line();
  await button(alice, 'Resume: plan.pdf').click();
  await media(bob, 'file', 'shown', 1).waitFor();
  await bob.locator('[data-attachment]', { hasText: 'plan.pdf' }).waitFor();
  console.log('  was at', at, 'went on from', offsets);
  await alice.waitForFunction(() => window.trunkline.session.pendingUploads.length === 0);

  console.log('failures in words');
  if (stand) stand.mood.fail = { code: 'damaged', detail: 'the picture ends in the middle' };
  await attach(alice, file('broken.jpg', 'image/jpeg', stand ? tall : tall.subarray(0, 40_000)));
  await alice.getByText(/damaged|ends|Not sent/).first().waitFor();
  await attach(alice, file('film.mov', 'video/quicktime', Buffer.alloc(stand ? 101e6 / 2 : 4e6)));
  if (stand) {
    const large = await alice.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new ArrayBuffer(130e6)], 'very large film.mov', { type: 'video/quicktime' }));
      return transfer;
    });
    await alice.getByRole('region', { name: 'Conversation' }).dispatchEvent('drop', { dataTransfer: large });
    await alice.getByText('A file may have up to 100 MB here').waitFor();
    await rest(alice, 1_000);
    await shot(alice, 'u12-failures-light');
    await alice.getByRole('button', { name: 'Try again', exact: true }).first().click();
    await media(bob, 'photo', 'shown', 7).waitFor();
  }

  console.log('a phone, in a group');
  await button(bob, 'New conversation').click();
  await bob.getByLabel('People').fill(`${alice.who}, ${carol.who}`);
  await bob.getByLabel('Title').fill('Weekend');
  await bob.getByRole('button', { name: 'Start' }).click();
  await attach(bob, album.slice(0, 3).map((bytes, n) => file(`walk-${n + 1}.jpg`, 'image/jpeg', bytes)));
  await button(bob, 'Record a voice note').click();
  await rest(bob, 2_600);
  await button(bob, 'Send voice note').click();
  await attach(bob, file('packing list.xlsx', 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', pdf.subarray(0, 48_000)));
  await media(bob, 'file', 'shown').waitFor();
  await open(carol, 'Weekend');
  await media(carol, 'photo', 'shown', 2).waitFor();
  await rest(carol);
  await shot(carol, 'u13-phone-light');
  await carol.line(120_000);
  await attach(carol, [file('evening.jpg', 'image/jpeg', album[4]), file('route.gpx', 'application/gpx+xml', pdf.subarray(0, 900_000))]);
  await carol.waitForFunction(() => window.trunkline.session.pendingUploads.every((one) => one.progress.ratio > 0.15));
  await rest(carol);
  await shot(carol, 'u14-phone-sending');
  await carol.line();
  await carol.waitForFunction(() => window.trunkline.session.pendingUploads.length === 0);
  await carol.locator('.log .photo').first().tap();
  await carol.getByRole('dialog', { name: 'Photo' }).locator('[data-state="shown"]').waitFor();
  await rest(carol);
  await shot(carol, 'u15-phone-full-view');
  await button(carol, 'Close').click();
  await carol.emulateMedia({ colorScheme: 'dark' });
  await carol.getByRole('log').evaluate((log) => log.parentElement.scrollTo(0, 0));
  await rest(carol);
  await shot(carol, 'u16-phone-dark');
  await button(carol, 'Record a voice note').click();
  await rest(carol, 2_500);
  await shot(carol, 'u17-phone-recording');
  await button(carol, 'Cancel recording').click();
  console.log('a finger that holds, a finger that slides away');
  const touch = await carol.context().newCDPSession(carol);
  const spot = await button(carol, 'Record a voice note').boundingBox();
  const finger = (type, x = spot.x + 20) => touch.send('Input.dispatchTouchEvent', { type, touchPoints: type === 'touchEnd' ? [] : [{ x, y: spot.y + 20 }] });
  const notes = await carol.locator('.log [data-kind="voice"]').count();
  await finger('touchStart');
  await button(carol, 'Send voice note').waitFor();
  await rest(carol, 1_500);
  await finger('touchMove', 60);
  await finger('touchEnd');
  await button(carol, 'Record a voice note').waitFor();
  assert.equal(await carol.locator('.log [data-kind="voice"]').count(), notes, 'slid away, nothing is sent');
  await finger('touchStart');
  await button(carol, 'Send voice note').waitFor();
  await rest(carol, 1_500);
  await finger('touchEnd');
  await media(carol, 'voice', 'shown', notes).waitFor();

  console.log('a picture from the clipboard');
  const photos = await carol.locator('.log .photo').count();
  await carol.getByLabel('Message', { exact: true }).evaluate((field, base64) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], 'image.jpg', { type: 'image/jpeg' }));
    field.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  }, tall.toString('base64'));
  await media(carol, 'photo', 'shown', photos).waitFor();
  await button(carol, 'Back to conversations').click();
  await rest(carol);
  await shot(carol, 'u18-phone-list');
} catch (error) {
  faults.push(error.stack ?? String(error));
  for (const [index, context] of browser.contexts().entries()) for (const page of context.pages()) await shot(page, `fault-${index}`).catch(() => undefined);
} finally {
  await browser.close();
  stand?.close();
}
console.log(faults.length ? `faults:\n${faults.join('\n')}` : 'no faults');
process.exit(faults.length ? 1 : 0);
