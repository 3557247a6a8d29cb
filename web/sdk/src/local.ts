/** Microphone and camera. */
import { DEFAULT_CAPTURE, type CaptureSize } from './plan.js';
import { Emitter } from './util.js';

export interface LocalEvents {
  /** A track came, went or was muted. */
  change: LocalMedia;
}

/** Why a device could not be opened, in words for the person. */
export function captureFault(error: unknown): string {
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError': return 'The browser does not allow this page to use the camera or microphone. Allow it in the address bar and try again.';
    case 'NotFoundError': return 'No camera or microphone was found.';
    case 'NotReadableError': return 'The camera or microphone is in use by another program.';
    case 'OverconstrainedError': return 'The camera cannot give a picture of the wanted size.';
    default: return 'The camera or microphone could not be opened.';
  }
}

export class LocalMedia extends Emitter<LocalEvents> {
  readonly capture: CaptureSize;
  /** For the self view. Its video track changes when the camera is turned off and on. */
  readonly stream = new MediaStream();
  /** What could not be opened, in words; undefined if all was well. */
  fault: string | undefined;
  #closed = false;

  constructor(capture: CaptureSize = DEFAULT_CAPTURE) {
    super();
    this.capture = capture;
  }

  /**
   * Opens what is wanted and there. A missing camera does not cost the microphone: what could not be opened is left out,
   * and `fault` says why. Takes as long as the person takes to answer the browser's question; a call may well begin
   * before that.
   */
  async open(want: { audio: boolean; video: boolean }): Promise<void> {
    this.fault = undefined;
    const get = (audio: boolean, video: boolean): Promise<MediaStream> =>
      navigator.mediaDevices.getUserMedia({ audio: audio && AUDIO, video: video && this.#videoConstraints() });
    const take = (stream: MediaStream): void => stream.getTracks().forEach((track) => this.#adopt(track));
    if (!globalThis.navigator?.mediaDevices) {
      this.fault = 'This browser gives camera and microphone only to pages opened over https or from localhost.';
    } else if (want.audio || want.video) {
      try {
        take(await get(want.audio, want.video));
      } catch (error) {
        this.fault = captureFault(error);
        if (want.audio && want.video) {
          for (const kind of ['audio', 'video'] as const) {
            await get(kind === 'audio', kind === 'video').then(take, () => undefined);
          }
        }
      }
    }
    if (!this.#closed) this.emit('change', this);
  }

  get audioTrack(): MediaStreamTrack | undefined {
    return this.stream.getAudioTracks()[0];
  }

  get videoTrack(): MediaStreamTrack | undefined {
    return this.stream.getVideoTracks()[0];
  }

  /** What is being sent now. */
  get media(): { audio: boolean; video: boolean } {
    return { audio: this.audioTrack?.enabled === true, video: this.videoTrack?.enabled === true };
  }

  /** Mutes or unmutes. The track stays, so that speaking again costs nothing; a first microphone is opened on demand. */
  async setAudio(on: boolean): Promise<void> {
    if (on && !this.audioTrack) {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: AUDIO });
      stream.getTracks().forEach((track) => this.#adopt(track));
    }
    if (this.audioTrack) this.audioTrack.enabled = on;
    this.emit('change', this);
  }

  /** Turns the camera off, its lamp too, or on. */
  async setVideo(on: boolean): Promise<void> {
    const track = this.videoTrack;
    if (on && !track) {
      const stream = await navigator.mediaDevices.getUserMedia({ video: this.#videoConstraints() });
      stream.getTracks().forEach((one) => this.#adopt(one));
    } else if (!on && track) {
      track.enabled = false;
      track.stop();
      this.stream.removeTrack(track);
    }
    this.emit('change', this);
  }

  close(): void {
    this.#closed = true;
    for (const track of this.stream.getTracks()) {
      track.stop();
      this.stream.removeTrack(track);
    }
  }

  /** The size that the camera really gives, else the one asked for. */
  get captureSize(): CaptureSize {
    const { width, height, frameRate } = this.videoTrack?.getSettings() ?? {};
    return {
      width: width ?? this.capture.width,
      height: height ?? this.capture.height,
      frameRate: frameRate ? Math.round(frameRate) : this.capture.frameRate,
    };
  }

  #videoConstraints(): MediaTrackConstraints {
    const { width, height, frameRate } = this.capture;
    return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate, max: frameRate } };
  }

  #adopt(track: MediaStreamTrack): void {
    if (this.#closed) return track.stop();
    this.stream.addTrack(track);
    // A headset pulled out, a permission taken back.
    track.addEventListener('ended', () => {
      this.stream.removeTrack(track);
      this.emit('change', this);
    });
  }
}

const AUDIO: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
