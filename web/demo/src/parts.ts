/** Small pieces of the page that several places show. */
import type { Quality } from '@trunkline/sdk';
import { h, setText } from './dom.js';
import { hue, initials } from './words.js';

/** A person without a picture. */
export function avatar(name: string, size: 'small' | 'normal' | 'large' = 'normal'): HTMLElement {
  const element = h('span', { class: `avatar avatar-${size}`, 'aria-hidden': 'true' }, initials(name));
  element.style.setProperty('--hue', String(hue(name)));
  return element;
}

/**
 * Three bars for the quality of a connection. Whoever rests on it, with the pointer or the keyboard, reads why.
 */
export function qualityMark(whose: string): { element: HTMLElement; show(quality: Quality, details?: string): void } {
  const tip = h('span', { class: 'tip' });
  const element = h('span', { class: 'quality', tabindex: '0', role: 'img', 'data-mark': 'unknown' },
    h('span', { class: 'bars' }, h('i'), h('i'), h('i')), tip);
  const words = { good: 'good', fair: 'fair', poor: 'poor', unknown: 'being measured' };
  return {
    element,
    show(quality, details = '') {
      element.dataset['mark'] = quality.mark;
      element.dataset['cause'] = quality.cause;
      const label = `${whose}: ${words[quality.mark]}. ${quality.text}`;
      if (element.getAttribute('aria-label') !== label) element.setAttribute('aria-label', label);
      setText(tip, details ? `${quality.text} ${details}` : quality.text);
    },
  };
}

let toasts: HTMLElement | undefined;

/** Says something in passing. Errors are read out at once. */
export function toast(text: string, kind: 'note' | 'error' = 'note', ms = kind === 'error' ? 9_000 : 6_000): void {
  if (!toasts?.isConnected) {
    toasts = h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' });
    document.body.append(toasts);
  }
  // An open dialog makes the rest of the page inert: what is said must be said inside it.
  const host = document.querySelector('dialog[open]') ?? document.body;
  if (toasts.parentElement !== host) host.append(toasts);
  const element = h('div', { class: `toast toast-${kind}`, role: kind === 'error' ? 'alert' : null }, text);
  toasts.append(element);
  while (toasts.children.length > 4) toasts.firstElementChild?.remove();
  setTimeout(() => element.remove(), ms);
}

/** What to tell a person of something thrown. */
export function faultWords(error: unknown): string {
  return error instanceof Error && error.message ? sentence(error.message) : 'Something went wrong.';
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
