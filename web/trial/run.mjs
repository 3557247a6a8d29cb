/**
 * Walks through the page in Chromium and leaves pictures in `trial/shots`.
 *
 *     npm run build && npm run trial                    against the stand-in
 *     npm run trial -- http://127.0.0.1:8480            against a running server with demo logins
 */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import * as fake from './fake-server.mjs';

const shots = fileURLToPath(new URL('shots/', import.meta.url));
mkdirSync(shots, { recursive: true });
const address = process.argv[2];
const stand = address ? undefined : await fake.start();
const url = address ?? stand.url;
const suffix = address ? Math.random().toString(36).slice(2, 6) : '';
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless=new', '--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows',
    '--disable-renderer-backgrounding', '--mute-audio', '--disable-features=WebRtcHideLocalIpsWithMdns'],
});
const faults = [];

async function person(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 740 }, permissions: ['camera', 'microphone'], ...options });
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(`${name}: ${error}`));
  page.on('console', (line) => ['error', 'warning'].includes(line.type()) && !line.text().includes('ERR_INTERNET_DISCONNECTED') && faults.push(`${name}: ${line.text()}`));
  await page.goto(`${url}/?capture=640x360@15`);
  return Object.assign(page, { who: name + suffix });
}

async function logIn(page) {
  await page.getByLabel('Your name').fill(page.who);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'New conversation' }).waitFor();
  await page.waitForFunction(() => window.trunkline.session?.state === 'online');
}

const shot = (page, name) => page.screenshot({ path: `${shots}${name}.png` });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const say = async (page, text) => {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await button(page, 'Send').click();
};

async function grows(page, seconds = 6) {
  const read = () => page.evaluate(async () => (await window.trunkline.media?.stats.take())?.tiles.map(({ user, framesDecoded, audioEnergy }) => [user, framesDecoded, audioEnergy]));
  const before = await read();
  await page.waitForTimeout(seconds * 1000);
  const after = await read();
  console.log(page.who, 'receives', JSON.stringify(before), '→', JSON.stringify(after), 'offers', await page.evaluate(() => window.trunkline.media?.stats.offers));
}

