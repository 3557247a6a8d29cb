/** The call on the screen: tiles, myself, and what I can press. */
import { participantKey, type RemoteParticipant, type StatsSnapshot } from '@trunkline/sdk';
import { coalesced, h, icon, reconcile, setIcon, setText } from './dom.js';
import type { InCall } from './incall.js';
import { avatar, faultWords, qualityMark, toast } from './parts.js';
import { clock, columnsFor } from './words.js';

interface Tile {
  element: HTMLElement;
  video: HTMLVideoElement;
  show(person: Person): void;
  measure(stats: StatsSnapshot): void;
}

/** Somebody in the call, with or without a slot yet. */
interface Person {
  key: string;
  user: string;
  audio: boolean;
  video: boolean;
  participant: RemoteParticipant | undefined;
}

/** Sizes are told once a resize has rested this long. */
const RESIZE_REST_MS = 200;

function people(incall: InCall): Person[] {
  const { call, media, session } = incall;
  const slots = new Map((media?.participants ?? []).map((one) => [one.key, one]));
  const legs = (call?.legs ?? []).filter((leg) => leg.state === 'joined' && !(leg.user === session.user && leg.device === session.device));
  const found = legs.map((leg): Person => {
    const key = participantKey(leg);
    return { key, user: leg.user, audio: leg.media?.audio ?? true, video: leg.media?.video ?? false, participant: slots.get(key) };
  });
  const known = new Set(found.map((one) => one.key));
  for (const participant of slots.values()) {
    if (!known.has(participant.key)) found.push({ key: participant.key, user: participant.user, audio: true, video: true, participant });
  }
  return found;
}

function control(label: string, name: Parameters<typeof icon>[0], press: () => void, kind = ''): HTMLButtonElement {
  return h('button', { type: 'button', class: `control ${kind}`, 'aria-label': label, title: label, onclick: press }, icon(name));
}

function relabel(button: HTMLButtonElement, label: string, name: Parameters<typeof icon>[0]): void {
  button.setAttribute('aria-label', label);
  button.title = label;
  setIcon(button, name);
}

export class CallView {
  readonly element: HTMLElement;
  readonly incall: InCall;
  readonly #tiles = new Map<string, Tile>();
  readonly #grid = h('div', { class: 'tiles' });
  readonly #self = h('video', { class: 'self-video', autoplay: true, playsinline: true, muted: true, 'aria-label': 'Your own picture' });
  readonly #selfBox = h('div', { class: 'self' }, this.#self);
  readonly #title = h('h2', { class: 'call-title' });
  readonly #status = h('p', { class: 'call-status', role: 'status' });
  readonly #timer = h('span', { class: 'call-timer', role: 'timer' });
  readonly #mark = qualityMark('Connection');
  readonly #waiting = h('div', { class: 'waiting' });
  readonly #microphone: HTMLButtonElement;
  readonly #camera: HTMLButtonElement;
  readonly #hangUp: HTMLButtonElement;
  readonly #unlock = h('button', { type: 'button', class: 'button primary unlock', onclick: () => this.#playAll() }, icon('speaker'), 'Turn sound on');
  readonly #stops: (() => void)[] = [];
  readonly #sizes: ResizeObserver;
  readonly #clock: ReturnType<typeof setInterval>;
  #rest: ReturnType<typeof setTimeout> | undefined;
  #measuring = false;

