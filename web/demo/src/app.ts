/** The page of somebody who is signed in: joins the views to the session. */
import type { Call, Conversation, RequestError, Session } from '@trunkline/sdk';
import { CallView } from './callview.js';
import { newConversationDialog, ringDialog } from './dialogs.js';
import { h, setText } from './dom.js';
import { InCall } from './incall.js';
import { ignoreStrayDrops } from './intake.js';
import type { Knobs } from './knobs.js';
import { listView, titleOf } from './list.js';
import { faultWords, toast } from './parts.js';
import { ThreadView } from './thread.js';
import { ringTone } from './tones.js';
import { clock, endWords, uploadFault } from './words.js';

/** A lost connection is not worth a word before it has been lost this long. */
const BANNER_AFTER_MS = 900;

export class App {
  readonly element: HTMLElement;
  readonly session: Session;
  incall: InCall | undefined;
  readonly #knobs: Knobs;
  readonly #list: ReturnType<typeof listView>;
  readonly #thread: ThreadView;
  readonly #main = h('main', { class: 'main' });
  readonly #banner = h('div', { class: 'connection', role: 'status', hidden: true });
  readonly #bannerText = h('span');
  readonly #bar: HTMLElement;
  readonly #barText = h('span');
  readonly #rings = new Map<string, () => void>();
  readonly #stops: (() => void)[] = [];
  #callView: CallView | undefined;
  #stopTone: (() => void) | undefined;
  #offlineSince: number | undefined;
  #beat: ReturnType<typeof setInterval>;

