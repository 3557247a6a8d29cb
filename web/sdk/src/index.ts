/** Trunkline for browsers: sessions, conversations and calls. See README.md. */
export { Session, type SessionEvents, type SessionOptions } from './session.js';
export type { ConnectionState, SocketLike } from './connection.js';
export { Conversation, type DeliveryMark, type Gap, type Outgoing } from './conversation.js';
export type { Keep } from './outbox.js';
export { Call, type CallEvents } from './call.js';
export { CallMedia, type MediaEvents, type MediaOptions, type MediaPort, type MediaState, type RemoteParticipant } from './media.js';
export { LocalMedia, captureFault, type LocalEvents } from './local.js';
export { CallStats, type LayerStats, type StatsSnapshot, type TileStats } from './stats.js';
export { judgeCall, judgeTile, judgeUplink, type Cause, type Mark, type Quality } from './quality.js';
export { DEFAULT_CAPTURE, encodingsFor, parseCapture, participantKey, type CaptureSize } from './plan.js';
export { Rest, demoLogin, readClaims } from './rest.js';
export { Emitter, RequestError, uuidv7 } from './util.js';
export type * from './wire.js';
