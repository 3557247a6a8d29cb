/**
 * A call's one media connection. The client offers once: its microphone, its camera, and a number of slots; who is in
 * which slot comes by signaling, and nobody renegotiates.
 */
import { LocalMedia } from './local.js';
import { encodingsFor, participantKey, placeSlot, planSlots, preferredCodecs, viewsFor, type SlotMids } from './plan.js';
import { CallStats } from './stats.js';
import { Emitter } from './util.js';
import type { MediaFlags, SlotInfo, SlotView } from './wire.js';

/** What media needs of a call; {@link Call} is one. */
export interface MediaPort {
  readonly slots: SlotInfo[];
  offer(sdp: string): Promise<string>;
  view(slots: SlotView[]): void;
  mediaOf(user: string, device: string): MediaFlags | undefined;
  on(event: 'slots', listener: (slots: SlotInfo[]) => void): () => void;
  on(event: 'gone', listener: (why: string) => void): () => void;
}

export interface MediaOptions {
  /** Places with picture and sound. Each costs some 2 KB of offer; a higher value shows more people at a time. */
  slots?: number;
  /** Places with sound alone, for the loudest beyond those. */
  audioOnlySlots?: number;
  iceServers?: RTCIceServer[];
  /** `relay` hides this device's addresses from everybody but the TURN server. */
  iceTransportPolicy?: RTCIceTransportPolicy;
  /** For tests. */
  peerConnection?: (config: RTCConfiguration) => RTCPeerConnection;
}

export type MediaState = 'new' | 'connecting' | 'connected' | 'interrupted' | 'closed';

export interface RemoteParticipant {
  /** `user/device`. */
  readonly key: string;
  readonly user: string;
  readonly device: string;
  readonly slot: number;
  readonly midAudio: string | null;
  readonly midVideo: string | null;
  /** Sound, and picture unless the slot has none. A new object for each occupant of a slot. */
  readonly stream: MediaStream;
}

export interface MediaEvents {
  state: MediaState;
  participants: RemoteParticipant[];
  /** An attempt to connect failed; another follows by itself. */
  fault: unknown;
}

export const DEFAULT_SLOTS = 6;
export const DEFAULT_AUDIO_ONLY_SLOTS = 3;
/** A transport that has been silent this long is replaced. Lower repairs sooner and replaces what would have healed. */
const DISCONNECTED_MS = 6_000;
/** A transport that has not come up by then is replaced. */
const CONNECT_MS = 20_000;
/** A connection that lived this long counts as good: the next loss is repaired at once again. */
const STABLE_MS = 10_000;
const RESTART_FIRST_MS = 500;
const RESTART_LAST_MS = 8_000;
/** Sizes are told at most this often: a window being dragged is not a hundred wishes. */
const VIEW_MS = 150;

interface Places {
  audioSender: RTCRtpSender;
  videoSender: RTCRtpSender;
  slots: { slot: number; audio: RTCRtpTransceiver; video: RTCRtpTransceiver | null }[];
}

