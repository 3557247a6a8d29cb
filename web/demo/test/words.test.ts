import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SLOTS_MAX, readKnobs, takeToken } from '../src/knobs.js';
import {
  albumRows, callLine, clock, columnsFor, dayWords, duration, endWords, fileBadge, filesWords, fitsAsFile, initials, isOutcome, listTime,
  messagesOf, names, people, progressWords, unchangedWords, uploadFault, uploadWords, userId,
} from '../src/words.js';

test('clock and durations', () => {
  assert.deepEqual([0, 65, 3723].map(clock), ['0:00', '1:05', '1:02:03']);
  assert.deepEqual([0, 59, 60, 3600, 3900].map(duration), ['0 s', '59 s', '1 min', '1 h', '1 h 5 min']);
});

test('what became of a call reads differently on both ends', () => {
  const body = (outcome: string) => ({ call: 'k', outcome, caller: 'alice', video: true, seconds: 42 });
  const read = (outcome: string, me: string) => callLine(body(outcome), me, me === 'alice' ? 'bob' : 'alice');
  assert.deepEqual(read('missed', 'alice'), { text: 'No answer to your video call', missed: false });
  assert.deepEqual(read('missed', 'bob'), { text: 'Missed video call from alice', missed: true });
  assert.equal(read('cancelled', 'bob').missed, true);
  assert.equal(read('cancelled', 'alice').text, 'You cancelled the video call');
  assert.equal(read('declined', 'alice').text, 'bob declined your video call');
  assert.equal(read('declined', 'bob').text, 'You declined a video call from alice');
  assert.equal(read('ended', 'bob').text, 'Video call · 42 s');
  assert.equal(read('busy', 'alice').text, 'bob was in another call');
  assert.equal(isOutcome(body('ended')), true);
  assert.equal(isOutcome({ text: 'hello' }), false);
  assert.equal(isOutcome(null), false);
});

test('the end of a call is told to whom it says something', () => {
  assert.equal(endWords('declined', true, 'bob'), 'bob declined the call.');
  assert.equal(endWords('declined', false, 'alice'), undefined);
  assert.equal(endWords('timed_out', false, 'alice'), 'You missed a call from alice.');
  assert.equal(endWords('ended', true, 'bob'), 'The call has ended.');
});

test('days', () => {
  const now = new Date(2026, 10, 22, 9).getTime();
  const day = (days: number) => new Date(2026, 10, 22 - days, 23).getTime();
  assert.deepEqual([0, 1, 3, 30].map((days) => dayWords(day(days), now, 'en-GB')), ['Today', 'Yesterday', 'Thursday', '23 October']);
  assert.equal(dayWords(new Date(2024, 2, 3).getTime(), now, 'en-GB'), '3 March 2024');
  assert.equal(listTime(day(1), now, 'en-GB'), 'Yesterday');
});

test('names of people', () => {
  assert.equal(names(['a']), 'a');
  assert.equal(names(['a', 'b']), 'a and b');
  assert.equal(names(['a', 'b', 'c', 'd', 'e']), 'a, b and 3 others');
  assert.equal(userId('  Zoë van Dijk '), 'Zoe-van-Dijk');
  assert.equal(userId('✨'), '');
  assert.deepEqual(people('bob, eve;bob  zoë'), ['bob', 'eve', 'zoe']);
  assert.equal(initials('ada-lovelace'), 'AL');
  assert.equal(initials('bob'), 'B');
});

test('tiles fill the stage', () => {
  assert.equal(columnsFor(1, 1200, 700), 1);
  assert.equal(columnsFor(2, 1200, 500), 2);
  assert.equal(columnsFor(2, 380, 700), 1);
  assert.equal(columnsFor(4, 1200, 700), 2);
  assert.equal(columnsFor(6, 1400, 600), 3);
});

test('knobs of the link', () => {
  assert.deepEqual(readKnobs(''), { relay: false, capture: { width: 1280, height: 720, frameRate: 30 }, slots: 6 });
  assert.deepEqual(readKnobs('?relay=1&capture=640x360@15&slots=2'), { relay: true, capture: { width: 640, height: 360, frameRate: 15 }, slots: 2 });
  assert.equal(readKnobs(`?slots=${SLOTS_MAX + 1}`).slots, 6);
  assert.equal(readKnobs('?capture=huge').capture.width, 1280);
});

