/** A file in a message: what it is, how large, and a way to have it. */
import { sizeWords, type Attachment } from '@trunkline/sdk';
import { h, icon } from './dom.js';
import type { MediaKit } from './kit.js';
import { faultWords, toast } from './parts.js';
import { fileBadge } from './words.js';

/** The coloured square with the file's letters. */
export function badgeView(name: string, type: string): HTMLElement {
  const { label, tone } = fileBadge(name, type);
  return h('span', { class: 'file-badge', 'data-tone': tone, 'aria-hidden': 'true' }, label || icon('file'));
}

/** A name that any script may have, in any direction, beside words that have another. */
export function nameView(name: string): HTMLElement {
  return h('bdi', { class: 'file-name', dir: 'auto', title: name }, name);
}

/**
 * A link to a variant that is signed when it is used: one that stood on the page for long would have expired.
 * `label` is for those who do not see the row.
 */
export function downloadLink(kit: MediaKit, attachment: Attachment, variant: () => string, props: { class: string; label: string }, ...children: Node[]): HTMLAnchorElement {
  const { mediaLinks } = kit.session;
  const link = h('a', {
    class: props.class, href: '#', download: attachment.name || true, 'aria-label': props.label, title: props.label,
    onclick: (event: MouseEvent) => {
      const ready = mediaLinks.peek(attachment, variant());
      if (ready !== undefined) {
        link.href = ready;
        return;
      }
      event.preventDefault();
      mediaLinks.linkFor(attachment, variant()).then((url) => {
        link.href = url;
        link.click();
      }, (error: unknown) => toast(faultWords(error), 'error'));
    },
  }, ...children);
  return link;
}

export function fileView(kit: MediaKit, attachment: Attachment): HTMLElement {
  const name = attachment.name || 'File';
  const link = downloadLink(kit, attachment, () => attachment.variants.at(-1) ?? 'file',
    { class: 'file-row', label: `Download ${name}, ${sizeWords(attachment.bytes)}` },
    badgeView(name, attachment.type),
    h('span', { class: 'file-words' }, nameView(name), h('span', { class: 'file-size' }, sizeWords(attachment.bytes))),
    h('span', { class: 'file-get' }, icon('download')));
  Object.assign(link.dataset, { attachment: attachment.id, kind: 'file', state: 'shown' });
  return link;
}
