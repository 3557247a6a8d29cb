/** The ways in which files come to a conversation: chosen, dropped, pasted. */
import { ATTACHMENTS_MAX, guessKind, type Conversation, type Session } from '@trunkline/sdk';
import { h, icon } from './dom.js';
import { faultWords, toast } from './parts.js';
import { messagesOf, unchangedWords } from './words.js';

export interface Intake {
  /** The paper clip in the composer, with what it opens. */
  button: HTMLElement;
  /** What covers the thread while something is dragged over it. */
  target: HTMLElement;
}

/** Sends files, or gives them back to uploads that lost theirs in a reload. */
export function sendFiles(session: Session, conversation: Conversation, files: readonly File[]): void {
  const fresh = files.filter((file) => !session.pendingUploads.some((upload) => upload.conv === conversation.id && upload.offer(file)));
  try {
    for (const together of messagesOf(fresh, (file) => guessKind(file.type) === 'photo', ATTACHMENTS_MAX)) {
      conversation.sendFiles(together.map((file) => ({ file })));
    }
    const words = unchangedWords(fresh);
    if (words) toast(words);
  } catch (error) {
    toast(faultWords(error), 'error');
  }
}

const holdsFiles = (data: DataTransfer | null): data is DataTransfer => data?.types.includes('Files') === true;

/** The files of a drop without folders, which browsers show as strange small files. */
function droppedFiles(data: DataTransfer): { files: File[]; folders: boolean } {
  const files: File[] = [];
  let folders = false;
  for (const item of data.items) {
    if (item.kind !== 'file') continue;
    if (item.webkitGetAsEntry()?.isDirectory) folders = true;
    else {
      const file = item.getAsFile();
      if (file) files.push(file);
    }
  }
  return { files, folders };
}

/** Pasted pictures all have the same name; the time tells them apart. */
function named(file: File, index: number): File {
  if (!/^image\.\w+$/.test(file.name)) return file;
  const at = new Date().toISOString().slice(0, 19).replace('T', '-').replaceAll(':', '');
  return new File([file], `pasted-${at}${index ? `-${index + 1}` : ''}${file.name.slice(5)}`, { type: file.type, lastModified: file.lastModified });
}

/** `zone` takes drops, `field` pastes; `take` gets the files, as long as `open` says that there is somewhere to send them. */
export function intake(zone: HTMLElement, field: HTMLElement, open: () => boolean, take: (files: File[]) => void): Intake {
  const input = h('input', {
    type: 'file', multiple: true, class: 'hidden', tabindex: '-1', 'aria-hidden': 'true', 'data-testid': 'attach',
    onchange: () => {
      const files = [...(input.files ?? [])];
      // The same file may be chosen twice in a row.
      input.value = '';
      if (files.length > 0) take(files);
    },
  });
  const button = h('button', { type: 'button', class: 'icon-button round-button', 'aria-label': 'Attach files', title: 'Attach files', onclick: () => input.click() }, icon('attach'));
  const target = h('div', { class: 'drop-target', hidden: true }, h('div', { class: 'drop-card' }, icon('attach'), h('strong', {}, 'Drop to send'), h('span', {}, 'Photos, documents, anything')));

  // Entering a child comes before leaving its parent: only the count tells when the whole zone is left.
  let inside = 0;
  const show = (count: number): void => {
    inside = Math.max(0, count);
    target.hidden = inside === 0;
  };
  zone.addEventListener('dragenter', (event) => {
    if (!holdsFiles(event.dataTransfer) || !open()) return;
    event.preventDefault();
    show(inside + 1);
  });
  zone.addEventListener('dragleave', (event) => {
    if (holdsFiles(event.dataTransfer)) show(inside - 1);
  });
  zone.addEventListener('dragover', (event) => {
    if (!holdsFiles(event.dataTransfer) || !open()) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
  });
  zone.addEventListener('drop', (event) => {
    if (!holdsFiles(event.dataTransfer)) return;
    event.preventDefault();
    show(0);
    if (!open()) return;
    const { files, folders } = droppedFiles(event.dataTransfer);
    if (folders) toast('Folders cannot be sent. Drop the files in them, or pack them first.');
    if (files.length > 0) take(files);
  });
  field.addEventListener('paste', (event) => {
    const { clipboardData: data } = event as ClipboardEvent;
    // A table or a text comes with a picture of itself; the words are what was meant.
    if (!data || data.files.length === 0 || data.types.includes('text/plain') || !open()) return;
    event.preventDefault();
    take([...data.files].map(named));
  });
  return { button: h('span', { class: 'attach' }, button, input), target };
}

/** A file dropped beside the thread must not make the browser leave the page for it. */
export function ignoreStrayDrops(): () => void {
  const ignore = (event: DragEvent): void => {
    if (!holdsFiles(event.dataTransfer) || event.defaultPrevented) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'none';
  };
  window.addEventListener('dragover', ignore);
  window.addEventListener('drop', ignore);
  return () => {
    window.removeEventListener('dragover', ignore);
    window.removeEventListener('drop', ignore);
  };
}
