// What others see of a photo: upright, of the right size, and without a word about who took it where.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Darkroom, UPRIGHT } from './lib/darkroom.mjs';
import { Member } from './lib/member.mjs';
import { jpegMarkers, pngChunks, tellingGif, tellingJpeg, tellingPng, tellingWebp, tracesIn, webpChunks } from './lib/metadata.mjs';
import { openBrowser } from './lib/people.mjs';
import { Server } from './lib/server.mjs';

const ORIENTATIONS = [1, 2, 3, 4, 5, 6, 7, 8];
const SMALL = { width: 500, height: 300 };
const LARGE = { width: 2_400, height: 1_600, detail: 1_500 };
/** What a variant may have beside its picture. */
const JPEG_APPLICATIONS = ['APP0 JFIF', 'APP2 ICC_PROFILE', 'APP14 Adobe'];
const PNG_CHUNKS = ['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND', 'sRGB', 'iCCP', 'gAMA', 'cHRM', 'cICP'];
const WEBP_CHUNKS = ['VP8X', 'VP8 ', 'VP8L', 'ALPH', 'ICCP', 'ANIM', 'ANMF'];

test('what others see of a photo', { timeout: 180_000 }, async (t) => {
  const server = await Server.start({ MEDIA__ORIGINALS: 'true' });
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const darkroom = await Darkroom.open(browser);
  const conv = await server.conversation(['alice', 'bob']);
  const alice = await Member.of(server, 'alice');
  const bob = await Member.of(server, 'bob');

  /** Uploads as alice, and gives each variant as bob gets it. */
  const shared = async (bytes, name) => {
    const attachment = await alice.attach(conv, 'photo', bytes, { name });
    await alice.send(conv, [attachment.id]);
    const variants = new Map();
    for (const variant of attachment.variants) variants.set(variant, await bob.bytesOf(attachment.id, variant));
    return { attachment, variants };
  };

  /** The variant's size, capped at its name, and every corner where it was. */
  const assertUpright = async (variant, bytes, { width, height }) => {
    const seen = await darkroom.look(bytes);
    const scale = variant === 'original' ? 1 : Math.min(1, Number(variant) / Math.max(width, height));
    assert.deepEqual(seen.corners, UPRIGHT, variant);
    assert.ok(Math.abs(seen.width - width * scale) <= 1, `${variant} is ${seen.width} wide`);
    assert.ok(Math.abs(seen.height - height * scale) <= 1, `${variant} is ${seen.height} high`);
  };

  for (const [size, shape, expected] of [['small', SMALL, ['320', '1280', 'original']], ['large', LARGE, ['320', '1280', '2048', 'original']]]) {
    await t.test(`JPEG, ${size}: ${ORIENTATIONS.length} of ${ORIENTATIONS.length} orientations are upright, and nothing is told`, async (t) => {
      const begun = performance.now();
      for (const orientation of ORIENTATIONS) {
        const stored = await darkroom.make({ ...shape, orientation, seed: orientation });
        const taken = tellingJpeg(stored, orientation);
        // The test's own photo: Chromium turns it as its EXIF says, and it does tell.
        assert.deepEqual((await darkroom.look(taken)).corners, UPRIGHT, `orientation ${orientation}, as taken`);
        if (orientation > 1) assert.ok(!sameCorners((await darkroom.look(stored)), shape), `orientation ${orientation}, as stored`);
        assert.ok(tracesIn(taken).length >= 6);

        const { attachment, variants } = await shared(taken, `IMG_${orientation}.jpg`);
        assert.deepEqual([attachment.width, attachment.height], [shape.width, shape.height]);
        assert.deepEqual(attachment.variants, expected);
        for (const [variant, bytes] of variants) {
          await assertUpright(variant, bytes, shape);
          assert.deepEqual(tracesIn(bytes), [], `${variant} of orientation ${orientation}`);
          const told = jpegMarkers(bytes).filter((marker) => / /.test(marker) && !JPEG_APPLICATIONS.includes(marker));
          assert.deepEqual(told, [], `${variant} of orientation ${orientation}`);
          assert.ok(variant === 'original' || bytes.length <= taken.length, `${variant} is larger than what came`);
        }
      }
      t.diagnostic(`${((performance.now() - begun) / ORIENTATIONS.length).toFixed(0)} ms a photo, from its making to its last look`);
    });
  }

  for (const orientation of [1, 6]) {
    await t.test(`PNG with orientation ${orientation}`, async () => {
      const stored = await darkroom.make({ ...SMALL, orientation, type: 'image/png', alpha: true });
      const taken = tellingPng(stored, orientation);
      assert.deepEqual((await darkroom.look(taken)).corners, UPRIGHT);
      const { variants } = await shared(taken, 'shot.png');
      for (const [variant, bytes] of variants) {
        await assertUpright(variant, bytes, SMALL);
        assert.deepEqual(tracesIn(bytes), [], variant);
        assert.equal((await darkroom.look(bytes)).alpha, 0, `${variant} is transparent where it was`);
        assertClean(bytes, variant);
      }
    });

    await t.test(`WebP with orientation ${orientation}`, async () => {
      const stored = await darkroom.make({ ...SMALL, orientation, type: 'image/webp' });
      const [width, height] = orientation >= 5 ? [SMALL.height, SMALL.width] : [SMALL.width, SMALL.height];
      const taken = tellingWebp(stored, { width, height }, orientation);
      assert.ok(tracesIn(taken).length > 0);
      const { variants } = await shared(taken, 'shot.webp');
      for (const [variant, bytes] of variants) {
        await assertUpright(variant, bytes, SMALL);
        assert.deepEqual(tracesIn(bytes), [], variant);
        assertClean(bytes, variant);
      }
    });
  }

  await t.test('an animated GIF keeps its movement and loses its comments', async () => {
    const taken = tellingGif(400, 240);
    assert.ok(tracesIn(taken).length > 0);
    const { attachment, variants } = await shared(taken, 'cat.gif');
    assert.equal(attachment.animated, true);
    for (const [variant, bytes] of variants) {
      assert.deepEqual(tracesIn(bytes), [], variant);
      // A size may turn out to be the next larger one, where that has fewer bytes.
      await assertUpright('original', bytes, { width: 400, height: 240 });
    }
    const frames = variants.get('original').toString('latin1').split('\x21\xf9\x04').length - 1;
    assert.equal(frames, 2);
  });
});

/** Whether a picture looks upright and has the upright shape. */
function sameCorners(seen, { width, height }) {
  return seen.width === width && seen.height === height && seen.corners.every((corner, i) => corner === UPRIGHT[i]);
}

/** Nothing but the picture, whatever format the variant has. */
function assertClean(bytes, variant) {
  if (bytes[0] === 0xff) {
    assert.deepEqual(jpegMarkers(bytes).filter((marker) => / /.test(marker) && !JPEG_APPLICATIONS.includes(marker)), [], variant);
  } else if (bytes[0] === 0x89) {
    assert.deepEqual(pngChunks(bytes).filter((chunk) => !PNG_CHUNKS.includes(chunk)), [], variant);
  } else {
    assert.equal(bytes.toString('latin1', 0, 4), 'RIFF', variant);
    assert.deepEqual(webpChunks(bytes).map(({ type }) => type).filter((type) => !WEBP_CHUNKS.includes(type)), [], variant);
  }
}
