/** As much of a framework as this page needs. */

type Child = Node | string | false | null | undefined;
type Props = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** An element: `on…` properties are listeners, `false`, null and undefined leave an attribute out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== false && child != null));
  return element;
}

const ICONS = {
  phone: 'M6.6 3.5 9 3.2l2 4.6-1.9 1.6c1 2.2 2.3 3.5 4.5 4.5l1.6-1.9 4.6 2-.3 2.4c-.2 1.7-1.6 3-3.3 2.9C9.6 19 5 14.4 4 7.1 3.7 5.3 4.9 3.7 6.6 3.5Z',
  video: 'M4.5 6.5h8.5a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2H4.5a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2ZM15 10.7l6-3.4v9.4l-6-3.4',
  videoOff: 'M3 3l18 18M10 6.5h3a2 2 0 0 1 2 2V11M15 13.3l6 3.4V7.3l-4.5 2.6M15 15.5a2 2 0 0 1-2 2H4.5a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2h1',
  mic: 'M12 3.2a2.8 2.8 0 0 1 2.8 2.8v5.5a2.8 2.8 0 0 1-5.6 0V6A2.8 2.8 0 0 1 12 3.2ZM5.8 11.5a6.2 6.2 0 0 0 12.4 0M12 17.7v3.1',
  micOff: 'M3 3l18 18M9.2 9.2v2.3a2.8 2.8 0 0 0 4.5 2.2M14.8 10.5V6a2.8 2.8 0 0 0-5.4-1M5.8 11.5a6.2 6.2 0 0 0 9.8 5M18.2 11.5a6 6 0 0 1-.6 2.7M12 17.7v3.1',
  hangUp: 'M3.2 13.7c4.8-5 12.8-5 17.6 0 .7.8.6 2-.2 2.7l-1.3 1c-.7.5-1.7.500-2.3-.1l-1.8-1.7v-2.3a11 11 0 0 0-6.4 0v2.3L7 17.3c-.6.6-1.6.7-2.3.1l-1.3-1c-.8-.700-.900-1.9-.2-2.7Z',
  send: 'M4 12 20 4.5 14.5 20l-3-6.5L4 12Zm7.5 1.5L20 4.5',
  plus: 'M12 5v14M5 12h14',
  back: 'M14.5 5 8 12l6.5 7',
  close: 'M6 6l12 12M18 6 6 18',
  chat: 'M5 5h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-7l-4.5 3.5V17H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2Z',
  people: 'M9 11a3.2 3.2 0 1 0 0-6.4A3.2 3.2 0 0 0 9 11ZM3 19.5c.4-3.4 2.8-5.3 6-5.3s5.6 1.9 6 5.3M16 4.9a3 3 0 0 1 0 5.8M17.5 14.5c2 .6 3.2 2.3 3.5 5',
  leave: 'M10 4.5H6a1.5 1.5 0 0 0-1.5 1.5v12A1.5 1.5 0 0 0 6 19.5h4M15 8l4 4-4 4M19 12H9.5',
  sent: 'M6 12.5l4 4 8.5-9',
  twice: 'M2.5 12.5l4 4 8-9M12 15.5l1 1 8.5-9',
  clock: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 8v4.3l2.8 1.7',
  alert: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 8v4.8M12 15.8v.2',
  missed: 'M4 7l7 7 8.5-8.5M20 10.5v-5h-5',
  attach: 'M19.5 11.2 12 18.7a4.6 4.6 0 0 1-6.5-6.5l7.8-7.8a3.1 3.1 0 0 1 4.4 4.4l-7.7 7.7a1.55 1.55 0 0 1-2.2-2.2l6.9-6.9',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5.2v13.6L18.8 12 8 5.2Z',
  again: 'M19 12a7 7 0 1 1-2.2-5.1L19 9M19 4.5V9h-4.5',
  download: 'M12 4v11M7.5 10.8 12 15.3l4.5-4.5M5 19.5h14',
  trash: 'M5 7h14M10 7V4.8h4V7M7 7l.8 12.2h8.4L17 7M10.3 10.5v5.5M13.7 10.5v5.5',
  file: 'M7 3.5h6.5L18 8v11a1.5 1.5 0 0 1-1.5 1.5h-9.5A1.5 1.5 0 0 1 5.5 19V5A1.5 1.5 0 0 1 7 3.5ZM13.2 3.8V8.3h4.5',
  photo: 'M5.5 4.5h13a2 2 0 0 1 2 2v11a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2v-11a2 2 0 0 1 2-2ZM4 16.5l4.7-4.5 3.6 3.4 2.7-2.5 5 4.6M15.6 9.6v.2',
  next: 'M9.5 5 16 12l-6.5 7',
  speaker: 'M4.5 9.5v5h3.5l4.5 4v-13l-4.5 4H4.5ZM16 9a4 4 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11',
} as const;

export type IconName = keyof typeof ICONS;

/** The same for drawings. */
export function svg<K extends keyof SVGElementTagNameMap>(tag: K, props: Record<string, string | number> = {}, ...children: Node[]): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

export function icon(name: IconName): SVGSVGElement {
  return svg('svg', { viewBox: '0 0 24 24', class: `icon icon-${name}`, 'aria-hidden': 'true' }, svg('path', { d: ICONS[name] }));
}

/**
 * Makes `parent`'s children those of `items`, keeping the elements of items that were there, and so their focus, their
 * scroll position and what they play.
 */
export function reconcile<T>(parent: HTMLElement, items: readonly T[], key: (item: T) => string, make: (item: T) => HTMLElement, update?: (element: HTMLElement, item: T) => void): void {
  const before = new Map<string, HTMLElement>();
  for (const child of [...parent.children] as HTMLElement[]) before.set(child.dataset['key'] ?? '', child);
  let place: ChildNode | null = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    let element = before.get(id);
    before.delete(id);
    if (!element) {
      element = make(item);
      element.dataset['key'] = id;
    }
    update?.(element, item);
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of before.values()) gone.remove();
}

/** Runs `work` once after any number of calls in the same turn. Not a frame: a hidden page gets none. */
export function coalesced(work: () => void): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      work();
    });
  };
}

/** Sets text only where it differs, so that screen readers are not told the same thing again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setIcon(element: Element, name: IconName): void {
  const present = element.querySelector('.icon');
  if (present?.classList.contains(`icon-${name}`)) return;
  if (present) present.replaceWith(icon(name));
  else element.prepend(icon(name));
}
