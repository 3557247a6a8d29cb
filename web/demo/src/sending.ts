/** Files on their way, as they stand in the thread: what they are, how far they are, and what can be done about it. */
import { sizeWords, type Parcel, type Upload } from '@trunkline/sdk';
import { h, icon, reconcile, setIcon, setText, svg } from './dom.js';
import { badgeView, nameView } from './filerow.js';
import type { MediaKit } from './kit.js';
import { faultWords, toast } from './parts.js';
import { arrangeAlbum, shapeBox } from './photo.js';
import { voicePlayer } from './voice.js';
import { fitsAsFile, markWords, timeWords, uploadFault, uploadWords } from './words.js';

const GOING = new Set(['queued', 'granting', 'uploading']);

/** A ring that fills, with a button in it that does what makes sense now: pause, go on, try again. */
function gaugeOf(upload: Upload): { element: HTMLElement; show(): void } {
  const arc = svg('circle', { class: 'gauge-arc', cx: 24, cy: 24, r: 21, pathLength: 100, 'stroke-dasharray': '0 100' });
  const button = h('button', { type: 'button', class: 'gauge-button', onclick: () => act(upload) });
  const gauge = h('span', { class: 'gauge-dial', role: 'progressbar', 'aria-label': `Sending ${upload.name}`, 'aria-valuemin': 0, 'aria-valuemax': 100 },
    svg('svg', { viewBox: '0 0 48 48' }, svg('circle', { class: 'gauge-track', cx: 24, cy: 24, r: 21 }), arc));
  const element = h('span', { class: 'gauge' }, gauge, button);
  return {
    element,
    show() {
      const { state, progress, needsFile } = upload;
      const percent = Math.round(progress.ratio * 100);
      const busy = state === 'processing' || state === 'granting';
      // A little of it always shows that something goes on.
      arc.setAttribute('stroke-dasharray', busy ? '28 100' : `${Math.max(4, progress.ratio * 100)} 100`);
      element.classList.toggle('busy', busy);
      element.classList.toggle('failed', state === 'failed');
      gauge.setAttribute('aria-valuenow', String(percent));
      gauge.setAttribute('aria-valuetext', uploadWords(upload));
      const [label, name] = state === 'failed' ? ['Try again', 'again'] as const
        : needsFile ? ['Choose the file again', 'attach'] as const
          : state === 'paused' ? ['Resume', 'play'] as const
            : state === 'ready' ? ['Uploaded', 'sent'] as const : ['Pause', 'pause'] as const;
      button.disabled = state === 'processing' || state === 'ready';
      setIcon(button, name);
      button.setAttribute('aria-label', `${label}: ${upload.name}`);
      button.title = label;
    },
  };
}

function act(upload: Upload): void {
  if (upload.state === 'failed') upload.retry();
  else if (upload.needsFile) chooseAgain(upload);
  else if (upload.state === 'paused') upload.resume();
  else upload.pause();
}

/** Asks for the very file that was chosen before the page was reloaded. */
function chooseAgain(upload: Upload): void {
  const input = h('input', {
    type: 'file', accept: upload.type || null,
    onchange: () => {
      const file = input.files?.[0];
      if (file && !upload.offer(file)) toast(`That is another file. ${upload.name} with ${sizeWords(upload.progress.total)} is needed.`, 'error');
    },
  });
  input.click();
}

/** What goes takes the focus along: the next thing to do is to write. */
function giveUp(upload: Upload): void {
  upload.cancel();
  // On a phone the keyboard would come up.
  if (matchMedia('(hover: hover)').matches) document.getElementById('composer')?.focus({ preventScroll: true });
}

function cancelButton(upload: Upload): HTMLElement {
  return h('button', { type: 'button', class: 'sending-cancel', 'aria-label': `Cancel: ${upload.name}`, title: 'Cancel', onclick: () => giveUp(upload) }, icon('close'));
}

/** Keeps an element as its upload is, for as long as it is on its way. */
function follow(element: HTMLElement, upload: Upload, show: () => void): HTMLElement {
  const draw = (): void => {
    const { state } = upload;
    Object.assign(element.dataset, {
      attachment: upload.id ?? upload.key, kind: upload.kind, state: GOING.has(state) || state === 'paused' ? 'uploading' : state,
      upload: state, waiting: upload.waiting ?? '',
    });
    show();
  };
  upload.on('change', draw);
  upload.on('progress', draw);
  draw();
  return element;
}

