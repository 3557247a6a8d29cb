/** The page before anybody is signed in. */
import { demoLogin } from '@trunkline/sdk';
import { h } from './dom.js';
import { faultWords } from './parts.js';
import { userId } from './words.js';

/** Shows the log in form; `notice` says why the person sees it, if there is a reason. */
export function loginView(onToken: (token: string) => void, notice?: string): HTMLElement {
  const error = h('p', { class: 'form-error', role: 'alert', id: 'login-error' }, notice);
  const field = h('input', {
    id: 'login-name', name: 'name', required: true, maxlength: 64, autocomplete: 'nickname', autocapitalize: 'words',
    spellcheck: 'false', placeholder: 'alice', 'aria-describedby': 'login-error',
  });
  const button = h('button', { class: 'button primary', type: 'submit' }, 'Log in');
  const form = h('form', {
    class: 'login-card',
    onsubmit: (event: SubmitEvent) => {
      event.preventDefault();
      void submit();
    },
  },
  h('div', { class: 'brand' }, logo(), h('h1', {}, 'Trunkline')),
  h('p', { class: 'muted' }, 'Messages and calls that arrive. Choose a name to try it; anyone else who opens this page can ring you by it.'),
  h('label', { for: 'login-name' }, 'Your name'), field, error, button);

  async function submit(): Promise<void> {
    const user = userId(field.value);
    error.textContent = '';
    if (!user) {
      error.textContent = 'Use letters, digits, dots, dashes or underscores.';
      field.focus();
      return;
    }
    button.disabled = true;
    try {
      onToken(await demoLogin(location.origin, user));
    } catch (fault) {
      const code = (fault as { code?: string }).code;
      error.textContent = code === 'not_found' || code === 'forbidden'
        ? 'Logging in by name is switched off here. Open the link that you were given.'
        : faultWords(fault);
    } finally {
      button.disabled = false;
    }
  }

  queueMicrotask(() => field.focus());
  return h('main', { class: 'login' }, form);
}

export function logo(): HTMLElement {
  return h('span', { class: 'logo', 'aria-hidden': 'true' }, h('i'), h('i'), h('i'));
}
