/** Records a voice note: a click begins and another sends, or the button is held for as long as one speaks. */
import { h, icon, setText, svg } from './dom.js';
import { toast } from './parts.js';
import { resample } from './voice.js';
import { clock } from './words.js';

export interface Recording {
  blob: Blob;
  waveform: number[];
  seconds: number;
}

export interface RecorderActions {
  /** Recording began or is over: the composer makes room. */
  active(on: boolean): void;
  send(recording: Recording): void;
}

/** Held at least this long, letting go means to send; shorter was a click. */
const HOLD_MS = 500;
/** A held finger that went so far to the left means not to send. */
const SLIDE_AWAY = 90;
/** What is shorter was a slip. */
const SHORTEST_S = 0.5;
/** A voice note of this length is some 4 MB. */
const LONGEST_S = 15 * 60;
const LOOK_MS = 80;
const BITS_PER_SECOND = 32_000;
/** As many as the widest composer has room for. */
const BARS = 240;
const TYPES = ['audio/webm;codecs=opus', 'audio/mp4', 'audio/ogg;codecs=opus'];

/** Why there is no microphone, in words for the person. */
function microphoneFault(error: unknown): string {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError': return 'The browser does not allow this page to use the microphone. Allow it in the address bar and try again.';
    case 'NotFoundError': return 'No microphone was found.';
    case 'NotReadableError': return 'The microphone is in use by another program.';
    default: return 'The microphone could not be opened.';
  }
}

export class Recorder {
  /** The microphone in the composer. */
  readonly button: HTMLButtonElement;
  /** What stands in the composer's place while recording. */
  readonly bar: HTMLElement;
  readonly #actions: RecorderActions;
  readonly #time = h('span', { class: 'recorder-time', role: 'timer' }, '0:00');
  readonly #hint = h('span', { class: 'recorder-hint' });
  readonly #send: HTMLButtonElement;
  readonly #rects = Array.from({ length: BARS }, (_, i) => svg('rect', { x: i * 4, y: 15, width: 2, height: 2, rx: 1 }));
  readonly #levels: number[] = [];
  /** One recording after another: what is late belongs to none. */
  #take = 0;
  #stream: MediaStream | undefined;
  #recorder: MediaRecorder | undefined;
  #context: AudioContext | undefined;
  #look: ReturnType<typeof setInterval> | undefined;
  #parts: Blob[] = [];
  #since = 0;
  #seconds = 0;
  #stopHolding: (() => void) | undefined;

