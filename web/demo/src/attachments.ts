/** What a message refers to, as it stands in its bubble: photos first, as an album, then sound, then files. */
import type { Attachment } from '@trunkline/sdk';
import { h } from './dom.js';
import { fileView } from './filerow.js';
import type { MediaKit } from './kit.js';
import { arrangeAlbum, photoView } from './photo.js';
import { voiceView } from './voice.js';

/** The album of so many photos; nothing if there are none. */
export function albumView(boxes: readonly HTMLElement[]): HTMLElement | undefined {
  if (boxes.length === 0) return undefined;
  const album = h('div', { class: 'album' }, ...boxes);
  arrangeAlbum(album);
  return album;
}

export function attachmentViews(kit: MediaKit, attachments: readonly Attachment[]): HTMLElement[] {
  const of = (kind: string): Attachment[] => attachments.filter((one) => one.kind === kind);
  const album = albumView(of('photo').map((one) => photoView(kit, one)));
  const others = attachments.filter((one) => one.kind !== 'photo' && one.kind !== 'voice');
  return [...(album ? [album] : []), ...of('voice').map((one) => voiceView(kit, one)), ...others.map((one) => fileView(kit, one))];
}