test('the token is taken out of the address', () => {
  assert.deepEqual(takeToken('#token=a.b.c'), { token: 'a.b.c', rest: '' });
  assert.deepEqual(takeToken('#x=1&token=a.b.c'), { token: 'a.b.c', rest: '#x=1' });
  assert.deepEqual(takeToken(''), { token: undefined, rest: '' });
});

test('files in a line', () => {
  const photo = { kind: 'photo' };
  const voice = { kind: 'voice', duration_ms: 12_300 };
  const file = { kind: 'file', name: 'plan.pdf' };
  assert.deepEqual([[], [photo], [photo, photo], [voice], [{ kind: 'voice' }], [file], [{ kind: 'file' }], [photo, file]].map(filesWords),
    ['', 'Photo', '2 photos', 'Voice note · 0:12', 'Voice note', '\u2068plan.pdf\u2069', 'File', '2 files']);
});

test('how far an upload is', () => {
  assert.equal(progressWords(1_200_000, 3_400_000), '1.2 of 3.4 MB');
  assert.equal(progressWords(980_000, 3_400_000), '980 KB of 3.4 MB');
  const at = (state: string, more = {}) => uploadWords({ state, waiting: undefined, needsFile: false, progress: { sent: 1e6, total: 4e6 }, ...more });
  assert.equal(at('uploading'), '1 of 4 MB');
  assert.equal(at('paused'), 'Paused at 1 of 4 MB');
  assert.equal(at('paused', { needsFile: true }), 'Choose the file again to go on');
  assert.equal(at('queued', { progress: { sent: 0, total: 4e6 } }), 'Waiting for its turn…');
  for (const state of ['granting', 'uploading', 'processing']) assert.equal(at(state, { waiting: 'network' }), 'Waiting for the network…');
  assert.equal(at('uploading', { waiting: 'server' }), 'The server is busy. Trying again…');
});

test('why an upload failed', () => {
  assert.equal(uploadFault('damaged', 'x'), 'This file is damaged: it ends or breaks in the middle.');
  assert.equal(uploadFault('something_new', 'The server says so.'), 'The server says so.');
  assert.deepEqual([fitsAsFile('photo', 'too_many_pixels'), fitsAsFile('file', 'too_large'), fitsAsFile('photo', 'quota_exceeded'), fitsAsFile('photo', undefined)],
    [true, false, false, false]);
});

test('files are told apart by their letters and colours', () => {
  assert.deepEqual(fileBadge('фото.jpg', 'image/jpeg'), { label: 'JPG', tone: 'teal' });
  assert.deepEqual(fileBadge('plan.final.PDF', ''), { label: 'PDF', tone: 'red' });
  assert.deepEqual(fileBadge('packing list.xlsx', ''), { label: 'XLSX', tone: 'green' });
  assert.deepEqual(fileBadge('noname', 'application/zip'), { label: 'ZIP', tone: 'amber' });
  assert.deepEqual(fileBadge('README', 'text/plain'), { label: '', tone: 'grey' });
});

test('albums fill their rows', () => {
  for (let count = 1; count <= 10; count++) assert.equal(albumRows(count).reduce((a, b) => a + b, 0), count);
  assert.deepEqual([1, 2, 3, 4, 5, 7, 10].map(albumRows), [[1], [2], [1, 2], [2, 2], [2, 3], [2, 2, 3], [2, 2, 3, 3]]);
});

test('what is chosen together becomes albums of photos, and a message for everything else', () => {
  const isPhoto = (name: string) => name.startsWith('p');
  assert.deepEqual(messagesOf(['p1', 'f1', 'p2', 'p3', 'f2'], isPhoto, 2), [['p1', 'p2'], ['p3'], ['f1'], ['f2']]);
  assert.deepEqual(messagesOf([], isPhoto, 2), []);
});

test('whoever sends a picture that keeps its place is told so', () => {
  const told = (name: string, type: string) => unchangedWords([{ name: 'a.jpg', type: 'image/jpeg' }, { name, type }]) !== undefined;
  assert.deepEqual([told('a.heic', 'image/heic'), told('IMG_1.HEIC', ''), told('a.svg', 'image/svg+xml'), told('a.avif', 'image/avif')], [true, true, true, true]);
  assert.deepEqual([told('a.webp', 'image/webp'), told('plan.pdf', 'application/pdf'), told('README', '')], [false, false, false]);
});