  constructor(actions: RecorderActions) {
    this.#actions = actions;
    this.button = h('button', { type: 'button', class: 'icon-button round-button recorder-button', 'aria-label': 'Record a voice note', title: 'Record a voice note' }, icon('mic'));
    this.#send = h('button', { type: 'button', class: 'button primary send', 'aria-label': 'Send voice note', title: 'Send voice note', onclick: () => void this.#finish() }, icon('send'));
    this.bar = h('div', { class: 'recorder', role: 'group', 'aria-label': 'Recording', hidden: true },
      h('button', { type: 'button', class: 'icon-button round-button', 'aria-label': 'Cancel recording', title: 'Cancel recording', onclick: () => this.cancel() }, icon('trash')),
      h('span', { class: 'recorder-strip' }, h('span', { class: 'recorder-dot' }), this.#time,
        h('span', { class: 'recorder-wave', 'aria-hidden': 'true' }, svg('svg', { width: BARS * 4 - 2, height: 32 }, ...this.#rects)),
        this.#hint),
      this.#send);
    this.button.addEventListener('pointerdown', (event) => {
      if (event.button === 0) void this.#begin(event);
    });
    // A keyboard and a screen reader click without a pointer.
    this.button.addEventListener('click', (event) => {
      if (event.detail === 0) void this.#begin();
    });
    this.button.addEventListener('contextmenu', (event) => event.preventDefault());
    this.bar.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.cancel();
    });
  }

  get active(): boolean {
    return !this.bar.hidden;
  }

  /** Throws away what was recorded. */
  cancel(): void {
    if (!this.active) return;
    this.#close();
    this.button.focus({ preventScroll: true });
  }

  async #begin(held?: PointerEvent): Promise<void> {
    if (this.active) return;
    const take = ++this.#take;
    if (held) this.#hold(held, take);
    if (!globalThis.navigator?.mediaDevices || typeof MediaRecorder === 'undefined') {
      this.#stopHolding?.();
      return toast('This browser gives the microphone only to pages opened over https or from localhost.', 'error');
    }
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
    } catch (error) {
      this.#stopHolding?.();
      return toast(microphoneFault(error), 'error');
    }
    if (take !== this.#take || this.active) return stream.getTracks().forEach((track) => track.stop());
    this.#open(stream);
  }

  #open(stream: MediaStream): void {
    this.#stream = stream;
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(stream, { audioBitsPerSecond: BITS_PER_SECOND, ...(mimeType ? { mimeType } : {}) });
    this.#recorder = recorder;
    this.#parts = [];
    this.#levels.length = 0;
    recorder.addEventListener('dataavailable', ({ data }) => {
      if (this.#recorder === recorder && data.size > 0) this.#parts.push(data);
    });
    recorder.start(1_000);
    this.#since = performance.now();
    this.#seconds = 0;
    const context = (this.#context = new AudioContext());
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#look = setInterval(() => {
      if (recorder.state !== 'recording') return;
      analyser.getFloatTimeDomainData(samples);
      const loud = Math.sqrt(samples.reduce((sum, one) => sum + one * one, 0) / samples.length);
      // Speech lies low on a straight scale.
      this.#levels.push(Math.min(1, Math.sqrt(loud) * 1.6));
      this.#seconds = (performance.now() - this.#since) / 1000;
      if (this.#seconds >= LONGEST_S) recorder.stop();
      this.#draw();
    }, LOOK_MS);
    this.bar.hidden = false;
    this.#draw();
    this.#actions.active(true);
    this.#send.focus({ preventScroll: true });
  }

  #draw(): void {
    setText(this.#time, clock(this.#seconds));
    const shown = this.#levels.slice(-BARS);
    this.#rects.forEach((rect, i) => {
      const level = shown[i - (BARS - shown.length)];
      const height = level === undefined ? 2 : Math.max(2, Math.round(level * 28));
      rect.setAttribute('height', String(height));
      rect.setAttribute('y', String((32 - height) / 2));
    });
  }

  /** The button is pressed: what letting it go will mean depends on how long that takes and where it ends. */
  #hold(event: PointerEvent, take: number): void {
    const from = { at: performance.now(), x: event.clientX };
    const hint = setTimeout(() => setText(this.#hint, 'Let go to send, slide left to cancel'), HOLD_MS);
    const away = (now: PointerEvent): boolean => now.clientX < from.x - SLIDE_AWAY;
    const move = (now: PointerEvent): void => {
      if (now.pointerId === event.pointerId) this.bar.classList.toggle('leaving', away(now));
    };
    const up = (now: PointerEvent): void => {
      if (now.pointerId !== event.pointerId) return;
      this.#stopHolding?.();
      if (take !== this.#take || !this.active || performance.now() - from.at < HOLD_MS) return;
      if (away(now)) this.cancel();
      else if (now.type === 'pointerup') void this.#finish();
    };
    window.addEventListener('pointermove', move);
    window.addEventListener('pointerup', up);
    window.addEventListener('pointercancel', up);
    this.#stopHolding = () => {
      clearTimeout(hint);
      setText(this.#hint, '');
      this.bar.classList.remove('leaving');
      window.removeEventListener('pointermove', move);
      window.removeEventListener('pointerup', up);
      window.removeEventListener('pointercancel', up);
      this.#stopHolding = undefined;
    };
  }

  async #finish(): Promise<void> {
    const recorder = this.#recorder;
    if (!recorder || !this.active) return;
    this.#recorder = recorder;
    if (recorder.state !== 'inactive') {
      const stopped = new Promise((done) => recorder.addEventListener('stop', done, { once: true }));
      recorder.stop();
      await stopped;
    }
    if (this.#recorder !== recorder) return;
    const recording = { blob: new Blob(this.#parts, { type: recorder.mimeType }), waveform: resample(this.#levels, 64), seconds: this.#seconds };
    this.#close();
    if (recording.seconds < SHORTEST_S || recording.blob.size === 0) return toast('That was too short for a voice note.');
    this.#actions.send(recording);
  }

  /** Lets go of the microphone, which a call may be using too. */
  #close(): void {
    this.#take++;
    this.#stopHolding?.();
    clearInterval(this.#look);
    const recorder = this.#recorder;
    this.#recorder = undefined;
    if (recorder && recorder.state !== 'inactive') recorder.stop();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
    void this.#context?.close().catch(() => undefined);
    this.#context = undefined;
    this.bar.hidden = true;
    this.#actions.active(false);
  }
}

/** `voice-note-2026-11-26-0912.webm` */
export function recordingName(type: string, at: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const ending = type.includes('mp4') ? 'm4a' : type.includes('ogg') ? 'ogg' : 'webm';
  return `voice-note-${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}-${two(at.getHours())}${two(at.getMinutes())}.${ending}`;
}
