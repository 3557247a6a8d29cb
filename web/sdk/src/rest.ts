/** The few requests that go over HTTP. */
import { RequestError, problemError } from './util.js';
import type { AttachmentKind, AttachmentLinks, Head, Json, Ok, UploadGrant, UploadStatus } from './wire.js';

/** One request. Rejects with a {@link RequestError}: the server's own, or `disconnected`. */
async function call<T>(url: URL, method: string, token: string | undefined, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = {};
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response: Response;
  try {
    const init: RequestInit = { method, headers };
    if (body !== undefined) init.body = JSON.stringify(body);
    if (signal) init.signal = signal;
    response = await fetch(url, init);
    if (!response.ok) throw problemError(response.status, await response.json().catch(() => undefined));
    return (response.status === 204 ? undefined : await response.json()) as T;
  } catch (error) {
    if (error instanceof RequestError) throw error;
    throw new RequestError('disconnected', 'The server cannot be reached.');
  }
}

/** What an upload is going to be, for {@link Rest.grantUpload}. */
export interface UploadAsk {
  kind: AttachmentKind;
  bytes?: number;
  /** At most 255 characters. */
  name?: string;
  type?: string;
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

  /** How long messages, and what they refer to, are kept; null: for ever. */
  setRetention(conv: string, seconds: number | null): Promise<Head> {
    return this.#call('PUT', `/v1/conversations/${encodeURIComponent(conv)}/retention`, { seconds });
  }

  /** Sends a message without a session. The same `id` sent twice is one message. */
  postMessage(conv: string, message: { id: string; kind: string; body: Json; attachments?: string[]; device?: string }): Promise<Ok> {
    return this.#call('POST', `/v1/conversations/${encodeURIComponent(conv)}/messages`, message);
  }

  /** The right to upload one thing into a conversation. Size and quota are judged here, before any byte is sent. */
  grantUpload(conv: string, ask: UploadAsk): Promise<UploadGrant> {
    return this.#call('POST', `/v1/conversations/${encodeURIComponent(conv)}/uploads`, ask);
  }

  /** What has become of an upload: answers when it is ready or has failed, or after `waitS` seconds (at most 30). */
  uploadStatus(url: string, grant: string, waitS: number, signal?: AbortSignal): Promise<UploadStatus> {
    const address = new URL(url, this.#url);
    address.searchParams.set('wait_s', String(waitS));
    return call<UploadStatus>(address, 'GET', grant, undefined, signal);
  }

  /** Signed addresses of an attachment's variants; `variant` asks for a size that is made on demand. */
  attachmentLinks(id: string, variant?: string): Promise<AttachmentLinks> {
    const query = variant === undefined ? '' : `?variant=${encodeURIComponent(variant)}`;
    return this.#call('GET', `/v1/attachments/${encodeURIComponent(id)}/links${query}`);
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