function photoBox(kit: MediaKit, upload: Upload): HTMLElement {
  const status = h('span', { class: 'sending-status', 'aria-live': 'off' });
  const gauge = gaugeOf(upload);
  const image = h('img', { alt: '', class: 'photo-over', draggable: 'false' });
  const box = h('div', { class: 'photo sending', role: 'group', 'aria-label': upload.name }, image, h('div', { class: 'veil' }, gauge.element, cancelButton(upload), status));
  shapeBox(box, 4, 3);
  image.addEventListener('load', () => {
    const album = box.closest<HTMLElement>('.album');
    if (!album?.classList.contains('several')) shapeBox(box, image.naturalWidth, image.naturalHeight);
    box.classList.add('seen');
  });
  void kit.previewOf(upload).then((url) => {
    if (url !== undefined) image.src = url;
  });
  return follow(box, upload, () => {
    gauge.show();
    // The ring says how far it came.
    setText(status, upload.state === 'paused' && !upload.needsFile ? 'Paused' : uploadWords(upload));
  });
}

function fileBox(upload: Upload): HTMLElement {
  // The gauge says it to those who listen; being told of every step would be too much.
  const status = h('span', { class: 'file-size', 'aria-live': 'off' });
  const gauge = gaugeOf(upload);
  const row = h('div', { class: 'file-row sending', role: 'group', 'aria-label': upload.name },
    h('span', { class: 'file-lead' }, badgeView(upload.name, upload.type), gauge.element),
    h('span', { class: 'file-words' }, nameView(upload.name), status), cancelButton(upload));
  return follow(row, upload, () => {
    gauge.show();
    setText(status, uploadWords(upload));
  });
}

function voiceBox(kit: MediaKit, upload: Upload): HTMLElement {
  const sketch = kit.sketch(upload);
  const gauge = gaugeOf(upload);
  const status = h('span', { class: 'voice-status', 'aria-live': 'off' });
  const player = voicePlayer({ waveform: sketch?.waveform, seconds: sketch?.seconds ?? 0, source: () => kit.previewOf(upload) }, gauge.element);
  player.classList.add('sending');
  player.querySelector('.voice-foot')!.append(status);
  player.append(cancelButton(upload));
  return follow(player, upload, () => {
    gauge.show();
    setText(status, uploadWords(upload));
  });
}

/** The bubble of a parcel. */
export function parcelView(kit: MediaKit, parcel: Parcel): HTMLElement {
  const album = h('div', { class: 'album' });
  const rows = h('div', { class: 'rows' });
  const faults = h('div', { class: 'sending-faults' });
  const mark = h('span', { class: 'mark', role: 'img' });
  const show = (): void => {
    const uploads = parcel.uploads.filter((one) => one.state !== 'cancelled');
    const failed = uploads.filter((one) => one.state === 'failed');
    reconcile(album, uploads.filter((one) => one.kind === 'photo'), (one) => one.key, (one) => photoBox(kit, one));
    arrangeAlbum(album);
    album.hidden = album.children.length === 0;
    reconcile(rows, uploads.filter((one) => one.kind !== 'photo'), (one) => one.key, (one) => (one.kind === 'voice' ? voiceBox(kit, one) : fileBox(one)));
    rows.hidden = rows.children.length === 0;
    reconcile(faults, failed, (one) => one.key, (one) => faultRow(one, uploads.length > 1));
    mark.dataset['mark'] = failed.length > 0 ? 'failed' : 'sending';
    mark.title = markWords(mark.dataset['mark']);
    mark.setAttribute('aria-label', mark.title);
    setIcon(mark, failed.length > 0 ? 'alert' : 'clock');
  };
  parcel.on('change', show);
  show();
  return h('div', { class: 'message mine first' },
    h('div', { class: `bubble media${parcel.text ? ' worded' : ''}` }, album, rows, parcel.text !== '' && h('p', { dir: 'auto' }, parcel.text),
      h('span', { class: 'meta' }, h('time', { datetime: new Date(parcel.at).toISOString() }, timeWords(parcel.at)), mark)),
    faults);
}

function faultRow(upload: Upload, named: boolean): HTMLElement {
  const words = uploadFault(upload.error?.code ?? '', faultWords(upload.error));
  const act = (label: string, press: () => void): HTMLElement => h('button', { type: 'button', class: 'button quiet', onclick: press }, label);
  return h('div', { class: 'failed-actions' }, h('span', { role: 'alert' }, named ? h('bdi', {}, upload.name) : false, named ? ': ' : false, words),
    h('span', { class: 'sending-actions' }, act('Try again', () => upload.retry()),
      fitsAsFile(upload.kind, upload.error?.code) && act('Send as a file', () => upload.retry('file')), act('Delete', () => giveUp(upload))));
}