  constructor(incall: InCall, minimise: () => void) {
    this.incall = incall;
    this.#self.muted = true;
    this.#microphone = control('Mute microphone', 'mic', () => void this.#toggle('microphone'));
    this.#camera = control('Turn camera off', 'video', () => void this.#toggle('camera'));
    this.#hangUp = control('Hang up', 'hangUp', () => void incall.hangUp().catch((error: unknown) => toast(faultWords(error), 'error')), 'danger');
    this.#unlock.hidden = true;
    this.element = h('section', { class: 'call', 'aria-label': 'Call' },
      h('header', { class: 'call-head' }, h('div', {}, this.#title, this.#status), this.#timer, this.#mark.element),
      h('div', { class: 'stage' }, this.#grid, this.#waiting, this.#selfBox, this.#unlock),
      h('footer', { class: 'controls' },
        control('Show messages', 'chat', minimise), this.#microphone, this.#camera, this.#hangUp));
    this.#mark.element.hidden = true;
    const render = coalesced(() => this.#render());
    this.#stops.push(incall.on('change', render));
    this.#sizes = new ResizeObserver(() => {
      this.#arrange();
      clearTimeout(this.#rest);
      this.#rest = setTimeout(() => this.#tellSizes(), RESIZE_REST_MS);
    });
    this.#sizes.observe(this.#grid);
    this.#clock = setInterval(() => this.#tick(), 500);
    this.#render();
  }

  /** Puts the keyboard where it is most likely to be wanted. */
  focus(): void {
    this.#hangUp.focus({ preventScroll: true });
  }

  close(): void {
    for (const stop of this.#stops) stop();
    clearInterval(this.#clock);
    clearTimeout(this.#rest);
    this.#sizes.disconnect();
    for (const tile of this.#tiles.values()) tile.video.srcObject = null;
    this.#self.srcObject = null;
    this.element.remove();
  }

  async #toggle(what: 'microphone' | 'camera'): Promise<void> {
    const { media } = this.incall.local;
    const button = what === 'microphone' ? this.#microphone : this.#camera;
    button.disabled = true;
    try {
      if (what === 'microphone') await this.incall.setMicrophone(!media.audio);
      else await this.incall.setCamera(!media.video);
    } catch (error) {
      toast(error instanceof DOMException ? 'The browser does not give this page the device. Allow it in the address bar and try again.' : faultWords(error), 'error');
    } finally {
      button.disabled = false;
      button.focus();
    }
  }

  #render(): void {
    const { incall } = this;
    const { phase, local, call, media } = incall;
    setText(this.#title, incall.other);
    setText(this.#status, this.#statusWords());
    const ringing = phase === 'dialling';
    relabel(this.#hangUp, ringing ? 'Cancel call' : 'Hang up', 'hangUp');
    const sending = local.media;
    relabel(this.#microphone, sending.audio ? 'Mute microphone' : 'Unmute microphone', sending.audio ? 'mic' : 'micOff');
    relabel(this.#camera, sending.video ? 'Turn camera off' : 'Turn camera on', sending.video ? 'video' : 'videoOff');
    this.#microphone.classList.toggle('off', !sending.audio);
    this.#camera.classList.toggle('off', !sending.video);
    this.#microphone.disabled = this.#camera.disabled = !incall.captured;
    const all = phase === 'live' ? people(incall) : [];
    this.#renderSelf(sending.video, all.length > 0);
    this.#renderTiles(all);
    this.#waiting.hidden = all.length > 0;
    if (this.#waiting.dataset['for'] !== incall.other) {
      this.#waiting.dataset['for'] = incall.other;
      this.#waiting.replaceChildren(avatar(incall.other, 'large'));
    }
    this.#waiting.classList.toggle('pulsing', ringing && call?.state === 'ringing');
    if (media && !this.#measuring) {
      this.#measuring = true;
      this.#stops.push(media.stats.on('snapshot', (stats) => this.#measure(stats)));
    }
    this.element.classList.toggle('interrupted', media?.state === 'interrupted');
  }

  #statusWords(): string {
    const { phase, call, media, conversation } = this.incall;
    if (!this.incall.captured && phase !== 'joining') return 'Waiting for camera and microphone…';
    if (phase === 'dialling') return !call ? 'Calling…' : call.state === 'ringing' ? 'Ringing…' : 'Calling…';
    if (phase === 'joining') return 'Joining…';
    if (media?.state === 'interrupted') return 'Reconnecting…';
    if (media?.state === 'connecting' || !media) return 'Connecting…';
    const inside = people(this.incall).length;
    if (inside === 0) return 'Waiting for others to join';
    return conversation.others.length > 1 ? `${inside + 1} people in the call` : '';
  }

  #renderSelf(video: boolean, small: boolean): void {
    const { stream } = this.incall.local;
    // The stream's track changes when the camera is turned off and on: an element notices by itself.
    if (this.#self.srcObject !== stream) this.#self.srcObject = stream;
    if (video && this.#self.paused) void this.#self.play().catch(() => undefined);
    this.#selfBox.classList.toggle('without-picture', !video);
    this.#selfBox.classList.toggle('whole', !small);
  }

  #renderTiles(all: Person[]): void {
    const gone = new Set(this.#tiles.keys());
    reconcile(this.#grid, all, (one) => one.key, (one) => this.#tile(one).element, (_, one) => this.#tiles.get(one.key)?.show(one));
    for (const one of all) gone.delete(one.key);
    for (const key of gone) {
      const tile = this.#tiles.get(key)!;
      this.#sizes.unobserve(tile.element);
      tile.video.srcObject = null;
      this.#tiles.delete(key);
    }
    this.#arrange();
  }

  #tile(person: Person): Tile {
    const video = h('video', { autoplay: true, playsinline: true });
    const name = h('span', { class: 'tile-name' }, person.user);
    const muted = h('span', { class: 'tile-muted', role: 'img', 'aria-label': `${person.user} is muted`, title: 'Muted' }, icon('micOff'));
    const mark = qualityMark(person.user);
    const element = h('article', {
      class: 'tile', 'aria-label': person.user, 'data-user': person.user, 'data-participant': person.key,
    }, video, h('div', { class: 'tile-face' }, avatar(person.user, 'large')), h('footer', {}, muted, name, mark.element));
    const tile: Tile = {
      element, video,
      show: ({ participant, audio, video: pictured }) => {
        if (participant && video.srcObject !== participant.stream) {
          video.srcObject = participant.stream;
          this.#play(video);
        }
        muted.hidden = audio;
        element.classList.toggle('with-picture', pictured && participant?.midVideo != null);
        element.classList.toggle('absent', !participant);
      },
      measure: (stats) => {
        const mine = stats.tiles.find((one) => one.key === person.key);
        if (!mine) return;
        const details = mine.frameWidth > 0 ? `(${mine.frameWidth}×${mine.frameHeight}, ${Math.round(mine.bitrate / 1000)} kb/s)` : `(${Math.round(mine.bitrate / 1000)} kb/s)`;
        mark.show(mine.quality, details);
        element.classList.toggle('speaking', muted.hidden && mine.audioLevel > 0.02);
      },
    };
    video.addEventListener('resize', () => element.classList.toggle('portrait', video.videoHeight > video.videoWidth));
    this.#tiles.set(person.key, tile);
    this.#sizes.observe(element);
    return tile;
  }

  #play(video: HTMLVideoElement): void {
    video.play().catch((error: unknown) => {
      // A page that nobody has touched yet, as after a reload, may not make a sound.
      if (error instanceof DOMException && error.name === 'NotAllowedError') this.#unlock.hidden = false;
    });
  }

  #playAll(): void {
    this.#unlock.hidden = true;
    for (const { video } of this.#tiles.values()) this.#play(video);
  }

  #arrange(): void {
    const { clientWidth, clientHeight } = this.#grid;
    if (clientWidth === 0) return;
    const columns = columnsFor(this.#tiles.size, clientWidth, clientHeight);
    this.#grid.style.setProperty('--columns', String(columns));
    this.#grid.style.setProperty('--rows', String(Math.max(1, Math.ceil(this.#tiles.size / columns))));
  }

  #tellSizes(): void {
    for (const [key, { element }] of this.#tiles) {
      const scale = window.devicePixelRatio || 1;
      this.incall.media?.setView(key, Math.round(element.clientWidth * scale), Math.round(element.clientHeight * scale));
    }
  }

  #measure(stats: StatsSnapshot): void {
    this.#mark.element.hidden = stats.tiles.length === 0;
    const { rttMs, relayed } = stats.transport;
    this.#mark.show(stats.quality, `${rttMs === undefined ? '' : `${Math.round(rttMs)} ms to the server${relayed ? ', relayed' : ''}.`}`);
    for (const tile of this.#tiles.values()) tile.measure(stats);
  }

  #tick(): void {
    const { since, phase } = this.incall;
    setText(this.#timer, phase === 'live' && since !== undefined ? clock((Date.now() - since) / 1000) : '');
  }
}
