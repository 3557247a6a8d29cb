/** One conversation: what was said, and a place to say more. */
import type { Attachment, Call, Conversation, Outgoing, Parcel, Session, WireMessage } from '@trunkline/sdk';
import { attachmentViews } from './attachments.js';
import { coalesced, h, icon, reconcile, setIcon, setText, type IconName } from './dom.js';
import { fullView } from './fullview.js';
import { intake, sendFiles } from './intake.js';
import { MediaKit } from './kit.js';
import { titleOf } from './list.js';
import { avatar, faultWords, toast } from './parts.js';
import { Recorder, recordingName, type Recording } from './recorder.js';
import { parcelView } from './sending.js';
import { callLine, dayWords, isOutcome, markWords, names, timeWords } from './words.js';

export interface ThreadActions {
  call(conversation: Conversation, video: boolean): void;
  join(call: Call): void;
  back(): void;
  /** Whether a call of ours is going on: then nobody can be called. */
  busy(): boolean;
  /** The call in which this page itself takes part. */
  mine(): Call | undefined;
}

type Line =
  | { key: string; type: 'day'; at: number }
  | { key: string; type: 'gap' }
  | { key: string; type: 'message'; message: WireMessage; first: boolean }
  | { key: string; type: 'outgoing'; message: Outgoing }
  | { key: string; type: 'parcel'; parcel: Parcel };

const TYPING_SHOWN_MS = 5_000;
/** A message of the same person within this long joins the one before. */
const GROUP_MS = 4 * 60_000;
const TEXT_BYTES_MAX = 15_000;
/** This near to the end is at the end. */
const END_PX = 80;

/** Whether this device knows all that the message refers to. */
const isShown = (message: Outgoing): boolean => (message.shown?.length ?? 0) >= (message.attachments?.length ?? 0);

/** What stands in the log, in order. */
function lines(conversation: Conversation, me: string): Line[] {
  const out: Line[] = [];
  let day = '';
  let before: WireMessage | undefined;
  for (const message of conversation.messages) {
    const words = dayWords(message.at, Date.now());
    if (words !== day) {
      out.push({ key: `day ${words}`, type: 'day', at: message.at });
      day = words;
      before = undefined;
    }
    const hole = before && message.seq > before.seq + 1;
    if (hole) out.push({ key: `gap ${message.seq}`, type: 'gap' });
    const first = !before || hole === true || before.user !== message.user || before.kind !== message.kind || message.at - before.at > GROUP_MS;
    out.push({ key: message.id + message.user, type: 'message', message, first });
    before = message;
  }
  // What is on its way stands in the order in which it was sent; arrived, it keeps its element.
  const going = [
    ...conversation.outgoing.map((message) => ({ at: message.at, line: { key: `${isShown(message) ? '' : 'out '}${message.id}${me}`, type: 'outgoing', message } as Line })),
    ...conversation.parcels.map((parcel) => ({ at: parcel.at, line: { key: `parcel ${parcel.id}`, type: 'parcel', parcel } as Line })),
  ].sort((a, b) => a.at - b.at);
  out.push(...going.map(({ line }) => line));
  return out;
}