  constructor(session: Session, knobs: Knobs, signOut: (notice?: string) => void) {
    this.session = session;
    this.#knobs = knobs;
    this.#list = listView(session, {
      open: (conversation) => this.open(conversation),
      create: () => newConversationDialog(session, (conversation) => this.open(conversation)),
      signOut: () => signOut(),
      current: () => this.#thread.conversation,
    });
    this.#thread = new ThreadView(session, {
      call: (conversation, video) => this.dial(conversation, video),
      join: (call) => this.#join(call, call.media.video),
      back: () => this.open(undefined),
      busy: () => this.incall !== undefined,
      mine: () => this.incall?.call,
    });
    this.#bar = h('div', { class: 'call-bar', hidden: true }, h('span', { class: 'live-dot' }), this.#barText,
      h('button', { type: 'button', class: 'button', onclick: () => this.#minimise(false) }, 'Return to call'));
    this.#banner.append(this.#bannerText, h('button', { type: 'button', class: 'button quiet', onclick: () => session.connect() }, 'Try now'));
    this.#main.append(this.#bar, this.#thread.element);
    this.element = h('div', { class: 'shell' }, this.#banner, this.#list.element, this.#main);
    this.#listen(signOut);
    this.#beat = setInterval(() => this.#tick(), 500);
    this.#render();
  }

  close(): void {
    clearInterval(this.#beat);
    for (const stop of this.#stops) stop();
    for (const stop of this.#rings.values()) stop();
    void this.incall?.hangUp().catch(() => undefined);
    this.session.close();
    document.title = 'Trunkline';
  }

  open(conversation: Conversation | undefined): void {
    if (this.#callView) this.#minimise(true);
    this.element.classList.toggle('reading', conversation !== undefined);
    this.#thread.open(conversation);
    this.#render();
  }

  dial(conversation: Conversation, video: boolean): void {
    if (this.incall) return;
    this.#enter(InCall.dial(this.session, conversation, this.#knobs, video));
  }

  #listen(signOut: (notice?: string) => void): void {
    const { session } = this;
    const render = (): void => this.#render();
    const on = <T>(stop: T & (() => void)): void => void this.#stops.push(stop);
    on(session.on('state', () => this.#connection()));
    on(session.on('ready', () => this.#resume()));
    on(session.on('conversation', render));
    on(session.on('message', ({ conversation, message }) => {
      if (conversation === this.#thread.conversation) this.#thread.arrived(message.user);
      this.#render();
    }));
    on(session.on('outgoing', render));
    on(session.on('upload', (upload) => {
      const conversation = session.conversations.get(upload.conv);
      // In the open conversation it says so itself.
      if (upload.state === 'failed' && conversation && conversation !== this.#thread.conversation) {
        toast(`${upload.name} was not sent to ${titleOf(conversation)}. ${uploadFault(upload.error?.code ?? '', faultWords(upload.error))}`, 'error');
      }
      this.#render();
    }));
    on(session.on('gap', render));
    on(session.on('receipt', render));
    on(session.on('typing', ({ conversation, user }) => {
      if (conversation === this.#thread.conversation) this.#thread.typing(user);
    }));
    on(session.on('ring', (call) => this.#ring(call)));
    on(session.on('call', (call) => this.#callChanged(call)));
    on(session.on('fault', (error) => toast(faultWords(error), 'error')));
    on(session.on('refused', (error) => this.#refused(error, signOut)));
    this.#stops.push(ignoreStrayDrops());
    const check = (): void => {
      if (document.visibilityState === 'visible') session.check();
    };
    window.addEventListener('online', check);
    document.addEventListener('visibilitychange', check);
    this.#stops.push(() => {
      window.removeEventListener('online', check);
      document.removeEventListener('visibilitychange', check);
    });
  }

  #refused(error: RequestError, signOut: (notice?: string) => void): void {
    if (error.code !== 'replaced') return signOut(`${faultWords(error)} Log in again.`);
    setText(this.#bannerText, 'Trunkline is open in another window.');
    this.#banner.querySelector('button')!.textContent = 'Use it here';
    this.#banner.hidden = false;
  }

  // ——— calls

  #ring(call: Call): void {
    if (this.#rings.has(call.id) || this.incall?.call === call) return;
    const conversation = this.session.conversations.get(call.conv);
    const group = conversation && (conversation.others.length > 1 || conversation.title) ? titleOf(conversation) : undefined;
    this.#rings.set(call.id, ringDialog(call, group, this.incall !== undefined, {
      accept: (one) => void this.#accept(one),
      decline: (one) => {
        this.#stopRing(one.id);
        one.decline().catch((error: unknown) => toast(faultWords(error), 'error'));
      },
    }));
    this.#render();
  }

  #stopRing(id: string): boolean {
    const stop = this.#rings.get(id);
    if (!stop) return false;
    this.#rings.delete(id);
    stop();
    this.#render();
    return true;
  }

  #callChanged(call: Call): void {
    // The same call may have become ours by itself: both sides rang each other.
    if (!call.ringing && this.#stopRing(call.id) && this.incall?.call !== call) {
      if (call.you === 'answered_elsewhere') toast('Answered on another device');
      else if (call.you === 'declined') toast('Declined on another device');
      else {
        const words = endWords(call.reason, false, call.caller.user);
        if (call.ended && words) toast(words);
      }
    }
    this.#render();
  }

  async #accept(call: Call): Promise<void> {
    this.#stopRing(call.id);
    this.#join(call, call.media.video);
  }

  #join(call: Call, video: boolean): void {
    const conversation = this.session.conversations.get(call.conv);
    if (!conversation) return toast('This conversation is not here yet. Try again in a moment.', 'error');
    void this.incall?.hangUp().catch(() => undefined);
    this.#enter(InCall.join(this.session, conversation, this.#knobs, call, video));
  }

  /** After a reload, or after the server was away: a call that this device is in goes on. */
  #resume(): void {
    this.#render();
    if (this.incall) return;
    const call = [...this.session.calls.values()].find((one) => one.live && one.you === 'joined');
    const conversation = call && this.session.conversations.get(call.conv);
    if (call && conversation) this.#enter(InCall.resume(this.session, conversation, this.#knobs, call));
  }

  #enter(incall: InCall): void {
    this.incall = incall;
    const view = new CallView(incall, () => this.#minimise(true));
    this.#callView = view;
    this.element.classList.add('reading');
    this.#thread.open(incall.conversation);
    this.#main.append(view.element);
    this.#minimise(false);
    this.#stops.push(incall.on('notice', (text) => toast(text, 'error')));
    incall.on('change', () => this.#outgoingTone());
    incall.on('over', ({ reason, outgoing }) => this.#leave(incall, view, reason, outgoing));
    this.#outgoingTone();
    this.#render();
  }

  #leave(incall: InCall, view: CallView, reason: string | undefined, outgoing: boolean): void {
    if (this.incall !== incall) return view.close();
    this.incall = undefined;
    this.#callView = undefined;
    this.#outgoingTone();
    view.close();
    this.element.classList.remove('in-call', 'minimised');
    this.#bar.hidden = true;
    const words = reason && endWords(reason, outgoing, incall.other);
    if (words) toast(words);
    this.#thread.element.querySelector<HTMLElement>('textarea')?.focus({ preventScroll: true });
    this.#render();
  }

  /** The caller hears that it rings over there, as soon as it does. */
  #outgoingTone(): void {
    const wanted = this.incall?.phase === 'dialling' && this.incall.call?.state === 'ringing';
    if (wanted) this.#stopTone ??= ringTone('outgoing');
    else {
      this.#stopTone?.();
      this.#stopTone = undefined;
    }
  }

  #minimise(small: boolean): void {
    this.element.classList.toggle('in-call', this.#callView !== undefined && !small);
    this.element.classList.toggle('minimised', this.#callView !== undefined && small);
    this.#bar.hidden = !this.#callView || !small;
    if (small) this.#tick();
    else this.#callView?.focus();
    this.#render();
  }

  // ——— the rest

  #connection(): void {
    const { state } = this.session;
    if (state === 'online' || state === 'closed') this.#offlineSince = undefined;
    else this.#offlineSince ??= Date.now();
    if (state === 'online') this.#banner.querySelector('button')!.textContent = 'Try now';
    this.#tick();
    this.#render();
  }

  #tick(): void {
    const { session } = this;
    const since = this.#offlineSince;
    if (session.state !== 'closed') this.#banner.hidden = since === undefined || Date.now() - since < BANNER_AFTER_MS;
    if (!this.#banner.hidden && session.state !== 'closed') {
      const seconds = Math.ceil((session.retryAt - Date.now()) / 1000);
      const waiting = session.unsent > 0 ? ` ${session.unsent === 1 ? 'One message is' : `${session.unsent} messages are`} waiting to be sent.` : '';
      const next = session.state === 'waiting' && seconds > 0 ? ` Trying again in ${seconds} s.` : ' Connecting…';
      setText(this.#bannerText, `No connection to the server.${waiting}${next}`);
    }
    const { incall } = this;
    if (incall && !this.#bar.hidden) {
      const time = incall.since === undefined ? '' : ` · ${clock((Date.now() - incall.since) / 1000)}`;
      setText(this.#barText, `In a call with ${incall.other}${time}`);
    }
    // A ring whose end was not heard of stops at its time.
    for (const [id] of this.#rings) if (!this.session.calls.get(id)?.ringing) this.#stopRing(id);
  }

  #render(): void {
    this.#list.render();
    this.#thread.render();
    const ringing = [...this.#rings.keys()].map((id) => this.session.calls.get(id)?.caller.user).find(Boolean);
    const unread = [...this.session.conversations.values()].reduce((sum, one) => sum + one.unread, 0);
    const title = ringing ? `${ringing} is calling · Trunkline` : unread > 0 ? `(${unread}) Trunkline` : 'Trunkline';
    if (document.title !== title) document.title = title;
  }
}

