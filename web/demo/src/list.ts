/** The side bar: who I am, and my conversations. */
import type { Conversation, Session } from '@trunkline/sdk';
import { coalesced, h, icon, reconcile, setText } from './dom.js';
import { logo } from './login.js';
import { avatar } from './parts.js';
import { callLine, filesWords, isOutcome, listTime, names } from './words.js';

/** What a conversation is called for this person. */
export function titleOf(conversation: Conversation): string {
  return conversation.title || names(conversation.others.map((member) => member.user)) || 'Only you';
}

/** When something last happened; a conversation just made counts as new. */
function lastActivity(conversation: Conversation): number {
  return Math.max(conversation.messages.at(-1)?.at ?? 0, conversation.outgoing.at(-1)?.at ?? 0, conversation.parcels.at(-1)?.at ?? 0);
}

function preview(conversation: Conversation, me: string): string {
  const waiting = conversation.outgoing.at(-1);
  const parcel = conversation.parcels.at(-1);
  if (parcel && parcel.at >= (waiting?.at ?? conversation.messages.at(-1)?.at ?? 0)) {
    const failed = parcel.uploads.some((upload) => upload.state === 'failed');
    return `${failed ? 'Not sent' : 'Sending'}: ${filesWords(parcel.uploads)}`;
  }
  const message = waiting ?? conversation.messages.at(-1);
  if (!message) return conversation.lastSeq > 0 ? '' : 'No messages yet';
  if (message.kind === 'call' && isOutcome(message.body)) return callLine(message.body, me, titleOf(conversation)).text;
  const text = (message.body as { text?: unknown } | null)?.text;
  const mine = waiting !== undefined || ('user' in message && message.user === me);
  const files = 'user' in message ? message.attachments : message.shown;
  return `${mine ? 'You: ' : ''}${typeof text === 'string' && text ? text : filesWords(files ?? []) || 'Attachment'}`;
}

export interface ListActions {
  open(conversation: Conversation): void;
  create(): void;
  signOut(): void;
  current(): Conversation | undefined;
}

export function listView(session: Session, actions: ListActions): { element: HTMLElement; render(): void } {
  const me = h('strong', { class: 'me' });
  const state = h('span', { class: 'presence-dot' });
  const list = h('ul', { class: 'conversations' });
  const empty = h('p', { class: 'muted list-empty' }, 'Nobody here yet. Start a conversation with the name of someone who uses this page.');
  const element = h('aside', { class: 'sidebar', 'aria-label': 'Conversations' },
    h('header', { class: 'sidebar-head' },
      logo(), h('div', { class: 'who' }, me, state),
      h('button', { class: 'icon-button', type: 'button', title: 'Sign out', 'aria-label': 'Sign out', onclick: () => actions.signOut() }, icon('leave'))),
    h('button', { class: 'button primary new-conversation', type: 'button', onclick: () => actions.create() }, icon('plus'), 'New conversation'),
    h('nav', { 'aria-label': 'Conversations' }, list), empty);

  const make = (conversation: Conversation): HTMLElement => {
    const button = h('button', { type: 'button', class: 'conversation', onclick: () => actions.open(conversation) },
      avatar(titleOf(conversation)),
      h('span', { class: 'conversation-title' }), h('time', { class: 'conversation-time' }),
      h('span', { class: 'conversation-preview' }), h('span', { class: 'badge', role: 'img' }));
    return h('li', {}, button);
  };

  const update = (item: HTMLElement, conversation: Conversation): void => {
    const button = item.firstElementChild as HTMLElement;
    const [, title, time, text, badge] = [...button.children] as [HTMLElement, HTMLElement, HTMLElement, HTMLElement, HTMLElement];
    const name = titleOf(conversation);
    if (title.textContent !== name) {
      button.firstElementChild!.replaceWith(avatar(name));
      setText(title, name);
    }
    const last = lastActivity(conversation);
    setText(time, last ? listTime(last, Date.now()) : '');
    const live = [...session.calls.values()].some((call) => call.conv === conversation.id && call.live);
    text.classList.toggle('live', live);
    setText(text, live ? 'Call in progress' : preview(conversation, session.user));
    const unread = conversation.unread;
    badge.hidden = unread === 0;
    setText(badge, unread > 99 ? '99+' : String(unread));
    badge.setAttribute('aria-label', `${unread} unread`);
    button.classList.toggle('unread', unread > 0);
    if (actions.current() === conversation) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
  };

  const render = coalesced(() => {
    setText(me, session.user);
    state.dataset['state'] = session.state;
    state.title = session.state === 'online' ? 'Connected' : 'Not connected';
    const all = [...session.conversations.values()].sort((a, b) => lastActivity(b) - lastActivity(a));
    reconcile(list, all, (one) => one.id, make, update);
    empty.hidden = all.length > 0 || session.welcomes === 0;
  });
  return { element, render };
}
