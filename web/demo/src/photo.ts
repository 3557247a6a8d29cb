/** A photo in a message: its place at once, a blur at once, the picture when it is there. */
import { placeholderUrl, type Attachment } from '@trunkline/sdk';
import { h, icon } from './dom.js';
import type { MediaKit } from './kit.js';
import { albumRows } from './words.js';

/** The largest box of a single photo, CSS pixels, and the narrowest, so that the time fits in. */
const BOX = { width: 360, height: 420, narrow: 130 };
/** A panorama or a long screenshot is cut to this shape; the full view shows all of it. */
const SHAPE = { least: 0.45, most: 2.2 };
/** While larger sizes are being made, so often and so long it is asked for them. */
const BETTER_MS = 2_500;
const BETTER_TRIES = 8;
/** Loads that fail although there is a connection. */
const TRIES_MAX = 2;

export const stillness = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches;

/** Gives a box the shape and the size that a single photo has. */
export function shapeBox(element: HTMLElement, width: number, height: number): void {
  const ratio = Math.min(SHAPE.most, Math.max(SHAPE.least, width / height || 1));
  // Small pictures are not blown up.
  const widest = Math.min(BOX.width, BOX.height * ratio, Math.max(BOX.narrow, width));
  element.style.width = `${Math.round(Math.max(BOX.narrow, widest))}px`;
  element.style.aspectRatio = String(ratio);
}

/** Arranges boxes as an album: {@link albumRows} says how many in a row. */
export function arrangeAlbum(album: HTMLElement): void {
  const boxes = [...album.children] as HTMLElement[];
  album.classList.toggle('several', boxes.length > 1);
  if (boxes.length <= 1) return;
  let next = 0;
  for (const row of albumRows(boxes.length)) {
    for (const box of boxes.slice(next, next + row)) {
      box.style.width = '';
      box.style.gridColumn = `span ${6 / row}`;
      box.style.aspectRatio = row === 1 ? '3 / 2' : '1';
    }
    next += row;
  }
}

/** The long edge that a photo covers in a box that it fills, device pixels. */
function pixelsOf(box: Element, { width, height }: Attachment): number {
  const { width: w, height: t } = box.getBoundingClientRect();
  const [pw, ph] = [width || 4, height || 3];
  return Math.max(pw, ph) * Math.max(w / pw, t / ph) * devicePixelRatio;
}

/** Loads a picture before it is shown, so that it never stands half drawn. */
export async function loaded(url: string): Promise<void> {
  const image = new Image();
  image.src = url;
  await image.decode();
}

export function photoView(kit: MediaKit, attachment: Attachment): HTMLElement {
  const own = kit.previewFor(attachment);
  const under = own ?? placeholderUrl(attachment);
  const over = h('img', { class: 'photo-over', alt: '', draggable: 'false' });
  const name = attachment.name ? `: ${attachment.name}` : '';
  const element = h('button', {
    type: 'button', class: 'photo', 'aria-label': `Open photo${name}`, 'data-attachment': attachment.id, 'data-kind': 'photo',
    'data-state': 'placeholder', onclick: () => kit.openPhoto(attachment),
  },
  under !== undefined && h('img', { class: own ? 'photo-under own' : 'photo-under', alt: '', src: under, draggable: 'false' }),
  over, attachment.animated && h('span', { class: 'photo-badge' }, 'GIF'));
  shapeBox(element, attachment.width ?? 4, attachment.height ?? 3);

  const show = async (tries = 0, better = 0): Promise<void> => {
    try {
      const { url, variant, final } = await kit.session.mediaLinks.bestFor(attachment, pixelsOf(element, attachment));
      if (element.dataset['variant'] !== variant) {
        await loaded(url);
        over.src = url;
        element.dataset['variant'] = variant;
        element.dataset['state'] = 'shown';
      }
      if (!final && better < BETTER_TRIES) setTimeout(() => element.isConnected && void show(0, better + 1), BETTER_MS);
    } catch (error) {
      if (element.dataset['state'] === 'shown') return;
      const { code } = error as { code?: string };
      const gone = code === 'not_found' || code === 'not_member';
      const offline = code === 'disconnected' || kit.session.state !== 'online';
      if (!gone && (offline || tries < TRIES_MAX)) return kit.whenBack(element, () => void show(offline ? tries : tries + 1));
      element.dataset['state'] = 'failed';
      element.append(h('span', { class: 'photo-fault' }, icon('photo'), gone ? 'Not here any more' : 'Cannot be loaded'));
    }
  };
  kit.whenNear(element, () => void show());
  if (attachment.animated) playOnHover(kit, attachment, element);
  return element;
}

/** A moving picture moves while the pointer rests on it, unless the person wants stillness. */
function playOnHover(kit: MediaKit, attachment: Attachment, element: HTMLElement): void {
  let moving: HTMLImageElement | undefined;
  element.addEventListener('pointerenter', (event) => {
    if (event.pointerType !== 'mouse' || stillness() || moving) return;
    const image = (moving = h('img', { class: 'photo-moving', alt: '', draggable: 'false' }));
    void kit.session.mediaLinks.linkFor(attachment, 'original').then(async (url) => {
      await loaded(url);
      image.src = url;
      if (moving === image) element.append(image);
    }).catch(() => undefined);
  });
  element.addEventListener('pointerleave', () => {
    moving?.remove();
    moving = undefined;
  });
}
