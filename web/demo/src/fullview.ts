/** One photo over everything else, and the way to the ones before and after it. */
import { placeholderUrl, type Attachment, type Conversation, type WireMessage } from '@trunkline/sdk';
import { h, icon, setText } from './dom.js';
import { downloadLink } from './filerow.js';
import type { MediaKit } from './kit.js';
import { avatar } from './parts.js';
import { loaded, stillness } from './photo.js';
import { dayWords, timeWords } from './words.js';

interface Shot {
  message: WireMessage;
  attachment: Attachment;
}

/** How far a finger has to go to mean it, CSS pixels. */
const SWIPE = 60;
const BETTER_MS = 2_500;

function shots(conversation: Conversation): Shot[] {
  return conversation.messages.flatMap((message) =>
    (message.attachments ?? []).filter((one) => one.kind === 'photo').map((attachment) => ({ message, attachment })));
}

/** A moving picture is shown whole, unless the person wants stillness; others in the largest size that was made. */
async function bestOf(kit: MediaKit, attachment: Attachment, move = !stillness()): Promise<{ url: string; variant: string; final: boolean }> {
  if (attachment.animated && move) {
    return { url: await kit.session.mediaLinks.linkFor(attachment, 'original'), variant: 'original', final: true };
  }
  return kit.session.mediaLinks.bestFor(attachment, Math.max(attachment.width ?? 0, attachment.height ?? 0, 320));
}

