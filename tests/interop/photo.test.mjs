// A photo and a voice note from one person to another, at the page.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Darkroom, UPRIGHT } from './lib/darkroom.mjs';
import { Member } from './lib/member.mjs';
import { tellingJpeg } from './lib/metadata.mjs';
import { Person, openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';
import { choose, drop, newestAttachment, pictureIn, shown } from './lib/sharing.mjs';

const SHOTS = process.env.TRUNKLINE_SHOTS;
const NOTE_SECONDS = 3;

test('between two people', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const darkroom = await Darkroom.open(browser);
  const conv = await server.conversation(['alice', 'bob']);
  const alice = await Person.open(browser, server, 'alice');
  const bob = await Person.open(browser, server, 'bob');
  await alice.openConversation('bob');
  await bob.openConversation('alice');
  const shot = async (person, name) => SHOTS && person.page.screenshot({ path: `${SHOTS}/${name}.png` });

  await t.test('a dropped photo is there as a placeholder, then as a thumbnail, then in full', async () => {
    // Taken with the camera turned: everybody sees it upright.
    const jpeg = tellingJpeg(await darkroom.make({ width: 3_000, height: 2_000, detail: 1_500, orientation: 6 }), 6);
    const hold = await holdMedia(bob);
    await drop(alice, [{ name: 'фото.jpg', mimeType: 'image/jpeg', buffer: jpeg }]);
    await shown(alice, 'photo').first().waitFor();
    await shot(alice, 'photo-going');

    const box = shown(bob, 'photo', 'placeholder');
    await box.waitFor();
    await until('bob asks for the thumbnail', () => hold.count > 0);
    const under = box.locator('img.photo-under');
    await until('the blur is painted', () => under.evaluate((image) => image.complete && image.naturalWidth > 0));
    assert.match(await under.getAttribute('src'), /^data:image\/png/);
    const placeholder = await pictureIn(box, 'img.photo-under');
    const ratio = (sides) => sides[0] / sides[1];
    assert.ok(Math.abs(ratio(placeholder.natural) - 1.5) < 0.2, `the blur has the photo's shape: ${placeholder.natural}`);
    assert.ok(Math.abs(ratio(await boxOf(box)) - 1.5) < 0.02, 'and its box too, before the picture is there');
    const before = await boxOf(box);
    await shot(bob, 'photo-placeholder');

    hold.release();
    const thumbnail = shown(bob, 'photo', 'shown');
    await thumbnail.waitFor();
    const { natural } = await pictureIn(thumbnail);
    assert.ok(natural[0] >= 320 && Math.abs(ratio(natural) - 1.5) < 0.01, `${natural}`);
    assert.deepEqual(await boxOf(thumbnail), before, 'nothing moved when it came');
    await shot(bob, 'photo-thumbnail');

    await thumbnail.click();
    const dialog = bob.page.getByRole('dialog', { name: 'Photo' });
    const full = dialog.locator('[data-attachment][data-state="shown"]');
    await full.waitFor();
    await until('the largest size is shown', async () => (await full.getAttribute('data-variant')) === '2048', { ms: 20_000 });
    await until('it is drawn', async () => (await pictureIn(full, 'img.viewer-over')).natural[0] === 2_048);
    await shot(bob, 'photo-full');
    await bob.page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await shown(alice, 'photo', 'shown').waitFor();

    const { id, name, variants } = await newestAttachment(bob, conv);
    assert.equal(name, 'фото.jpg');
    const carriers = await Member.of(server, 'bob');
    for (const variant of variants) assert.deepEqual((await darkroom.look(await carriers.bytesOf(id, variant))).corners, UPRIGHT);
  });

  await t.test('several photos make an album, and a file makes a row', async () => {
    const seeds = [1, 2, 3];
    const photos = await Promise.all(seeds.map((seed) => darkroom.make({ width: 900, height: 700, seed })));
    await choose(alice, photos.map((buffer, i) => ({ name: `${i}.jpg`, mimeType: 'image/jpeg', buffer })));
    await until('bob sees them all', async () => (await shown(bob, 'photo', 'shown').count()) === 1 + seeds.length);
    await choose(alice, [{ name: 'план.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF-1.7\n%\xe2\xe3\n', 'latin1') }]);
    await shown(bob, 'file', 'shown').getByText('план').waitFor();
    await shot(bob, 'album-and-file');

    const [file] = await Promise.all([bob.page.waitForEvent('download'), shown(bob, 'file').click()]);
    assert.equal(file.suggestedFilename(), 'план.pdf');
  });

  await t.test('a voice note is recorded, and plays at the other', async (t) => {
    await alice.press('Record a voice note');
    await alice.page.getByRole('timer').getByText(`0:0${NOTE_SECONDS}`).waitFor();
    await shot(alice, 'voice-recording');
    await alice.press('Send voice note');
    const note = shown(bob, 'voice', 'shown');
    await note.waitFor();
    const { duration_ms: durationMs, waveform, type } = await newestAttachment(bob, conv);
    assert.ok(Math.abs(durationMs / 1_000 - NOTE_SECONDS) < 1, `${durationMs} ms`);
    const loudness = [...Buffer.from(waveform, 'base64')];
    assert.equal(loudness.length, 64);
    assert.ok(Math.max(...loudness) > 20, `the fake microphone beeps: ${loudness}`);
    await note.getByText(`0:0${Math.round(durationMs / 1_000)}`).waitFor();

    await rememberPlayed(bob);
    await note.getByRole('button', { name: 'Play voice note' }).click();
    const heard = () => bob.page.evaluate(() => window.played && { at: window.played.currentTime, seconds: window.played.duration, error: window.played.error?.code });
    const first = await until('it plays', async () => {
      const now = await heard();
      return now?.at > 0.2 && now;
    });
    await until('it plays on', async () => (await heard()).at > first.at + 0.3);
    await shot(bob, 'voice-playing');
    assert.equal((await heard()).error, undefined);
    assert.ok(Math.abs(first.seconds - durationMs / 1_000) < 0.15, `${first.seconds} s, told as ${durationMs} ms`);
    await until('it comes to its end', async () => (await note.getAttribute('data-playing')) === 'false');
    t.diagnostic(`${durationMs} ms of ${type}`);
    const energy = await energyOf(bob);
    assert.ok(energy > 0.001, `silence: ${energy}`);
  });

  assert.deepEqual([...alice.problems, ...bob.problems], []);
});

async function boxOf(locator) {
  const { width, height } = await locator.boundingBox();
  return [Math.round(width), Math.round(height)];
}

/** Nothing of the media store's comes to this person until it is released. */
async function holdMedia(person) {
  const hold = { count: 0 };
  const released = new Promise((resolve) => { hold.release = resolve; });
  await person.page.route('**/v1/media/**', async (route) => {
    hold.count += 1;
    await released;
    await route.continue();
  });
  return hold;
}

/** From now on `window.played` is the element that was played last: the page keeps it out of its document. */
function rememberPlayed(person) {
  return person.page.evaluate(() => {
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function remembered() {
      window.played = this;
      return play.call(this);
    };
  });
}

/** The mean square of what was played, as the browser decodes it. */
function energyOf(person) {
  return person.page.evaluate(async () => {
    const bytes = await (await fetch(window.played.currentSrc)).arrayBuffer();
    const sound = (await new OfflineAudioContext(1, 48_000, 48_000).decodeAudioData(bytes)).getChannelData(0);
    return sound.reduce((sum, sample) => sum + sample * sample, 0) / sound.length;
  });
}