export class CallMedia extends Emitter<MediaEvents> {
  readonly local: LocalMedia;
  readonly stats: CallStats;
  participants: RemoteParticipant[] = [];
  readonly #port: MediaPort;
  readonly #options: MediaOptions;
  readonly #sizes = new Map<string, { width: number; height: number }>();
  readonly #stops: (() => void)[] = [];
  #peer: RTCPeerConnection | undefined;
  #places: Places | undefined;
  #state: MediaState = 'new';
  #restarts = 0;
  #restartTimer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #viewTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(port: MediaPort, local: LocalMedia, options: MediaOptions = {}) {
    super();
    this.#port = port;
    this.local = local;
    this.#options = options;
    this.stats = new CallStats(() => ({
      peer: this.#state === 'closed' ? undefined : this.#peer,
      participants: this.participants.map((one) => ({ ...one, media: port.mediaOf(one.user, one.device), watched: this.#watched(one.key) })),
      sending: local.media,
    }));
    this.#stops.push(
      port.on('slots', (slots) => this.#assign(slots)),
      port.on('gone', () => this.restart()),
      local.on('change', () => void this.#replaceTracks()),
    );
  }

  get state(): MediaState {
    return this.#state;
  }

  /** The present connection, for the curious; a restart replaces it. */
  get peer(): RTCPeerConnection | undefined {
    return this.#peer;
  }

  /** Offers. Resolves once the answer is applied; media may still take a moment. */
  async start(): Promise<void> {
    if (this.#state !== 'new') return;
    this.stats.start();
    await this.#connect();
  }

  /** Replaces the connection by a new one. Slots and tiles stay as they are until the server says otherwise. */
  restart(): void {
    if (this.#state === 'closed' || this.#state === 'new' || this.#restartTimer !== undefined) return;
    this.#setState('interrupted');
    this.#dropPeer();
    const wait = this.#restarts === 0 ? 0 : Math.min(RESTART_LAST_MS, RESTART_FIRST_MS * 2 ** (this.#restarts - 1));
    this.#restarts++;
    this.#restartTimer = setTimeout(() => {
      this.#restartTimer = undefined;
      void this.#connect();
    }, wait);
  }

  /** How large a participant is on the screen, in CSS pixels × device pixel ratio; 0×0 while not to be seen. */
  setView(key: string, width: number, height: number): void {
    const before = this.#sizes.get(key);
    if (before?.width === width && before.height === height) return;
    this.#sizes.set(key, { width, height });
    this.#viewSoon();
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.stats.stop();
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#viewTimer);
    for (const stop of this.#stops) stop();
    this.#dropPeer();
    this.#setState('closed');
    this.participants = [];
  }

  async #connect(): Promise<void> {
    if (this.#state !== 'interrupted') this.#setState('connecting');
    const config: RTCConfiguration = {
      bundlePolicy: 'max-bundle',
      iceServers: this.#options.iceServers ?? [],
      iceTransportPolicy: this.#options.iceTransportPolicy ?? 'all',
    };
    const peer = this.#options.peerConnection?.(config) ?? new RTCPeerConnection(config);
    this.#peer = peer;
    peer.onconnectionstatechange = () => {
      if (this.#peer === peer) this.#peerState(peer.connectionState);
    };
    this.#watchdog = setTimeout(() => this.restart(), CONNECT_MS);
    try {
      this.#places = this.#prepare(peer);
      await peer.setLocalDescription(await peer.createOffer());
      if (this.#peer !== peer) return;
      this.stats.offers++;
      // The server is ICE-lite and learns our addresses from our checks: the offer need not wait for candidates.
      const answer = await this.#port.offer(peer.localDescription!.sdp);
      if (this.#peer !== peer) return;
      await peer.setRemoteDescription({ type: 'answer', sdp: answer });
      if (this.#peer === peer) this.#assign(this.#port.slots);
    } catch (error) {
      if (this.#peer !== peer) return;
      this.emit('fault', error);
      this.restart();
    }
  }

  /** The sections, in the order that the protocol prescribes. */
  #prepare(peer: RTCPeerConnection): Places {
    const { audioTrack, videoTrack, stream, captureSize } = this.local;
    const microphone = peer.addTransceiver(audioTrack ?? 'audio', { direction: 'sendonly', streams: [stream] });
    const camera = peer.addTransceiver(videoTrack ?? 'video', {
      direction: 'sendonly', streams: [stream], sendEncodings: encodingsFor(captureSize),
    });
    const slots = planSlots(this.#options.slots ?? DEFAULT_SLOTS, this.#options.audioOnlySlots ?? DEFAULT_AUDIO_ONLY_SLOTS).map(({ slot, hasVideo }) => ({
      slot,
      audio: peer.addTransceiver('audio', { direction: 'recvonly' }),
      video: hasVideo ? peer.addTransceiver('video', { direction: 'recvonly' }) : null,
    }));
    for (const transceiver of peer.getTransceivers()) {
      const kind = transceiver.receiver.track.kind as 'audio' | 'video';
      const codecs = preferredCodecs(kind, RTCRtpReceiver.getCapabilities(kind)?.codecs ?? []);
      if (codecs.length > 0) transceiver.setCodecPreferences?.(codecs);
    }
    return { audioSender: microphone.sender, videoSender: camera.sender, slots };
  }

  #peerState(state: RTCPeerConnectionState): void {
    clearTimeout(this.#watchdog);
    if (state === 'connected') {
      this.#watchdog = setTimeout(() => (this.#restarts = 0), STABLE_MS);
      this.#setState('connected');
      this.#viewSoon();
    } else if (state === 'failed') {
      this.restart();
    } else if (state === 'disconnected') {
      this.#setState('interrupted');
      this.#watchdog = setTimeout(() => this.restart(), DISCONNECTED_MS);
    } else if (state === 'connecting') {
      this.#watchdog = setTimeout(() => this.restart(), CONNECT_MS);
    }
  }

  #assign(slots: SlotInfo[]): void {
    const places = this.#places;
    if (!places || this.#state === 'closed') return;
    const mids: SlotMids[] = places.slots.map(({ slot, audio, video }) => ({ slot, audio: audio.mid, video: video?.mid ?? null }));
    const before = new Map(this.participants.map((one) => [one.key, one]));
    this.participants = slots.flatMap((info) => {
      const { user, device } = info;
      if (user === null || device === null) return [];
      const place = placeSlot(info, mids);
      const sections = place && places.slots.find(({ slot }) => slot === place.slot);
      if (!sections) return [];
      const tracks = [sections.audio.receiver.track, ...(sections.video ? [sections.video.receiver.track] : [])];
      const old = before.get(participantKey(info));
      // The same person in the same place keeps the same stream, so that nothing on the screen blinks.
      const same = old?.stream.getTracks().length === tracks.length && tracks.every((track) => old.stream.getTrackById(track.id) === track);
      return [{
        key: participantKey(info), user, device, slot: info.slot,
        midAudio: sections.audio.mid, midVideo: sections.video?.mid ?? null,
        stream: same && old ? old.stream : new MediaStream(tracks),
      }];
    });
    const keys = new Set(this.participants.map((one) => one.key));
    for (const key of this.#sizes.keys()) if (!keys.has(key)) this.#sizes.delete(key);
    this.emit('participants', this.participants);
    this.#viewSoon();
  }

  #watched(key: string): boolean {
    const size = this.#sizes.get(key);
    return size === undefined || size.width * size.height > 0;
  }

  #viewSoon(): void {
    if (this.#viewTimer !== undefined || this.#state === 'closed') return;
    this.#viewTimer = setTimeout(() => {
      this.#viewTimer = undefined;
      const views = viewsFor(this.#port.slots, this.#sizes);
      if (views.length > 0) this.#port.view(views);
    }, VIEW_MS);
  }

  async #replaceTracks(): Promise<void> {
    const places = this.#places;
    if (!places) return;
    const { audioTrack = null, videoTrack = null } = this.local;
    try {
      if (places.audioSender.track !== audioTrack) await places.audioSender.replaceTrack(audioTrack);
      if (places.videoSender.track !== videoTrack) await places.videoSender.replaceTrack(videoTrack);
    } catch (error) {
      if (this.#places === places) this.emit('fault', error);
    }
  }

  #dropPeer(): void {
    clearTimeout(this.#watchdog);
    const peer = this.#peer;
    this.#peer = undefined;
    this.#places = undefined;
    if (!peer) return;
    peer.onconnectionstatechange = null;
    peer.close();
  }

  #setState(state: MediaState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', state);
  }
}
