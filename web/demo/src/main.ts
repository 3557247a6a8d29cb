/** Signs in, by a link or by a name, and shows the page. */
import { Session, demoLogin, readClaims, uuidv7 } from '@trunkline/sdk';
import { App } from './app.js';
import { readKnobs, takeToken } from './knobs.js';
import { loginView } from './login.js';
import './style.css';
import './media.css';

/** For tests and for trying things out in the browser's console; see `web/README.md`. */
export interface TrunklineHandle {
  /** The signed-in session, once there is one. */
  readonly session: Session | undefined;
  /** The call this page takes part in. */
  readonly call: import('@trunkline/sdk').Call | undefined;
  /** Its media; `media.stats.offers` and `media.stats.latest` tell how it goes. */
  readonly media: import('@trunkline/sdk').CallMedia | undefined;
  /** Microphone and camera. */
  readonly local: import('@trunkline/sdk').LocalMedia | undefined;
  readonly sdk: { Session: typeof Session; demoLogin: typeof demoLogin };
}

declare global {
  interface Window {
    trunkline: TrunklineHandle;
  }
}

const TOKEN = 'trunkline.token';
const DEVICE = 'trunkline.device';
const root = document.getElementById('app')!;
const knobs = readKnobs(location.search);
let app: App | undefined;

window.trunkline = {
  get session() { return app?.session; },
  get call() { return app?.incall?.call; },
  get media() { return app?.incall?.media; },
  get local() { return app?.incall?.local; },
  sdk: { Session, demoLogin },
};

/** A window is a device of its own, until it is closed. */
function deviceId(token: string): string {
  const named = readClaims(token)?.device;
  if (named) return named;
  let id = sessionStorage.getItem(DEVICE);
  if (!id) sessionStorage.setItem(DEVICE, (id = `web-${uuidv7().slice(-8)}`));
  return id;
}

function signIn(token: string): void {
  sessionStorage.setItem(TOKEN, token);
  const session = new Session({ url: location.origin, token, device: deviceId(token), keep: sessionStorage });
  app = new App(session, knobs, signOut);
  root.replaceChildren(app.element);
  session.connect();
}

/** Nothing of one person is left for the next. */
function forget(): void {
  for (const key of ['trunkline.outbox', 'trunkline.uploads']) sessionStorage.removeItem(key);
}

function signOut(notice?: string): void {
  const leaving = app;
  app = undefined;
  sessionStorage.removeItem(TOKEN);
  // What is still on its way is given up, on the server too, before the right to do so is gone.
  leaving?.session.uploads.clear();
  leaving?.close();
  forget();
  root.replaceChildren(loginView(signIn, notice));
}

// The token leaves the address before anything else happens: it must not be bookmarked, shared or seen over a shoulder.
const { token: linked, rest } = takeToken(location.hash);
if (linked) history.replaceState(null, '', location.pathname + location.search + rest);
const token = linked ?? sessionStorage.getItem(TOKEN);
if (linked && linked !== sessionStorage.getItem(TOKEN)) forget();
if (token) signIn(token);
else root.replaceChildren(loginView(signIn));
// A second link opened in the same window signs in as somebody else.
window.addEventListener('hashchange', () => {
  if (takeToken(location.hash).token) location.reload();
});
