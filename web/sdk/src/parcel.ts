/** Files on their way to becoming one message. */
import { Emitter } from './util.js';
import type { Upload } from './upload.js';

export interface ParcelEvents {
  /** An upload of it changed, came or went. */
  change: Parcel;
}

export class Parcel extends Emitter<ParcelEvents> {
  /** The id that the message will have: sent twice, it is still one message. */
  readonly id: string;
  readonly conv: string;
  /** When the person sent it, by this device's clock. */
  readonly at: number;
  readonly text: string;
  /** In the order in which they will stand in the message; those given up are gone. */
  readonly uploads: Upload[] = [];

  /** @internal */
  constructor(id: string, conv: string, at: number, text: string) {
    super();
    this.id = id;
    this.conv = conv;
    this.at = at;
    this.text = text;
  }

  /** Gives all of it up. */
  cancel(): void {
    for (const upload of [...this.uploads]) upload.cancel();
  }

  /** @internal */
  get ready(): boolean {
    return this.uploads.length > 0 && this.uploads.every((upload) => upload.state === 'ready');
  }

  /** @internal */
  tell(): void {
    this.emit('change', this);
  }
}
