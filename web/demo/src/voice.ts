/** A voice note: play, see where one is, go somewhere else, faster. */
import { waveformOf, type Attachment } from '@trunkline/sdk';
import { h, icon, setIcon, setText, svg } from './dom.js';
import type { MediaKit } from './kit.js';
import { faultWords, toast } from './parts.js';
import { clock } from './words.js';

const BARS = 64;
const BAR = { width: 2, pitch: 3, height: 28, least: 2 };
const SPEEDS = [1, 1.5, 2];
const STEP_S = 5;

/** So many values that stand for as many or more or fewer. */
export function resample(values: readonly number[], count: number): number[] {
  if (values.length === 0) return Array<number>(count).fill(0);
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * values.length) / count);
    const to = Math.max(from + 1, Math.floor(((i + 1) * values.length) / count));
    return Math.max(...values.slice(from, to));
  });
}

/** Bars in the middle of a strip, one for each value (0–1). */
export function bars(values: readonly number[]): { element: SVGSVGElement; fill(ratio: number): void } {
  const rects = values.map((value, i) => {
    const height = Math.max(BAR.least, Math.round(value * BAR.height));
    return svg('rect', { x: i * BAR.pitch, y: (BAR.height - height) / 2, width: BAR.width, height, rx: 1 });
  });
  const width = values.length * BAR.pitch - (BAR.pitch - BAR.width);
  return {
    element: svg('svg', { class: 'bars-wave', viewBox: `0 0 ${width} ${BAR.height}`, width, height: BAR.height, 'aria-hidden': 'true' }, ...rects),
    fill: (ratio) => rects.forEach((rect, i) => rect.classList.toggle('played', (i + 0.5) / rects.length <= ratio)),
  };
}

/** The one that plays: starting another stops it. */
let playing: HTMLAudioElement | undefined;
/** What was chosen last holds for the next note too. */
let speed = 1;

export interface VoiceParts {
  waveform: readonly number[] | undefined;
  seconds: number;
  /** Where the sound is; asked for when it is to be played. */
  source(): Promise<string | undefined>;
}

export function voiceView(kit: MediaKit, attachment: Attachment): HTMLElement {
  const element = voicePlayer({
    waveform: waveformOf(attachment), seconds: (attachment.duration_ms ?? 0) / 1000,
    source: () => kit.session.mediaLinks.linkFor(attachment, attachment.variants[0] ?? 'audio'),
  });
  Object.assign(element.dataset, { attachment: attachment.id, kind: 'voice', state: 'shown' });
  return element;
}

/** `lead` stands in the place of the play button: of a note on its way, its progress does. */
export function voicePlayer(parts: VoiceParts, lead?: HTMLElement): HTMLElement {
  const wave = bars(resample(parts.waveform ?? [], BARS));
  const time = h('span', { class: 'voice-time' }, clock(Math.round(parts.seconds)));
  const toggle = h('button', { type: 'button', class: 'voice-play', 'aria-label': 'Play voice note', onclick: () => void play() }, icon('play'));
  const seek = h('div', {
    class: 'voice-wave', role: 'slider', tabindex: '0', 'aria-label': 'Position in the voice note', 'aria-valuemin': 0,
    'aria-valuemax': Math.round(parts.seconds), 'aria-valuenow': 0,
  }, wave.element);
  const rate = h('button', { type: 'button', class: 'voice-speed', onclick: () => setSpeed(SPEEDS[(SPEEDS.indexOf(speed) + 1) % SPEEDS.length]!) });
  const element = h('div', { class: 'voice', role: 'group', 'aria-label': 'Voice note', 'data-playing': 'false' },
    lead ?? toggle, h('div', { class: 'voice-middle' }, seek, h('div', { class: 'voice-foot', 'aria-live': 'off' }, time, !lead && rate)));

  let audio: HTMLAudioElement | undefined;
  /** Where to begin, before there is sound to be anywhere in. */
  let wanted = 0;
  const length = (): number => (audio && Number.isFinite(audio.duration) ? audio.duration : parts.seconds) || parts.seconds;
  const at = (): number => (audio?.src ? audio.currentTime : wanted);

  function draw(): void {
    const total = length();
    const now = Math.min(at(), total);
    wave.fill(total > 0 ? now / total : 0);
    const active = now > 0 || (audio !== undefined && !audio.paused);
    setText(time, clock(active ? now : Math.round(total)));
    seek.setAttribute('aria-valuenow', String(Math.round(now)));
    seek.setAttribute('aria-valuetext', `${clock(now)} of ${clock(total)}`);
    const on = audio !== undefined && !audio.paused && !audio.ended;
    element.dataset['playing'] = String(on);
    setIcon(toggle, on ? 'pause' : 'play');
    toggle.setAttribute('aria-label', on ? 'Pause voice note' : 'Play voice note');
    setText(rate, `${speed}×`);
    rate.setAttribute('aria-label', `Speed: ${speed} times. Change`);
    if (on && element.isConnected) requestAnimationFrame(draw);
  }

  async function play(): Promise<void> {
    if (audio && !audio.paused) return audio.pause();
    try {
      if (!audio) {
        const source = await parts.source();
        if (source === undefined) return toast('This voice note is not on this device any more.', 'error');
        audio = new Audio(source);
        audio.currentTime = wanted;
        for (const event of ['play', 'pause', 'seeked', 'timeupdate', 'loadedmetadata', 'ratechange']) audio.addEventListener(event, draw);
        audio.addEventListener('ended', () => {
          audio!.currentTime = 0;
          draw();
        });
      }
      playing?.pause();
      playing = audio;
      audio.playbackRate = speed;
      await audio.play();
    } catch (error) {
      // Paused before it began.
      if (error instanceof DOMException && error.name === 'AbortError') return;
      audio = undefined;
      toast(error instanceof DOMException ? 'This voice note cannot be played here.' : faultWords(error), 'error');
      draw();
    }
  }

  function go(seconds: number): void {
    wanted = Math.min(Math.max(0, seconds), length());
    if (audio) audio.currentTime = wanted;
    draw();
  }

  function setSpeed(value: number): void {
    speed = value;
    if (playing) playing.playbackRate = value;
    for (const other of document.querySelectorAll('.voice-speed')) setText(other, `${value}×`);
    draw();
  }

  const drag = (event: PointerEvent): void => {
    const { left, width } = seek.getBoundingClientRect();
    go(((event.clientX - left) / width) * length());
  };
  seek.addEventListener('pointerdown', (event) => {
    seek.setPointerCapture(event.pointerId);
    drag(event);
  });
  seek.addEventListener('pointermove', (event) => {
    if (seek.hasPointerCapture(event.pointerId)) drag(event);
  });
  seek.addEventListener('keydown', (event) => {
    const steps: Record<string, () => void> = {
      ArrowLeft: () => go(at() - STEP_S), ArrowDown: () => go(at() - STEP_S), ArrowRight: () => go(at() + STEP_S), ArrowUp: () => go(at() + STEP_S),
      Home: () => go(0), End: () => go(length()), ' ': () => void play(),
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    step();
  });
  draw();
  return element;
}