/** Opens the full view of `first`; the returned function closes it. */
export function fullView(kit: MediaKit, conversation: Conversation, first: Attachment): () => void {
  let shot: Shot | undefined = shots(conversation).find((one) => one.attachment.id === first.id);
  if (!shot) return () => undefined;
  const before = document.activeElement;
  const face = h('span', {});
  const who = h('strong', {});
  const when = h('span', { class: 'viewer-when' });
  const count = h('span', { class: 'viewer-count', 'aria-live': 'polite' });
  const caption = h('p', { class: 'viewer-caption', dir: 'auto' });
  const stage = h('div', { class: 'viewer-stage' });
  const previous = h('button', { type: 'button', class: 'viewer-step previous', 'aria-label': 'Previous photo', title: 'Previous photo', onclick: () => void step(-1) }, icon('back'));
  const next = h('button', { type: 'button', class: 'viewer-step next', 'aria-label': 'Next photo', title: 'Next photo', onclick: () => void step(1) }, icon('next'));
  const close = h('button', { type: 'button', class: 'viewer-button', 'aria-label': 'Close', title: 'Close', onclick: () => dialog.close() }, icon('close'));
  const download = h('span', {});
  const dialog = h('dialog', { class: 'viewer', 'aria-label': 'Photo' },
    h('header', { class: 'viewer-head' }, face, h('div', { class: 'viewer-names' }, who, when), count, download, close),
    stage, previous, next, caption);

  function show(now: Shot): void {
    shot = now;
    const { message, attachment } = now;
    const all = shots(conversation);
    const index = all.findIndex((one) => one.attachment.id === attachment.id);
    face.replaceChildren(avatar(message.user, 'small'));
    setText(who, message.user === kit.session.user ? 'You' : message.user);
    setText(when, `${dayWords(message.at, Date.now())}, ${timeWords(message.at)}`);
    setText(count, all.length > 1 ? `${index + 1} of ${all.length}` : '');
    const text = (message.body as { text?: unknown } | null)?.text;
    setText(caption, typeof text === 'string' ? text : '');
    const largest = (): string => (attachment.animated ? 'original' : attachment.variants.filter((one) => one !== 'original').at(-1) ?? 'original');
    download.replaceChildren(downloadLink(kit, attachment, largest, { class: 'viewer-button', label: `Download ${attachment.name ?? 'photo'}` }, icon('download')));
    const hadFocus = document.activeElement;
    previous.hidden = index <= 0 && !conversation.hasOlder;
    next.hidden = index >= all.length - 1;
    // A button that goes takes no focus with it.
    if (hadFocus instanceof HTMLElement && hadFocus.hidden) close.focus();
    stage.replaceChildren(picture(attachment));
    for (const near of [all[index + 1], all[index - 1]]) if (near) void bestOf(kit, near.attachment).then(({ url }) => loaded(url)).catch(() => undefined);
  }

  function picture(attachment: Attachment): HTMLElement {
    const small = document.querySelector<HTMLImageElement>(`.log [data-attachment="${CSS.escape(attachment.id)}"] .photo-over`)?.currentSrc;
    const under = small || kit.previewFor(attachment) || placeholderUrl(attachment);
    const over = h('img', { class: 'viewer-over', alt: attachment.name ?? 'Photo', draggable: 'false' });
    const frame = h('div', { class: 'viewer-frame', 'data-attachment': attachment.id, 'data-kind': 'photo', 'data-state': 'placeholder' },
      under !== undefined && h('img', { class: small ? 'viewer-under sharp' : 'viewer-under', alt: '', src: under, draggable: 'false' }), over);
    const { width, height } = attachment;
    frame.style.setProperty('--ratio', String((width || 4) / (height || 3)));
    if (width) frame.style.setProperty('--width', `${width}px`);
    let move = !stillness();
    if (attachment.animated && !move) {
      const play = h('button', {
        type: 'button', class: 'viewer-play', 'aria-label': 'Play animation', title: 'Play animation',
        onclick: () => {
          move = true;
          play.remove();
          close.focus();
          void load();
        },
      }, icon('play'));
      frame.append(play);
    }
    const load = async (tries = 0): Promise<void> => {
      try {
        const { url, variant, final } = await bestOf(kit, attachment, move);
        if (frame.dataset['variant'] !== variant) {
          await loaded(url);
          over.src = url;
          Object.assign(frame.dataset, { variant, state: 'shown' });
        }
        if (!final && tries < 8) setTimeout(() => frame.isConnected && void load(tries + 1), BETTER_MS);
      } catch (error) {
        const { code } = error as { code?: string };
        if (code !== 'not_found' && code !== 'not_member') return kit.whenBack(frame, () => void load(tries));
        frame.dataset['state'] = 'failed';
        frame.append(h('span', { class: 'photo-fault' }, icon('photo'), 'This photo is not here any more'));
      }
    };
    void load();
    return frame;
  }

  async function step(by: number): Promise<void> {
    const place = (): Shot | undefined => {
      const all = shots(conversation);
      const index = all.findIndex((one) => one.attachment.id === shot?.attachment.id);
      return index < 0 ? undefined : all[index + by];
    };
    let found = place();
    // Further back than this device has looked: page by page, until there is a photo or no page.
    while (!found && by < 0 && dialog.isConnected && await conversation.loadOlder()) found = place();
    if (found && dialog.isConnected) show(found);
    else if (by < 0) previous.hidden = true;
  }

  dialog.addEventListener('keydown', (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way === undefined) return;
    event.preventDefault();
    void step(way);
  });
  swipe(stage, (by) => void step(by), () => dialog.close());
  stage.addEventListener('click', (event) => {
    if (event.target === stage) dialog.close();
  });
  dialog.addEventListener('close', () => {
    for (const toasts of dialog.querySelectorAll('.toasts')) document.body.append(toasts);
    dialog.remove();
    const again = shot && document.querySelector<HTMLElement>(`.log [data-attachment="${CSS.escape(shot.attachment.id)}"]`);
    (again ?? (before instanceof HTMLElement ? before : undefined))?.focus({ preventScroll: false });
  });
  document.body.append(dialog);
  show(shot);
  dialog.showModal();
  close.focus();
  return () => dialog.close();
}

/** A finger moves the picture along: sideways to the next one, up or down to leave. */
function swipe(stage: HTMLElement, step: (by: number) => void, leave: () => void): void {
  let from: { id: number; x: number; y: number } | undefined;
  const frame = (): HTMLElement | null => stage.querySelector<HTMLElement>('.viewer-frame');
  const rest = (): void => {
    from = undefined;
    frame()?.style.removeProperty('translate');
  };
  stage.addEventListener('pointerdown', (event) => {
    if (event.pointerType === 'mouse') return;
    // A second finger means to look closer, which is the browser's business.
    from = event.isPrimary ? { id: event.pointerId, x: event.clientX, y: event.clientY } : undefined;
  });
  stage.addEventListener('pointermove', (event) => {
    if (from?.id !== event.pointerId) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    frame()?.style.setProperty('translate', Math.abs(dx) > Math.abs(dy) ? `${dx}px 0` : `0 ${dy}px`);
  });
  stage.addEventListener('pointerup', (event) => {
    if (from?.id !== event.pointerId) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    rest();
    if (Math.abs(dx) > SWIPE && Math.abs(dx) > Math.abs(dy)) step(dx < 0 ? 1 : -1);
    else if (Math.abs(dy) > SWIPE * 1.5) leave();
  });
  stage.addEventListener('pointercancel', rest);
}
