/** One attempt to bring bytes to the server by tus: it ends with all of them there, or with the reason why not. */
import { Upload as Tus, type HttpStack } from 'tus-js-client';
import { RequestError, problemError } from './util.js';

export interface TransferPlan {
  /** Where a new upload is begun. */
  endpoint: string;
  /** The upload that is gone on with, from wherever the server has it; undefined begins one. */
  url: string | undefined;
  grant: string;
  name: string;
  type: string;
  httpStack: HttpStack | undefined;
  /** The server has answered: the upload is at this address. */
  began(url: string): void;
  /** So many bytes have left this device. */
  progress(sent: number): void;
  /** Called with a function that gives the attempt up if nothing has moved of late: the network may be another one now. */
  nudgeable(nudge: () => void): void;
}

/** Up to this size the bytes travel with the request that begins the upload: a round trip less, and little to lose. */
const AT_ONCE_BYTES_MAX = 256 * 1024;
/** Nothing has moved for so long: the connection is dead, whatever the system believes. */
const STALL_MS = 20_000;
/** The same once every byte has left: what the system holds back may take long on a slow line, and the server writes it down. */
const STALL_LAST_MS = 60_000;
/** After a change of networks, an attempt that has been silent for this long is not waited for. */
const QUIET_MS = 2_000;
const LOOK_EVERY_MS = 1_000;

/** A blob for tus-js-client, the same way in browsers and out of them. */
const fileReader = {
  openFile: (file: Blob) => Promise.resolve({
    size: file.size,
    slice: (start: number, end: number) => Promise.resolve({ value: file.slice(start, end), done: end >= file.size }),
    close: () => undefined,
  }),
};

function faultOf(error: unknown): RequestError {
  const response = (error as { originalResponse?: { getStatus(): number; getBody(): string } | null }).originalResponse;
  if (!response || response.getStatus() === 0) return new RequestError('disconnected', 'The server cannot be reached.');
  let body: unknown;
  try {
    body = JSON.parse(response.getBody());
  } catch {
    body = undefined;
  }
  return problemError(response.getStatus(), body);
}

/** Whether the file can still be read: it may have been changed, moved or unplugged since it was chosen. */
async function readable(file: Blob): Promise<boolean> {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** Rejects with a {@link RequestError}: the server's own with its status, `disconnected`, or `unreadable`. Never settles once `signal` aborts. */
export function transfer(file: Blob, plan: TransferPlan, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let heard = Date.now();
    let sent = 0;
    const tus = new Tus(file, {
      endpoint: plan.url === undefined ? plan.endpoint : null,
      uploadUrl: plan.url ?? null,
      headers: { Authorization: `Bearer ${plan.grant}` },
      metadata: { filename: plan.name, ...(plan.type ? { filetype: plan.type } : {}) },
      // When to try again is the upload's own decision: it knows of the session and of the other uploads.
      retryDelays: null,
      storeFingerprintForResuming: false,
      fingerprint: () => Promise.resolve(''),
      uploadDataDuringCreation: plan.url === undefined && file.size > 0 && file.size <= AT_ONCE_BYTES_MAX,
      fileReader,
      ...(plan.httpStack ? { httpStack: plan.httpStack } : {}),
      onUploadUrlAvailable: () => {
        heard = Date.now();
        if (tus.url !== null && !signal.aborted) plan.began(tus.url);
      },
      onProgress: (bytes) => {
        if (bytes !== sent) heard = Date.now();
        sent = bytes;
        if (!signal.aborted) plan.progress(bytes);
      },
      onSuccess: () => end(resolve),
      onError: (error) => end(() => void fail(faultOf(error))),
    });

    const fail = async (fault: RequestError): Promise<void> => {
      if (fault.code !== 'disconnected' || await readable(file)) return reject(fault);
      reject(new RequestError('unreadable', 'The file cannot be read any more. It may have been moved or changed.'));
    };
    let over = false;
    const end = (then: () => void): void => {
      if (over) return;
      over = true;
      clearInterval(watch);
      signal.removeEventListener('abort', stop);
      if (!signal.aborted) then();
    };
    const giveUp = (): void => {
      void tus.abort(false).catch(() => undefined);
      end(() => reject(new RequestError('disconnected', 'The connection to the server does not answer.')));
    };
    const stop = (): void => {
      void tus.abort(false).catch(() => undefined);
      end(() => undefined);
    };
    const watch = setInterval(() => {
      if (Date.now() - heard > (sent >= file.size ? STALL_LAST_MS : STALL_MS)) giveUp();
    }, LOOK_EVERY_MS);
    signal.addEventListener('abort', stop);
    plan.nudgeable(() => {
      if (Date.now() - heard > QUIET_MS) giveUp();
    });
    tus.start();
  });
}

/** Ends an upload on the server, if it can be reached; otherwise it expires there by itself. */
export function terminate(url: string, grant: string, httpStack: HttpStack | undefined): void {
  void Tus.terminate(url, {
    headers: { Authorization: `Bearer ${grant}` }, retryDelays: [1_000, 5_000, 20_000], ...(httpStack ? { httpStack } : {}),
  }).catch(() => undefined);
}