try {
  if (stand) {
    const media = await (await browser.newContext()).newPage();
    media.on('pageerror', (error) => faults.push(`media: ${error}`));
    await media.goto(`${url}/fake-sfu`);
  }
  const alice = await person('alice');
  await shot(alice, '01-login');
  const bob = await person('bob', { colorScheme: 'dark' });
  const carol = await person('carol', { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  for (const page of [alice, bob, carol]) await logIn(page);
  await shot(alice, '02-empty');
  await button(alice, 'New conversation').click();
  await alice.getByLabel('People').fill(bob.who);
  await shot(alice, '03-new');
  await alice.getByRole('button', { name: 'Start' }).click();
  await say(alice, 'Good morning! Do you have ten minutes to look at the plan for the weekend?');
  await bob.getByRole('button', { name: new RegExp(alice.who) }).click();
  await say(bob, 'Sure. The train at 9:12 or the one at 10:04?');
  await say(bob, 'I can bring the tent either way.');
  await say(alice, 'Tent? It will rain.');
  await say(alice, 'Then the early one. Let me ring you, it is quicker.');
  await bob.getByRole('log').getByText('quicker').waitFor();
  await alice.waitForTimeout(500);
  await shot(alice, '04-thread-light');
  await shot(bob, '05-thread-dark');

  await button(alice, 'Call with video').click();
  await bob.getByRole('dialog').waitFor();
  await alice.getByText('Ringing…').waitFor();
  await shot(alice, '06-outgoing');
  await shot(bob, '07-ring');
  await button(alice, 'Cancel call').click();
  await bob.getByText('Missed video call', { exact: false }).first().waitFor();
  await bob.getByRole('dialog').waitFor({ state: 'detached' });
  await bob.waitForTimeout(300);
  await shot(bob, '08-missed');

  await button(bob, 'Call back').click();
  await button(alice, 'Accept').click();
  for (const page of [alice, bob]) await page.waitForFunction(() => window.trunkline.media?.state === 'connected', undefined, { timeout: 20_000 });
  await Promise.all([grows(alice), grows(bob)]);
  await shot(alice, '09-call');
  await alice.getByRole('img', { name: /^Connection: / }).hover();
  await alice.waitForTimeout(300);
  await shot(alice, '10-quality');
  await button(bob, 'Turn camera off').click();
  await button(bob, 'Mute microphone').click();
  await alice.waitForTimeout(1200);
  await shot(alice, '11-camera-off');
  await shot(bob, '12-self-muted');
  await button(bob, 'Turn camera on').click();
  await button(bob, 'Unmute microphone').click();
  await button(alice, 'Show messages').click();
  await shot(alice, '13-minimised');
  await button(alice, 'Return to call').click();
  await button(alice, 'Hang up').click();
  await bob.getByText('The call has ended.').first().waitFor();

  const tablet = Object.assign(await person('alice'), { who: alice.who });
  await logIn(tablet);
  await button(bob, 'Call').click();
  for (const page of [alice, tablet]) await page.getByRole('dialog').waitFor();
  await button(tablet, 'Accept').click();
  await alice.getByText('Answered on another device').waitFor();
  await shot(alice, '13b-elsewhere');
  await tablet.waitForFunction(() => window.trunkline.media?.participants.length === 1);
  await tablet.waitForTimeout(2500);
  await shot(tablet, '13c-voice');
  await button(tablet, 'Hang up').click();
  await tablet.context().close();

  await button(bob, 'New conversation').click();
  await bob.getByLabel('People').fill(`${alice.who}, ${carol.who}`);
  await bob.getByLabel('Title').fill('Weekend');
  await bob.getByRole('button', { name: 'Start' }).click();
  await say(bob, 'All three of us, then.');
  await carol.getByText('Weekend').first().waitFor();
  await shot(carol, '14-phone-list');
  await carol.getByRole('button', { name: /Weekend/ }).click();
  await button(bob, 'Call with video').click();
  await carol.getByRole('dialog').waitFor();
  await shot(carol, '15-phone-ring');
  await button(alice, 'Accept').click();
  await button(carol, 'Decline').click();
  await carol.getByRole('button', { name: 'Join call' }).waitFor();
  await shot(carol, '16-phone-join');
  await carol.getByRole('button', { name: 'Join call' }).click();
  for (const page of [alice, bob, carol]) await page.waitForFunction(() => window.trunkline.media?.participants.length === 2, undefined, { timeout: 20_000 });
  await Promise.all([alice, bob, carol].map((page) => grows(page)));
  await shot(carol, '17-phone-call');
  await shot(bob, '18-group-call');
  for (const page of [carol, bob, alice]) await button(page, 'Hang up').click({ timeout: 3000 }).catch(() => undefined);
  if (stand) {
    await alice.context().setOffline(true);
    stand.drop();
    await say(alice, 'Written in a tunnel');
    await alice.waitForTimeout(2500);
    await shot(alice, '19-offline');
    await alice.context().setOffline(false);
    await alice.getByRole('button', { name: 'Try now' }).click().catch(() => undefined);
    await bob.getByText('Written in a tunnel').first().waitFor();
  }
} catch (error) {
  faults.push(String(error));
  for (const context of browser.contexts()) for (const page of context.pages()) console.log(await page.evaluate(() => JSON.stringify({ state: window.trunkline?.media?.state, parts: window.trunkline?.media?.participants.map((p) => p.key), call: window.trunkline?.call && { ...window.trunkline.call, slots: 0 } , tracks: window.trunkline?.local?.stream.getTracks().length, fault: window.trunkline?.local?.fault })));
  for (const [index, context] of browser.contexts().entries()) for (const page of context.pages()) await shot(page, `fault-${index}`).catch(() => undefined);
} finally {
  await browser.close();
  stand?.close();
}
console.log(faults.length ? `faults:\n${faults.join('\n')}` : 'no faults');
process.exit(faults.length ? 1 : 0);
