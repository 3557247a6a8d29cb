/** What interrupts: a call coming in, and the question with whom to talk. */
import type { Call, Conversation, Session } from '@trunkline/sdk';
import { h, icon } from './dom.js';
import { avatar, faultWords } from './parts.js';
import { ringTone } from './tones.js';
import { people } from './words.js';

export interface RingActions {
  accept(call: Call): void;
  decline(call: Call): void;
}

/** The dialog of one ringing call; the returned function takes it away. */
export function ringDialog(call: Call, group: string | undefined, busy: boolean, actions: RingActions): () => void {
  const kind = call.media.video ? 'Video call' : 'Call';
  const stop = ringTone('incoming');
  const before = document.activeElement;
  const dialog = h('dialog', { class: 'ring', 'aria-labelledby': 'ring-title', 'aria-describedby': 'ring-text', tabindex: '-1' },
    h('div', { class: 'pulse' }, avatar(call.caller.user, 'large')),
    h('h2', { id: 'ring-title' }, `${call.caller.user} is calling`),
    h('p', { id: 'ring-text', class: 'muted' }, group ? `${kind} in ${group}` : kind, busy && '. Accepting ends your present call.'),
    h('div', { class: 'ring-actions' },
      h('button', { type: 'button', class: 'round danger', onclick: () => actions.decline(call) }, icon('hangUp'), h('span', {}, 'Decline')),
      h('button', { type: 'button', class: 'round accept', onclick: () => actions.accept(call) }, icon(call.media.video ? 'video' : 'phone'), h('span', {}, 'Accept'))));
  // Neither Escape nor a key meant for the message being written may answer or refuse a call.
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  document.body.append(dialog);
  dialog.showModal();
  dialog.focus();
  return () => {
    stop();
    if (!dialog.isConnected) return;
    dialog.close();
    // Toasts may have moved in.
    for (const toasts of dialog.querySelectorAll('.toasts')) document.body.append(toasts);
    dialog.remove();
    if (before instanceof HTMLElement) before.focus();
  };
}

/** Asks for people and makes the conversation. */
export function newConversationDialog(session: Session, done: (conversation: Conversation) => void): void {
  const who = h('input', { id: 'new-people', required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: 'bob, carol' });
  const title = h('input', { id: 'new-title', maxlength: 128, autocomplete: 'off', placeholder: 'Optional' });
  const error = h('p', { class: 'form-error', role: 'alert' });
  const create = h('button', { type: 'submit', class: 'button primary' }, 'Start');
  const dialog = h('dialog', { class: 'sheet', 'aria-labelledby': 'new-heading' },
    h('form', {
      onsubmit: (event: SubmitEvent) => {
        event.preventDefault();
        void submit();
      },
    },
    h('h2', { id: 'new-heading' }, 'New conversation'),
    h('label', { for: 'new-people' }, 'People'), who,
    h('p', { class: 'hint muted' }, 'Their names, with commas between.'),
    h('label', { for: 'new-title' }, 'Title'), title, error,
    h('div', { class: 'sheet-actions' },
      h('button', { type: 'button', class: 'button quiet', onclick: () => dialog.close() }, 'Cancel'), create)));

  async function submit(): Promise<void> {
    const members = people(who.value).filter((one) => one !== session.user);
    error.textContent = '';
    if (members.length === 0) {
      error.textContent = 'Name at least one other person.';
      who.focus();
      return;
    }
    create.disabled = true;
    try {
      const conversation = await session.createConversation(members, title.value.trim() || undefined);
      dialog.close();
      done(conversation);
    } catch (fault) {
      error.textContent = faultWords(fault);
    } finally {
      create.disabled = false;
    }
  }

  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  who.focus();
}
