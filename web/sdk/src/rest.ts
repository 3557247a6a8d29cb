/** The few requests that go over HTTP. */
import { RequestError } from './util.js';
import type { Head } from './wire.js';

async function problem(response: Response): Promise<RequestError> {
  let code = response.status === 404 ? 'not_found' : 'internal';
  let text = `The server answered ${response.status}.`;
  let retryMs: number | undefined;
  try {
    const body = await response.json() as { code?: unknown; detail?: unknown; title?: unknown; retry_ms?: unknown };
    if (typeof body.retry_ms === 'number') retryMs = body.retry_ms;
    if (typeof body.code === 'string') code = body.code;
    if (typeof body.detail === 'string') text = body.detail;
    else if (typeof body.title === 'string') text = body.title;
  } catch {
    // Not a problem document: the status has to do.
  }
  return new RequestError(code, text, retryMs);
}

async function call<T>(url: URL, method: string, token: string | undefined, body?: unknown): Promise<T> {
  const headers: Record<string, string> = {};
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response: Response;
  try {
    const init: RequestInit = { method, headers };
    if (body !== undefined) init.body = JSON.stringify(body);
    response = await fetch(url, init);
  } catch {
    throw new RequestError('disconnected', 'The server cannot be reached.');
  }
  if (!response.ok) throw await problem(response);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

export class Rest {
  readonly #url: string;
  readonly #token: () => string;

  constructor(url: string, token: () => string) {
    this.#url = url;
    this.#token = token;
  }

  /** Makes a conversation. Two members and no title: the same two always share the same one. */
  createConversation(members: string[], title?: string): Promise<Head> {
    return this.#call('POST', '/v1/conversations', title === undefined ? { members } : { members, title });
  }

  async conversations(): Promise<Head[]> {
    return (await this.#call<{ heads: Head[] }>('GET', '/v1/conversations')).heads;
  }

  addMember(conv: string, user: string): Promise<Head> {
    return this.#call('POST', `/v1/conversations/${encodeURIComponent(conv)}/members`, { user });
  }

  async removeMember(conv: string, user: string): Promise<void> {
    await this.#call('DELETE', `/v1/conversations/${encodeURIComponent(conv)}/members/${encodeURIComponent(user)}`);
  }

  #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    return call<T>(new URL(path, this.#url), method, this.#token(), body);
  }
}

/** A token for a name, where the server allows it (`signaling.demo_logins`). */
export async function demoLogin(url: string, user: string): Promise<string> {
  return (await call<{ token: string }>(new URL('/v1/demo/login', url), 'POST', undefined, { user })).token;
}

/** The claims of a JWT, unverified: only the server can judge it. Undefined if it is none. */
export function readClaims(token: string): { sub?: string; device?: string; exp?: number } | undefined {
  try {
    const part = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return claims !== null && typeof claims === 'object' ? claims : undefined;
  } catch {
    return undefined;
  }
}