export class ThreadView {
  readonly element: HTMLElement;
  conversation: Conversation | undefined;
  readonly render = coalesced(() => this.#render());
  readonly #session: Session;
  readonly #actions: ThreadActions;
  readonly #typing = new Map<string, number>();
  #typingTimer: ReturnType<typeof setTimeout> | undefined;
  #loading = false;
  /** Whether the newest is to stay in sight, whatever grows: pictures take their places late, keyboards come up. */
  #following = true;
  #top = 0;
  readonly #title = h('h2', { class: 'thread-title' });
  readonly #subtitle = h('p', { class: 'thread-subtitle', 'aria-live': 'polite' });
  readonly #face = h('span', {});
  readonly #log = h('div', { class: 'log', role: 'log', 'aria-label': 'Messages', 'aria-live': 'polite', tabindex: '0' });
  readonly #older = h('button', { type: 'button', class: 'button quiet older', onclick: () => void this.#loadOlder() }, 'Show earlier messages');
  readonly #bottom = h('div', { class: 'log-scroll' }, this.#older, this.#log);
  readonly #voice: HTMLButtonElement;
  readonly #video: HTMLButtonElement;
  readonly #banner = h('div', { class: 'join-banner', role: 'status' });
  readonly #field = h('textarea', {
    id: 'composer', rows: 1, placeholder: 'Write a message', enterkeyhint: 'send', autocomplete: 'off',
  });
  readonly #sendButton = h('button', { type: 'submit', class: 'button primary send', 'aria-label': 'Send', title: 'Send' }, icon('send'));
  readonly #composer: HTMLFormElement;
  readonly #kit: MediaKit;
  readonly #recorder: Recorder;
  readonly #empty: HTMLElement;
  readonly #drafts = new Map<string, string>();

  constructor(session: Session, actions: ThreadActions) {
    this.#session = session;
    this.#actions = actions;
    this.#voice = h('button', { type: 'button', class: 'icon-button', title: 'Call', 'aria-label': 'Call', onclick: () => this.#call(false) }, icon('phone'));
    this.#video = h('button', { type: 'button', class: 'icon-button', title: 'Call with video', 'aria-label': 'Call with video', onclick: () => this.#call(true) }, icon('video'));
    this.#kit = new MediaKit(session);
    this.#kit.openPhoto = (attachment) => this.conversation && fullView(this.#kit, this.conversation, attachment);
    session.on('upload', (upload) => {
      if (upload.state === 'ready') this.#kit.settled(upload);
    });
    this.#recorder = new Recorder({
      active: (on) => {
        this.#composer.classList.toggle('recording', on);
        if (!on) this.#showButtons();
      },
      send: (recording) => this.#sendVoice(recording),
    });
    this.element = h('section', { class: 'thread', 'aria-label': 'Conversation' });
    const files = intake(this.element, this.#field, () => this.conversation !== undefined, (chosen) => {
      if (this.conversation) sendFiles(session, this.conversation, chosen);
      this.#toEnd();
    });
    this.#composer = h('form', {
      class: 'composer',
      onsubmit: (event: SubmitEvent) => {
        event.preventDefault();
        this.#send();
      },
    },
    files.button, h('label', { for: 'composer', class: 'hidden' }, 'Message'), this.#field, this.#recorder.button, this.#sendButton, this.#recorder.bar);
    this.#field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#send();
      }
    });
    this.#field.addEventListener('input', () => {
      this.#grow();
      this.#showButtons();
      if (this.#field.value) this.conversation?.typing();
    });
    this.#bottom.addEventListener('scroll', () => {
      const { scrollTop, scrollHeight, clientHeight } = this.#bottom;
      const atEnd = scrollHeight - scrollTop - clientHeight < END_PX;
      // Only a hand moves it up; what grows below does not.
      if (atEnd || scrollTop < this.#top) this.#following = atEnd;
      this.#top = scrollTop;
      if (scrollTop < 40) void this.#loadOlder();
      this.#markRead();
    });
    document.addEventListener('visibilitychange', () => this.#markRead());
    const sizes = new ResizeObserver(() => {
      if (this.#following) this.#bottom.scrollTop = this.#bottom.scrollHeight;
    });
    sizes.observe(this.#log);
    sizes.observe(this.#bottom);
    this.#empty = h('div', { class: 'thread-empty' }, icon('chat'), h('p', {}, 'Choose a conversation, or start a new one.'));
    this.element.append(
      h('header', { class: 'thread-head' },
        h('button', { type: 'button', class: 'icon-button back', 'aria-label': 'Back to conversations', onclick: () => actions.back() }, icon('back')),
        this.#face, h('div', { class: 'thread-names' }, this.#title, this.#subtitle), this.#voice, this.#video),
      this.#banner, this.#bottom, this.#composer, files.target, this.#empty);
    this.#showButtons();
    this.#render();
  }

  open(conversation: Conversation | undefined): void {
    if (this.conversation) this.#drafts.set(this.conversation.id, this.#field.value);
    if (this.#recorder.active && conversation !== this.conversation) {
      this.#recorder.cancel();
      toast('The voice note was not sent: you went to another conversation.');
    }
    this.conversation = conversation;
    this.#typing.clear();
    this.#following = true;
    this.#log.replaceChildren();
    this.#field.value = this.#drafts.get(conversation?.id ?? '') ?? '';
    this.#grow();
    this.#showButtons();
    this.#render();
    this.#bottom.scrollTop = this.#bottom.scrollHeight;
    // On a phone the keyboard would cover what was just opened.
    if (conversation && matchMedia('(min-width: 760px) and (hover: hover)').matches) this.#field.focus();
  }

  /** Somebody is typing here. */
  typing(user: string): void {
    this.#typing.set(user, Date.now() + TYPING_SHOWN_MS);
    clearTimeout(this.#typingTimer);
    this.#typingTimer = setTimeout(() => this.render(), TYPING_SHOWN_MS + 50);
    this.render();
  }

  /** A message arrived: whoever wrote it has stopped typing. */
  arrived(user: string): void {
    this.#typing.delete(user);
    this.render();
  }

  #call(video: boolean): void {
    if (this.conversation) this.#actions.call(this.conversation, video);
  }

  #render(): void {
    const conversation = this.conversation;
    this.element.classList.toggle('nothing', !conversation);
    if (!conversation) return;
    const name = titleOf(conversation);
    if (this.#title.textContent !== name) {
      setText(this.#title, name);
      this.#face.replaceChildren(avatar(name));
    }
    this.#renderSubtitle(conversation);
    const busy = this.#actions.busy();
    this.#voice.disabled = this.#video.disabled = busy || conversation.others.length === 0;
    this.#renderBanner(conversation);
    this.#older.hidden = !conversation.hasOlder || conversation.cursor === undefined;
    const before = this.#bottom.scrollHeight - this.#bottom.scrollTop;
    const atBottom = before - this.#bottom.clientHeight < END_PX;
    reconcile(this.#log, lines(conversation, this.#session.user), (line) => line.key, (line) => this.#line(conversation, line), (element, line) => this.#updateLine(element, conversation, line));
    // Reading on stays where it was when older messages come in above; at the end it follows.
    this.#bottom.scrollTop = atBottom ? this.#bottom.scrollHeight : this.#loading ? this.#bottom.scrollHeight - before : this.#bottom.scrollTop;
    this.#markRead();
  }

  #renderSubtitle(conversation: Conversation): void {
    const now = Date.now();
    const typing = [...this.#typing].filter(([, until]) => until > now).map(([user]) => user);
    const people = conversation.others.length > 1 || conversation.title ? names(conversation.others.map((one) => one.user), 5) : '';
    setText(this.#subtitle, typing.length > 0 ? `${names(typing)} ${typing.length > 1 ? 'are' : 'is'} typing…` : people);
    this.#subtitle.classList.toggle('typing', typing.length > 0);
  }

  #renderBanner(conversation: Conversation): void {
    const mine = this.#actions.mine();
    const call = [...this.#session.calls.values()].find((one) => one.conv === conversation.id && one.live && !one.ringing
      && one !== mine && one.you !== 'joined');
    this.#banner.hidden = !call;
    if (!call) return this.#banner.replaceChildren();
    const inside = [...new Set(call.legs.filter((leg) => leg.state === 'joined').map((leg) => leg.user))];
    // Of two people, only another device of one's own can be in a call without this one.
    const group = conversation.others.length > 1;
    const text = group ? `${names(inside) || 'Somebody'} ${inside.length > 1 ? 'are' : 'is'} in a call` : 'You are in this call on another device';
    if (this.#banner.dataset['call'] === call.id && this.#banner.firstElementChild?.textContent === text) return;
    this.#banner.dataset['call'] = call.id;
    this.#banner.replaceChildren(h('span', {}, text));
    if (group) {
      this.#banner.append(h('button', { type: 'button', class: 'button primary', onclick: () => this.#actions.join(call) }, icon('video'), 'Join call'));
    }
  }

  #line(conversation: Conversation, line: Line): HTMLElement {
    switch (line.type) {
      case 'day': return h('div', { class: 'day' }, h('span', {}, dayWords(line.at, Date.now())));
      case 'gap': return h('div', { class: 'day' }, h('span', {}, 'Older messages here have expired'));
      case 'outgoing': return this.#bubble(isShown(line.message) ? line.message.body : { text: 'Sending files…' }, line.message.shown ?? [], line.message.at, true);
      case 'parcel': return parcelView(this.#kit, line.parcel);
      case 'message': return isOutcome(line.message.body) && line.message.kind === 'call'
        ? this.#callLine(conversation, line.message)
        : this.#bubble(line.message.body, line.message.attachments ?? [], line.message.at, line.message.user === this.#session.user, line.message.user);
    }
  }

  #bubble(body: unknown, attachments: readonly Attachment[], at: number, mine: boolean, user?: string): HTMLElement {
    const text = (body as { text?: unknown } | null)?.text;
    const media = attachments.length > 0;
    const words = typeof text === 'string' && (text !== '' || media) ? text : 'This message can not be shown here.';
    const alone = !media && /^(\p{Extended_Pictographic}|\p{Emoji_Component}|\s){1,12}$/u.test(words) && /\p{Extended_Pictographic}/u.test(words);
    const kind = media ? ` media${words ? ' worded' : ''}` : alone ? ' emoji' : '';
    return h('div', { class: `message ${mine ? 'mine' : 'theirs'}` },
      !mine && user !== undefined && h('span', { class: 'author' }, user),
      h('div', { class: `bubble${kind}` }, ...attachmentViews(this.#kit, attachments), words !== '' && h('p', {}, words),
        h('span', { class: 'meta' }, h('time', { datetime: new Date(at).toISOString() }, timeWords(at)), mine && h('span', { class: 'mark', role: 'img' }))));
  }

  #callLine(conversation: Conversation, message: WireMessage): HTMLElement {
    const body = message.body as unknown as Parameters<typeof callLine>[0];
    const line = callLine(body, this.#session.user, titleOf(conversation));
    const name: IconName = line.missed ? 'missed' : body.video ? 'video' : 'phone';
    return h('div', { class: `call-line${line.missed ? ' missed' : ''}` },
      icon(name), h('span', {}, line.text), h('time', { datetime: new Date(message.at).toISOString() }, timeWords(message.at)),
      h('button', { type: 'button', class: 'button quiet', onclick: () => this.#actions.call(conversation, body.video) }, 'Call back'));
  }

  #updateLine(element: HTMLElement, conversation: Conversation, line: Line): void {
    if (line.type === 'message') {
      element.classList.toggle('first', line.first);
      element.classList.toggle('group', conversation.others.length > 1);
      if (line.message.user !== this.#session.user || line.message.kind === 'call') return;
      this.#showMark(element, conversation.mark(line.message));
      element.querySelector('.failed-actions')?.remove();
    } else if (line.type === 'outgoing') {
      this.#showMark(element, line.message.failed ? 'failed' : 'sending');
      const failed = line.message.failed;
      const shown = element.querySelector('.failed-actions');
      if (!failed) shown?.remove();
      else if (!shown) {
        element.append(h('div', { class: 'failed-actions' }, h('span', {}, faultWords(failed)),
          h('button', { type: 'button', class: 'button quiet', onclick: () => this.#session.retry(line.message) }, 'Try again'),
          h('button', { type: 'button', class: 'button quiet', onclick: () => this.#session.discard(line.message) }, 'Delete')));
      }
    }
  }

  #showMark(element: HTMLElement, mark: string): void {
    const place = element.querySelector<HTMLElement>('.mark');
    if (!place || place.dataset['mark'] === mark) return;
    place.dataset['mark'] = mark;
    const icons: Record<string, IconName> = { sending: 'clock', failed: 'alert', sent: 'sent', delivered: 'twice', read: 'twice' };
    setIcon(place, icons[mark] ?? 'sent');
    place.setAttribute('aria-label', markWords(mark));
    place.title = markWords(mark);
  }

  #send(): void {
    const text = this.#field.value.trim();
    if (!text || !this.conversation) return;
    if (new TextEncoder().encode(text).length > TEXT_BYTES_MAX) return toast('This message is too long. Send it in parts.', 'error');
    this.conversation.send(text);
    this.#field.value = '';
    this.#grow();
    this.#showButtons();
    this.#toEnd();
  }

  #sendVoice({ blob, waveform, seconds }: Recording): void {
    const { conversation } = this;
    if (!conversation) return;
    try {
      const upload = conversation.sendFile(blob, { kind: 'voice', name: recordingName(blob.type, new Date()) });
      this.#kit.keepSketch(upload, { waveform, seconds });
    } catch (error) {
      toast(faultWords(error), 'error');
    }
    this.#toEnd();
    this.#recorder.button.focus({ preventScroll: true });
  }

  /** Shows the newest, where the person has just put something. */
  #toEnd(): void {
    this.#following = true;
    this.#bottom.scrollTop = this.#bottom.scrollHeight;
    this.#render();
    this.#bottom.scrollTop = this.#bottom.scrollHeight;
  }

  /** Words to send want a button to send them; without words, that is the place to record some. */
  #showButtons(): void {
    const words = this.#field.value.trim() !== '';
    this.#sendButton.hidden = !words;
    this.#recorder.button.hidden = words;
  }

  #grow(): void {
    // A hidden field has no height to measure; the style sheet's least height does until it is shown.
    this.#field.style.height = 'auto';
    if (this.#field.scrollHeight === 0) return;
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, 160)}px`;
  }

  #markRead(): void {
    const conversation = this.conversation;
    if (!conversation || document.visibilityState !== 'visible' || this.element.offsetParent === null) return;
    if (this.#bottom.scrollHeight - this.#bottom.scrollTop - this.#bottom.clientHeight < END_PX) conversation.markRead();
  }

  async #loadOlder(): Promise<void> {
    const conversation = this.conversation;
    if (!conversation?.hasOlder || conversation.cursor === undefined || this.#loading) return;
    this.#loading = true;
    try {
      await conversation.loadOlder();
      this.#render();
    } finally {
      this.#loading = false;
    }
  }
}
