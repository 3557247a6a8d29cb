import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SLOTS_MAX, readKnobs, takeToken } from '../src/knobs.js';
import { callLine, clock, columnsFor, dayWords, duration, endWords, initials, isOutcome, listTime, names, people, userId } from '../src/words.js';

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
